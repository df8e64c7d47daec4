"""Who owns how much, what changes would move, and what changed, typed in a shell at five real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringmill import Client

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


def test_the_ring_is_shown_planned_and_compared(shell: Shell) -> None:
    shown = shell.ok("ring", "show", "-o", "json").json
    assert [node["node"] for node in shown["nodes"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert sum(node["partitions"] for node in shown["nodes"]) == 3 * shown["partitions"]
    assert shown["balance"] < 1.05 and {node["state"] for node in shown["nodes"]} == {"up"}
    listed = shell.ok("ring", "show", "--partitions").out.decode().splitlines()
    assert [line.split("\t")[1].split() for line in listed] == shown["owners"]

    line = ("ring", "plan", "--add", "n6=127.0.0.1:1", "--remove", "n2", "-o", "json")
    plan = shell.ok(*line).json
    assert plan["epoch"] == shown["epoch"] and not plan["short"] and plan["replicas"]["least"] == 3
    assert len(plan["moves"]) == plan["copies"] >= shown["nodes"][1]["partitions"]
    assert {move["leaver"] for move in plan["moves"]} == {"n2"}
    assert {load["partitions"] for load in plan["after"]} <= {153, 154}
    here = shell.ok("ring", "plan", "--add", "n6", "--replace", "n2=n7", "-o", "json").json
    assert {load["node"] for load in here["after"]} == {"n1", "n3", "n4", "n5", "n6", "n7"}
    refused = shell.run("ring", "plan", "--remove", "n9")
    assert refused.code == 2 and "'n9' is not a member" in refused.err

    made = shell.ok("keyspace", "create", "ring-books", "-o", "json").json["epoch"]
    told = shell.ok("ring", "diff", str(made - 1), str(made)).out.decode()
    assert told == f"epoch {made - 1} to epoch {made}\n  + keyspace ring-books (objects) was made\n"
    shell.ok("keyspace", "drop", "ring-books")
    unknown = shell.run("ring", "diff", "4000")
    assert unknown.code == 3 and "epoch 4000 is remembered by none of the 5 members" in unknown.err

    nodes = shell.ok("cluster", "status", "-o", "json").json["nodes"]
    with Client([node["address"] for node in nodes]) as db:
        assert list(db.ring.show().topology.rows[0].nodes) == shown["owners"][0]
