"""The library finds the token of a local cluster by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ringmill.client.blocking import Client
from ringmill.client.connection import connect
from ringmill.client.local.local_state import LocalCluster, LocalNode, make_token, read_token, save_cluster
from ringmill.client.local_token import FollowedToken, find_token_file, read_token_file
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.private_files import distrust
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, Unavailable
from tests.client.one_node import one_node


class TurnedClock(SystemClock):
    at = 5.0

    def monotonic(self) -> float:
        return self.at


def find_token(
    files: OsFileSystem, home: str, addresses: list[str], trust: Callable[[str], str] = lambda _: ""
) -> str:
    path = find_token_file(files, home, addresses, trust)
    return read_token_file(files, path) if path else ""


def test_the_token_is_that_of_the_cluster_with_the_address(tmp_path: Path) -> None:
    for name, port in (("a", 7101), ("b", 7201)):
        node = LocalNode("n1", f"127.0.0.1:{port}", "")
        save_cluster(LocalCluster(name, str(tmp_path / name), 3, 256, (node,)))
        make_token(str(tmp_path / name))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "cluster.json").write_text("{")
    (tmp_path / "damaged" / "token").write_text("x")
    with closing(OsFileSystem()) as files:
        assert find_token(files, str(tmp_path), ["127.0.0.1:7201"]) == read_token(str(tmp_path / "b"))
        assert find_token(files, str(tmp_path), ["127.0.0.1:7301"]) == ""
        assert find_token(files, str(tmp_path / "absent"), ["127.0.0.1:7201"]) == ""


@pytest.mark.parametrize("damage", ["no text", "a folder"])
def test_a_token_that_cannot_be_read_is_reported_and_no_other_is_tried(tmp_path: Path, damage: str) -> None:
    save_cluster(LocalCluster("a", str(tmp_path / "a"), 3, 256, (LocalNode("n1", "127.0.0.1:7101", ""),)))
    token = tmp_path / "a" / "token"
    if damage == "a folder":
        token.mkdir()
    else:
        token.write_bytes(b"\xff\xfe")
    with (
        closing(OsFileSystem()) as files,
        pytest.raises(PermissionDenied, match="cannot be read") as refused,
    ):
        find_token(files, str(tmp_path), ["127.0.0.1:7101"])
    assert "RINGMILL_TOKEN" in refused.value.hint


def test_the_token_of_the_environment_stands_before_that_of_a_local_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_cluster(LocalCluster("a", str(tmp_path / "a"), 3, 256, (LocalNode("n1", "127.0.0.1:7101", ""),)))
    make_token(str(tmp_path / "a"))
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.delenv("RINGMILL_TOKEN", raising=False)
    db = connect("127.0.0.1:7101")
    assert db._dialler._found_token()() == read_token(str(tmp_path / "a"))
    assert connect("localhost:7101")._dialler._found_token()() == read_token(str(tmp_path / "a"))
    monkeypatch.setenv("RINGMILL_TOKEN", "of-the-environment")
    assert db._dialler._found_token()() == "of-the-environment"


def test_the_token_of_the_environment_is_checked_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGMILL_TOKEN", "clé")
    with pytest.raises(InvalidArgument, match="token"):
        _ = connect("127.0.0.1:1").jobs


@pytest.mark.parametrize("damage", ["no text", "written by every user"])
async def test_a_client_is_told_of_a_bad_token_before_it_asks_anybody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    """It is looked for when the client is entered, not when it is made."""
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.delenv("RINGMILL_TOKEN", raising=False)
    db = connect("127.0.0.1:1")
    save_cluster(LocalCluster("a", str(tmp_path / "a"), 3, 256, (LocalNode("n1", "127.0.0.1:1", ""),)))
    make_token(str(tmp_path / "a"))
    if damage == "no text":
        (tmp_path / "a" / "token").write_bytes(b"\xff\xfe")
    else:
        (tmp_path / "a" / "token").chmod(0o666)
    with pytest.raises(PermissionDenied, match=r"cannot be read|is not trusted"):
        async with db:
            raise AssertionError("it was let in")


def test_a_client_that_finds_a_token_asks_nodes_for_a_proof(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.setenv("RINGMILL_TOKEN", "of-the-environment")
    with one_node() as (node, address):  # it has no token
        for session in (True, False):
            with (
                pytest.raises(Unavailable, match="did not prove that it is a node"),
                Client(address, session=session),
            ):
                raise AssertionError("it was let in")
        monkeypatch.delenv("RINGMILL_TOKEN")
        with Client(address) as db:
            db.put("key", b"1")
    assert node.values == {b"key": [b"1"]}


def test_a_token_that_was_found_and_is_of_another_cluster_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As that of a stopped local cluster whose address other nodes have now; the user has given none."""
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.delenv("RINGMILL_TOKEN", raising=False)
    with one_node() as (_, address):
        save_cluster(LocalCluster("a", str(tmp_path / "a"), 3, 256, (LocalNode("n1", address, ""),)))
        make_token(str(tmp_path / "a"))
        for given in ("", "secret"):
            with pytest.raises(Unavailable, match="did not prove") as refused, Client(address, token=given):
                raise AssertionError("it was let in")
            assert (str(tmp_path / "a" / "token") in refused.value.hint) == (not given)
            assert "--token-file" in refused.value.hint


def test_a_token_that_others_can_write_is_refused_by_name(tmp_path: Path) -> None:
    save_cluster(LocalCluster("a", str(tmp_path / "a"), 3, 256, (LocalNode("n1", "127.0.0.1:7101", ""),)))
    make_token(str(tmp_path / "a"))
    with closing(OsFileSystem()) as files:
        assert find_token(files, str(tmp_path), ["127.0.0.1:7101"], distrust) != ""
        (tmp_path / "a" / "token").chmod(0o666)
        with pytest.raises(PermissionDenied, match=r"token is not trusted: .* written by every user"):
            find_token(files, str(tmp_path), ["127.0.0.1:7101"], distrust)


def test_a_token_is_followed_and_one_that_cannot_be_read_leaves_the_former() -> None:
    clock = TurnedClock()
    said: list[str | PermissionDenied] = ["old", "old\nnext new", PermissionDenied("unreadable"), "", "new"]

    def read() -> str:
        told = said.pop(0)
        if isinstance(told, PermissionDenied):
            raise told
        return told

    token = FollowedToken(read, clock)
    told = []
    for _ in range(5):
        told += [token(), token()]
        clock.at += 1.0
    assert told[::2] == ["old", "old\nnext new", "old\nnext new", "old\nnext new", "new"]
    assert told[1::2] == told[::2], "it is not read again at once"
