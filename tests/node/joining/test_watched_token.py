"""A running node takes over what its token file says, as far as others then still know it (rule F9)."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from ringmill.cluster.access.cluster_secret import HeldSecret
from ringmill.node.config import keep_token
from ringmill.node.joining.watched_token import WatchedToken


def test_a_file_that_is_replaced_is_taken_over(tmp_path: Path) -> None:
    path, held = str(tmp_path / "token"), HeldSecret("one")
    watched = WatchedToken(path, held)
    for text in ("one", "one\nnext two", "two\nformer one", "two"):
        keep_token(path, text)
        watched.look()
        assert held.text == text


@pytest.mark.parametrize("fault", ["gone", "empty", "readable by all", "of another cluster", "of a client"])
def test_a_file_of_no_use_leaves_the_former_token_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    path, held = tmp_path / "token", HeldSecret("one")
    watched = WatchedToken(str(path), held)
    keep_token(
        str(path), {"of another cluster": "two", "of a client": "rm1_x", "empty": ""}.get(fault, "one")
    )
    if fault == "gone":
        path.unlink()
    if fault == "readable by all":
        path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        watched.look()
        watched.look()
    assert held.text == "one"
    (record,) = caplog.records
    assert "the former token stays in force" in record.getMessage()
    keep_token(str(path), "one\nnext two")
    path.chmod(0o600)
    watched.look()
    assert held.text == "one\nnext two", "and it is read again once it is well"


def test_a_file_that_its_owner_alone_may_read_after_all_is_taken_over(tmp_path: Path) -> None:
    path, held = tmp_path / "token", HeldSecret("one")
    watched = WatchedToken(str(path), held)
    keep_token(str(path), "one\nnext two")
    path.chmod(0o644)
    watched.look()
    assert held.text == "one"
    path.chmod(0o600)
    watched.look()
    assert held.text == "one\nnext two"


def test_a_file_that_could_not_be_read_is_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it differs in nothing; and the log says it once."""
    path, held = tmp_path / "token", HeldSecret("one")
    watched = WatchedToken(str(path), held)
    keep_token(str(path), "one\nnext two")

    def no_descriptors(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short, caplog.at_level(logging.WARNING):
        short.setattr(Path, "read_text", no_descriptors)
        for _ in range(3):
            watched.look()
    assert held.text == "one" and len(caplog.records) == 1
    watched.look()
    assert held.text == "one\nnext two"
