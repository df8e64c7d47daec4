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


def test_a_read_of_a_register_is_explained(shell: Shell) -> None:
    shell.ok("incr", "hits explained")
    shell.ok("incr", "hits explained")
    told = shell.ok("explain", "--keyspace", "registers", "hits explained", "-o", "json").json
    assert (told["key"], told["values"], told["r"], told["error"]) == ("hits explained", 1, 2, "")
    register, owners = told["register"], told["owners"]
    assert register["version"] == 2 and register["settled"] in ("quorum", "written")
    assert register["questions"][0]["question"] == "read" and register["questions"][0]["decision"]
    assert len(owners) == 3 and sum(owner["answered"] for owner in owners) >= 2
    newest = [owner for owner in owners if owner["answered"] and owner["same"]]
    assert newest and all(
        owner["version"] == 2 and owner["accepted"] and owner["promised"] for owner in newest
    )
    rows = shell.ok("explain", "--keyspace", "registers", "hits explained").out.decode().splitlines()
    assert len(rows) == 3 and sum(row.split("\t")[8] == "same" for row in rows) >= 2
    assert shell.run("explain", "--keyspace", "registers", "hits explained", "-r", "all").code == 1
    refused = shell.run("explain", "--keyspace", "registers", "ringmill/jobs")
    assert refused.code == 1 and "the cluster's own" in refused.err
