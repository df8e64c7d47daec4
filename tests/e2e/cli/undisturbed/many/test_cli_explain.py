"""`ringmill explain`, typed in a shell at five real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


def test_a_read_is_explained(shell: Shell) -> None:
    dot = shell.ok("put", "why", "x", "-w", "all", "-o", "json").json["dot"]
    told = shell.ok("explain", "why", "-o", "json").json
    asked = [owner for owner in told["owners"] if owner["asked"]]
    assert len(asked) == 2
    assert all(owner["answered"] and owner["same"] and owner["dots"] == [dot] for owner in asked)
    assert (told["key"], told["values"], told["error"]) == ("why", 1, "")
    assert len(told["candidates"]) == 5 and len(told["fallbacks"]) == 2
    rows = shell.ok("explain", "why", "-r", "all").out.decode().splitlines()
    assert [row.split("\t")[6] for row in rows] == ["same"] * 3


def test_a_key_that_is_not_there_is_explained_too(shell: Shell) -> None:
    told = shell.ok("explain", "no such key", "-o", "json").json
    assert (told["values"], told["error"]) == (0, "")
    assert shell.run("explain", "--keyspace", "registers", "k").code == 1
