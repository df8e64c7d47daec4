"""The certificate authority of a cluster: what its verbs write, and what they refuse."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ringmill.client.cli.main import main
from ringmill.client.local.authority.authority import Authority
from ringmill.client.local.authority.authority_files import AuthorityFolder
from ringmill.client.local.authority.local_tls import authority_of, certify
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.client.local.machine_facts import machine_facts
from ringmill.cluster.errors import Conflict


def test_what_the_verbs_write_is_private_and_names_its_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ca"
    where = ["--dir", str(folder)]
    assert main(["ca", "init", *where, "--name", "prod"]) == 0
    assert main(["ca", "issue", *where, "n1", "--address", "10.0.0.7:7101", "--address", "db.example"]) == 0
    assert main(["ca", "issue", *where, "--client", "app"]) == 0
    loose = [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not loose, "keys and what says who may do what"
    names = _names(folder / "nodes/n1.pem")
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["ringmill://prod/n1"]
    assert names.get_values_for_type(x509.DNSName) == ["n1.prod.ringmill", "db.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    client = _names(folder / "clients/app.pem")
    assert client.get_values_for_type(x509.UniformResourceIdentifier) == ["ringmill://prod/client/app"]
    assert not client.get_values_for_type(x509.DNSName), "nobody dials a client"
    capsys.readouterr()
    assert main(["-o", "json", "ca", "show", *where]) == 0
    shown = json.loads(capsys.readouterr().out)["certificates"]
    assert [(each["state"], each["days_left"]) for each in shown] == [
        ("signs", 3649),
        ("valid", 364),
        ("valid", 364),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["init", "--name", "Prod"], "--name 'Prod'"),
        (["init"], "has a certificate authority already"),
        (["issue", "n1"], "--address is missing"),
        (["issue", "N1", "--address", "h"], "NODE 'N1'"),
        (["issue", "n1", "--address", "h:0"], "--address 'h:0'"),
        (["issue", "n1", "--address", "1.2.3"], "--address '1.2.3'"),
        (["issue", "n1", "--address", "h", "--days", "0"], "--days 0: 1 to 3650"),
        (["issue", "--client", "a b"], "--client 'a b'"),
        (["issue", "--client", "a", "--address", "h"], "--address means nothing with --client"),
        (["issue", "n1", "--client", "a"], "name a NODE, or a client"),
        (["issue"], "name a NODE, or a client"),
        (["revoke", "n9"], "of the name 'n9' was issued"),
        (["rotate", "--finish"], "is within no rotation"),
    ],
)
def test_bad_input_is_named(
    line: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Authority(str(tmp_path / "ca")).init("prod")
    assert main(["ca", line[0], "--dir", str(tmp_path / "ca"), *line[1:]]) in {1, 2, 3, 4}
    assert told in capsys.readouterr().err


def test_a_folder_without_an_authority_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ca", "show", "--dir", str(tmp_path)]) == 3
    assert "has no certificate authority: ca.pem is missing" in capsys.readouterr().err


def test_a_key_is_changed_in_two_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(str(tmp_path / "ca"))
    authority.init("prod")
    former = authority.issue("n1", ["h"])
    with pytest.raises(Conflict, match="is there already"):
        authority.issue("n1", ["h"])
    signs = authority.rotate()
    assert next(each.name for each in authority.show()) == f"authority {signs}"
    with pytest.raises(Conflict, match="two authorities are trusted"):
        authority.rotate()
    with pytest.raises(Conflict, match="n1: no certificate of the new authority"):
        authority.finish()
    fresh = authority.issue("n1", replace=True)
    assert (fresh.hosts, fresh.authority) == (["h"], signs)
    authority.revoke(former.serial)
    lists = Path(authority.files.revocations).read_bytes()
    assert lists.count(b"BEGIN X509 CRL") == 2, "each authority has its own"
    authority.finish()
    states = {each.serial: each.state for each in authority.show()}
    assert states[former.serial] == "revoked"
    assert states[fresh.serial] == "valid"
    assert len(list((tmp_path / "ca").glob("ca-*.key"))) == 1, "the former key is gone"


def test_an_end_of_a_rotation_that_was_interrupted_is_ended_again(tmp_path: Path) -> None:
    authority = Authority(str(tmp_path / "ca"))
    authority.init("prod")
    authority.rotate()
    with (
        patch.object(authority.files, "remove", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        authority.finish()
    (former,) = authority.finish()
    assert [path.name for path in (tmp_path / "ca").glob("ca-*.key")] != [f"ca-{former}.key"]
    assert len(authority.files.authority_keys()) == 1, "the former key is gone"
    with pytest.raises(Conflict, match="within no rotation"):
        authority.finish()


@pytest.mark.parametrize("by", ["issue", "issue again", "cluster up"])
def test_a_key_without_its_certificate_is_what_an_interrupted_issue_left_and_is_mended(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = LocalNode("n1", "127.0.0.1:7101", "")
    cluster = LocalCluster("prod", str(tmp_path), 1, 16, (node,), tls=True, peer_transport="tcp")
    certify(cluster)
    authority = authority_of(str(tmp_path))
    replace = AuthorityFolder.replace

    def killed(files: AuthorityFolder, path: str, data: bytes) -> None:
        if path.endswith("n1.pem"):
            raise KeyboardInterrupt
        replace(files, path, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(AuthorityFolder, "replace", killed)
        authority.issue("n1", replace=True)
    assert not authority.is_whole("n1")
    match by:
        case "issue":
            authority.issue("n1")
        case "issue again":
            Path(authority.files.certificate("n1")).unlink()
            authority.issue("n1", ["127.0.0.1"])
        case _:
            certify(cluster)
    assert authority.is_whole("n1")
    names = _names(Path(authority.files.certificate("n1")))
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    issued = len(authority.files.issued())
    certify(cluster)
    assert len(authority.files.issued()) == issued == 3
    with pytest.raises(Conflict, match="is there already"):
        authority.issue("n1")


def test_a_key_with_a_password_is_left_alone(tmp_path: Path) -> None:
    authority = Authority(str(tmp_path / "ca"))
    authority.init("prod")
    authority.issue("n1", ["h"])
    path = Path(authority.files.key("n1"))
    key = load_pem_private_key(path.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(Conflict, match="is there already"):
        authority.issue("n1")


def test_what_ends_soon_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(str(tmp_path / "ca"))
    authority.init("prod")
    authority.issue("n1", ["h"], days=29)
    assert main(["ca", "show", "--dir", str(tmp_path / "ca")]) == 0
    assert "n1 ends in 28 days" in capsys.readouterr().err


def test_each_command_that_is_suggested_names_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "the ca"
    where = ["--dir", str(folder)]
    authority = Authority(str(folder))
    assert main(["ca", "show", *where]) != 0
    authority.init("prod")
    authority.issue("n1", ["h"], days=29)
    authority.issue("app", is_node=False, days=29)
    mistakes = [["init"], ["issue"], ["issue", "n2"], ["revoke", "n9"], ["rotate", "--finish"], ["show"]]
    for line in (*mistakes, ["rotate"], ["rotate"], ["rotate", "--finish"]):
        main(["ca", *line, *where])
    told = capsys.readouterr().err
    suggested = [line for line in told.splitlines() if "ringmill ca" in line]
    commands = [each for line in suggested for each in re.split(r"(?=ringmill ca)", line)[1:]]
    assert len(commands) > 10
    for command in commands:
        assert f"--dir '{folder}'" in command, command
    assert f"`ringmill ca issue --client app --dir '{folder}' --replace`" in told


@pytest.mark.parametrize(("is_renewed", "left"), [(False, -3), (True, 364)])
def test_the_doctor_is_told_of_a_certificate_that_has_expired(
    is_renewed: bool, left: int, tmp_path: Path
) -> None:
    nodes = LocalNode("n1", "127.0.0.1:7101", ""), LocalNode("n2", "127.0.0.1:7102", "")
    cluster = LocalCluster("prod", str(tmp_path), 1, 16, nodes, tls=True, peer_transport="tcp")
    certify(cluster)
    path = tmp_path / "tls" / "issued.json"
    written = json.loads(path.read_text())
    (of_n1,) = (each for each in written["certificates"] if each["name"] == "n1")
    of_n1["until"] = time.time() - 2.5 * 86_400
    path.write_text(json.dumps(written))
    if is_renewed:
        authority_of(str(tmp_path)).issue("n1", replace=True)
    days = machine_facts(cluster).days_left
    assert (days["n1"], days["n2"]) == (left, 364)


def _names(path: Path) -> x509.SubjectAlternativeName:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
