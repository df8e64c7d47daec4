"""The files of TLS: what is wrong with one is said with its flag, and the former ones stay in force."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.local.authority.authority import Authority
from ringmill.cluster.adapters.network.tls import certificate_loading, tls_files
from ringmill.cluster.adapters.network.tls.certificate_names import Holder, holder_of
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import InvalidArgument, PermissionDenied


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(str(tmp_path / "ca"))
    made.init("prod")
    made.issue("n1", ["h"])
    made.issue("n2", ["h"])
    return made


def files_of(authority: Authority, **changed: str) -> TlsFiles:
    files = authority.files
    paths: dict[str, Any] = {
        "ca": files.bundle,
        "cert": files.certificate("n1"),
        "key": files.key("n1"),
        "crl": files.revocations,
    }
    return TlsFiles(**{**paths, **changed})


def test_what_is_wrong_with_a_file_is_said_with_its_flag(authority: Authority, tmp_path: Path) -> None:
    files = authority.files
    (tmp_path / "rubbish").write_text("rubbish")
    (tmp_path / "rubbish").chmod(0o600)
    rubbish, nowhere = str(tmp_path / "rubbish"), str(tmp_path / "nowhere")
    stranger = Authority(str(tmp_path / "stranger"))
    stranger.init("prod")
    cases = (
        ({"ca": nowhere}, "--tls-ca .*nowhere' cannot be read"),
        ({"ca": rubbish}, "--tls-ca .*rubbish' holds no certificate"),
        ({"cert": nowhere}, "--tls-cert .*nowhere' cannot be read"),
        ({"cert": rubbish}, "--tls-cert .*rubbish' and --tls-key .* cannot be used together"),
        ({"cert": files.certificate("n2")}, "--tls-cert .* and --tls-key .* cannot be used together"),
        ({"key": nowhere}, "--tls-key .*nowhere' cannot be read"),
        ({"crl": nowhere}, "--tls-crl .*nowhere' cannot be read"),
        ({"crl": rubbish}, "--tls-crl .*rubbish' holds no revocation list"),
        (
            {"crl": stranger.files.revocations},
            "holds no revocation list that an authority of --tls-ca has signed",
        ),
    )
    for changed, told in cases:
        with pytest.raises(InvalidArgument, match=told):
            files_of(authority, **changed)
    os.chmod(files.key("n1"), 0o640)
    with pytest.raises(InvalidArgument, match=r"--tls-key .* is not trusted: .*mode 0640"):
        files_of(authority)


def test_a_node_starts_with_its_own_certificate_only(authority: Authority) -> None:
    with pytest.raises(InvalidArgument, match="is the certificate of n1, and this node is n2"):
        files_of(authority).check_is_for("n2")


def test_files_are_read_again_and_the_former_stay_when_they_cannot_be(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    tls = files_of(authority)
    first = tls.client_context()
    assert tls.client_context() is first, "nothing has changed"
    authority.issue("n1", replace=True)
    second = tls.client_context()
    assert second is not first
    path = Path(authority.files.certificate("n1"))
    for wrong in (b"rubbish", Path(authority.files.certificate("n2")).read_bytes()):
        path.write_bytes(wrong)
        assert [tls.client_context() is second for _ in range(3)] == [True] * 3
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 2, "once for each change"
    assert "the former certificates stay in force: --tls-cert" in lines[0].getMessage()


def test_a_key_that_its_owner_alone_may_read_after_all_is_read(authority: Authority) -> None:
    tls = files_of(authority)
    first = tls.client_context()
    authority.issue("n1", replace=True)
    key = authority.files.key("n1")
    os.chmod(key, 0o640)
    assert tls.client_context() is first
    os.chmod(key, 0o600)
    assert tls.client_context() is not first


def test_files_that_could_not_be_read_are_read_again(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they differ in nothing; not at once, and the log says it once."""
    tls = files_of(authority)
    first = tls.client_context()
    authority.issue("n1", replace=True)
    now = 1000.0
    monkeypatch.setattr(f"{tls_files.__name__}.time.monotonic", lambda: now)

    def no_descriptors(path: str, mode: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(certificate_loading, "open", no_descriptors, raising=False)
        for _ in range(3):
            assert tls.client_context() is first
            now += 10
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 1
    now -= 10
    assert tls.client_context() is first, "not at once"
    now += 10
    assert tls.client_context() is not first


def test_a_node_says_when_its_certificate_ends_soon(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    authority.issue("n1", days=29, replace=True)
    files_of(authority)
    assert "n1.pem' ends in 28 days" in caplog.text


def test_a_node_that_goes_on_running_says_each_day_that_its_certificate_ends_soon(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.issue("n1", days=60, replace=True)
    tls, day_s = files_of(authority), 86_400.0
    now = time.time()
    monkeypatch.setattr(f"{tls_files.__name__}.time.time", lambda: now)
    assert tls.ends_at is not None and 59 < (tls.ends_at - now) / day_s <= 60
    tls.look()
    assert not caplog.records
    now += 40 * day_s
    tls.look()
    tls.look()
    assert caplog.text.count("n1.pem' ends in 19 days") == len(caplog.records) == 1
    now += day_s
    tls.look()
    assert caplog.text.count("n1.pem' ends in 18 days") == 1
    now += 20 * day_s
    tls.look()
    assert "n1.pem' has ended" in caplog.text
    authority.issue("n1", days=365, replace=True)
    caplog.clear()
    now += day_s
    tls.look()
    assert "ends in" not in caplog.text and "has ended" not in caplog.text


def test_a_certificate_is_looked_up_in_the_newest_list(authority: Authority) -> None:
    tls = files_of(authority)
    serial = next(each.serial for each in authority.show() if each.name == "n2")
    shown = {"subjectAltName": (("URI", "ringmill://prod/n2"),), "serialNumber": serial.upper()}
    tls.check_node(shown, "n2")
    authority.revoke("n2")
    with pytest.raises(PermissionDenied, match="was revoked"):
        tls.check_node(shown, "n2")


@pytest.mark.parametrize("cut", [20, None])
def test_a_list_of_revocations_that_is_not_whole_leaves_the_former_one_in_force(
    authority: Authority, caplog: pytest.LogCaptureFixture, cut: int | None
) -> None:
    """While the key is changed there are two lists, and the second one has what was revoked before."""
    serial = next(each.serial for each in authority.show() if each.name == "n2")
    shown = {"subjectAltName": (("URI", "ringmill://prod/n2"),), "serialNumber": serial.upper()}
    authority.revoke("n2")
    authority.rotate()
    tls, path = files_of(authority), Path(authority.files.revocations)
    end = b"-----END X509 CRL-----\n"
    first, second, _ = path.read_bytes().split(end)
    path.write_bytes(first + end + second[: cut or 0])
    with pytest.raises(PermissionDenied, match="was revoked"):
        tls.check_node(shown, "n2")
    assert "the former certificates stay in force" in caplog.text and "is not whole" in caplog.text
    if cut:
        with pytest.raises(InvalidArgument, match=r"--tls-crl .* is not whole: .* is cut off"):
            files_of(authority)
    path.write_bytes(first + end + second + end)
    authority.issue("n1", replace=True)
    authority.issue("n2", replace=True)
    authority.finish()
    assert tls.client_context() is not None and caplog.text.count("stay in force") == 1


@pytest.mark.parametrize(
    ("uris", "holder"),
    [
        (["ringmill://prod/n1"], Holder("prod", "n1")),
        (["https://example/n1", "ringmill://prod/client/app"], Holder("prod", "app", is_node=False)),
        (["ringmill://prod/n1", "ringmill://prod/n2"], None),
        (["ringmill://prod/"], None),
        (["ringmill:///n1"], None),
        (["ringmill://prod/client/"], None),
        (["ringmill://prod/a/b"], None),
        (["https://prod/n1"], None),
        ([], None),
    ],
)
def test_one_name_of_ours_says_whose_it_is(uris: list[str], holder: Holder | None) -> None:
    assert holder_of(uris) == holder
