"""A session in a file: what cannot be kept is refused while nothing has been sent yet."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ringmill.client.cli.kv.session_file import kept_session
from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient

DB = cast("AsyncClient", SimpleNamespace(topology=SimpleNamespace(cluster="demo")))


@pytest.mark.parametrize("name", ["no folder/session", "a file/session", "l" * 255])
def test_a_file_that_cannot_be_written_is_refused_before_the_request(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    requests = 0
    with pytest.raises(InvalidArgument, match="--session") as refusal, kept_session(str(tmp_path / name), DB):
        requests += 1
    assert not requests
    assert refusal.value.outcome == "failed"
    assert os.listdir(tmp_path) == ["a file"]


def test_a_file_that_fails_later_does_not_say_that_nothing_was_changed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(InvalidArgument, match="--session") as refusal,
        kept_session(str(folder / "session"), DB) as memory,
    ):
        assert isinstance(memory, SessionMemory)
        for draft in folder.iterdir():
            draft.unlink()
        folder.rmdir()
    assert refusal.value.outcome == "unknown"
    assert "the request was sent" in refusal.value.detail["changed"]


def test_an_empty_file_is_not_a_session_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.touch(mode=0o600)
    with pytest.raises(InvalidArgument, match="is empty") as refusal, kept_session(str(path), DB):
        pytest.fail("a new session began silently")
    assert "begin a new session" in refusal.value.hint
    assert os.listdir(tmp_path) == ["session"]


def test_nothing_but_the_session_is_left(tmp_path: Path) -> None:
    path = tmp_path / "session"
    with pytest.raises(ZeroDivisionError), kept_session(str(path), DB):
        assert not path.exists()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["session"]
    assert SessionMemory.decode(path.read_bytes()).cluster == "demo"
