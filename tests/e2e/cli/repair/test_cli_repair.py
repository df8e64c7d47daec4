"""A node whose hints were dropped is brought level by its owners, as `ringmill repair` tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ringmill.client.blocking import Client
from ringmill.client.local.tcp_ports import free_base
from ringmill.client.many_keys import raise_first
from tests.e2e.cli.conftest import Shell
from tests.e2e.waiting import until

KEYS = [f"key:{number}" for number in range(600)]
HINT_BYTES = 24 * 1024


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("repair"))
    start = 26000 + os.getpid() % 500 * 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_HINT_BYTES", str(HINT_BYTES))
        place = ("--base-port", str(free_base(3, start)))
        shell.ok("cluster", "up", "-n", "3", "--partitions", "16", *place)
        yield shell
        shell.ok("cluster", "down")


def views(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.ok("-o", "json", "repair", "status").json
    return found


def owed(shell: Shell) -> int:
    return sum(pair["owed"] for view in views(shell) for pair in view.get("pairs", ()))


def hints(shell: Shell) -> int:
    return sum(node["hints"] or 0 for node in shell.ok("-o", "json", "cluster", "status").json["nodes"])


def test_a_node_that_missed_more_than_its_hints_is_brought_level(shell: Shell) -> None:
    nodes = shell.ok("-o", "json", "cluster", "status").json["nodes"]
    with Client(nodes[0]["address"], timeout=10) as db:
        raise_first(db.mput((key, b"a" * 200) for key in KEYS))
        shell.ok("cluster", "kill", "n3")
        raise_first(db.mput((key, b"b" * 200) for key in KEYS))
        told = [view for view in views(shell) if "error" not in view]
        assert len(told) == 2 and sum(view["hints_dropped"] for view in told) > 0
        assert all(pair["other"] == "n3" for view in told for pair in view["pairs"] if pair["owed"])
        reasons = shell.ok("-o", "json", "cluster", "status").json["reasons"]
        assert any("n3, who may lack a write" in reason for reason in reasons)
        shell.ok("cluster", "restart", "n3")
        until(lambda: not hints(shell) and not owed(shell))
        for key in KEYS[::25]:
            assert all(owner.same for owner in db.locate(key).owners)
    shell.until_healthy()


def test_owners_are_compared_when_somebody_asks(shell: Shell) -> None:
    found = shell.ok("-o", "json", "repair", "run", "--partition", "7").json
    pairs = [(view["node"], pair) for view in found for pair in view["pairs"]]
    assert len(pairs) == 3 * 2 and {pair["partition"] for _, pair in pairs} == {7}
    assert all(pair["equal_s_ago"] is not None and not pair["owed"] for _, pair in pairs)
    for verb in ("run", "status"):
        refused = shell.run("repair", verb, "--partition", "100000")
        assert refused.code == 2 and "there are 16 partitions" in refused.err
    assert shell.ok("repair", "run").out
