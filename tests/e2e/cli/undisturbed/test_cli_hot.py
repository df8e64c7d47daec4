"""Which keys have the most requests now, typed in a shell at five real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringmill import Client

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


def test_a_hot_key_is_named_with_its_owners_and_its_value_is_not_shown(shell: Shell) -> None:
    nodes = shell.ok("cluster", "status", "-o", "json").json["nodes"]
    with Client([node["address"] for node in nodes]) as db:
        db.put("hot:key", b"a secret")
        for _ in range(20):
            db.mget(["hot:key"] * 250)
        (told,) = [each for each in db.hot().keys if each.key == b"hot:key"]
    assert told.reads_s > told.writes_s
    assert set(told.work_by_node) <= {node["id"] for node in nodes}
    listed = shell.ok("cluster", "status", "--hot", "-o", "json")
    (key,) = [each for each in listed.json["keys"] if each["key"] == "hot:key"]
    owners = {each["node"] for each in shell.ok("locate", "hot:key", "-o", "json").json["owners"]}
    assert set(key["owners"]) == owners
    assert owners <= set(key["work_by_node"]), "all of them work on it, as its reads are spread"
    assert key["advice"] and listed.json["silent"] == []
    drawn = shell.ok("cluster", "status", "--hot")
    assert b"hot:key\tdefault\t" in drawn.out
    assert "secret" not in drawn.out.decode() + drawn.err + listed.out.decode()
    refused = shell.run("cluster", "status", "--hot", "--check")
    assert refused.code == 2 and "--hot shows no health" in refused.err
