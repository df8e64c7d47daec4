"""A job whose output takes the place of a keyspace, through coordinators, workers and task processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, from_wire
from ringmill.cluster.ids import KeyspaceId, NodeId
from tests.node.jobs.test_keyspace_jobs import N1, USERS, expected, spec_of

FORMER = {b"u0": [b"old"], b"only before": [b"x"]}
LEASE_S = 1.5


def filled(cluster: Any) -> Any:
    cluster.keyspaces.held["default"], cluster.keyspaces.held["index"] = dict(USERS), dict(FORMER)
    return cluster.keyspaces


@pytest.mark.parametrize("trouble", [False, True])
async def test_the_records_take_the_place_of_what_was_there(cluster: Any, trouble: bool) -> None:
    keyspaces = filled(cluster)
    if trouble:  # of three changes each is made, and nobody can tell
        keyspaces.change_errors = [
            QuorumNotReached("too few answer", outcome=outcome)
            for outcome in ("unknown", "failed", "unknown")
        ]
    put, seen = keyspaces.put, []

    async def watched(*args: Any, **named: Any) -> None:
        seen.append(dict(keyspaces.held["index"]))
        await put(*args, **named)

    keyspaces.put = watched
    view = await cluster.run(spec_of(cluster, overwrite=True))
    assert (view.state, view.error, view.output) == ("SUCCEEDED", None, "kv:index")
    assert seen and all(each == FORMER for each in seen), "nothing shows before all is there"
    assert keyspaces.held["index"] == expected(cluster) and set(keyspaces.entries) == {
        "default", "index", "counts",
    }  # fmt: skip
    assert cluster.leftovers() == []


async def test_a_keyspace_that_others_replace_meanwhile_stays_as_they_want_it(cluster: Any) -> None:
    keyspaces = filled(cluster)
    remade = replace(keyspaces.entries["index"], id=KeyspaceId(1, 17))
    put = keyspaces.put

    async def late(*args: Any, **named: Any) -> None:
        keyspaces.entries["index"] = remade
        await put(*args, **named)

    keyspaces.put = late
    view = await cluster.run(spec_of(cluster, overwrite=True))
    error = from_wire(view.error)
    assert view.state == "FAILED" and error.outcome == "failed"
    assert "keyspace 'index' is not replaced: keyspace 'index' was dropped or replaced" in error.message
    assert set(keyspaces.entries) == {"default", "index", "counts"}, "what it filled is dropped"
    with pytest.raises(InvalidArgument, match="'default' cannot be replaced"):
        await cluster.submit(
            spec_of(cluster, job="job-2", output=f"{cluster.folder}/x", output_keyspace="default",
                    overwrite=True)
        )  # fmt: skip


async def test_another_coordinator_finds_the_keyspace_replaced(cluster: Any) -> None:
    keyspaces = filled(cluster)
    change = keyspaces.change

    async def lost_behind_it(change_of: Any, within_s: float) -> Any:
        made = await change(change_of, within_s)
        if (
            "index" in keyspaces.entries
            and keyspaces.entries["index"].id.epoch > 1
            and N1 not in cluster.down
        ):
            cluster.wire.cut.add(N1)
            cluster.down.add(N1)
        return made

    keyspaces.change = lost_behind_it
    await cluster.submit(spec_of(cluster, overwrite=True))
    others = [cluster.nodes[NodeId(name)].coordinator for name in ("n2", "n3")]
    await cluster.until(lambda: any(each.views() for each in others))
    (coordinator,) = [each for each in others if each.views()]
    async for view in coordinator.watch("job-1"):
        last = view
    assert (last.state, last.error) == ("SUCCEEDED", None)
    assert keyspaces.held["index"] == expected(cluster)
    assert set(keyspaces.entries) == {"default", "index", "counts"}
