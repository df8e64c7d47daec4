"""A job reads a keyspace as it was when its snapshot was taken, from those owners that still have one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ringmill.cluster.errors import NotFound, Overloaded, QuorumNotReached
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.files.keyspace_records import Content
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.node.replica.snapshots.held_snapshots import MOST_HELD, UNUSED_S, HeldSnapshots
from ringmill.node.replica.stored_key import Copy, copy_prefix
from tests.node.one_key import write_request
from tests.node.small_world import World

SOURCE = KeyspacePath("default")
BEFORE = {b"k%02d" % number: [b"before"] for number in range(20)}


def run(story: Callable[[World], Coroutine[Any, Any, None]], **given: Any) -> None:
    world = World(**given)
    world.run(story(world))


async def write(world: World, key: bytes, value: bytes | None, **given: Any) -> None:
    request, requests = write_request("", key, value, **given), world.nodes["n1"].requests
    await world.on("n1", requests.write(request))


async def filled(world: World) -> None:
    for key in BEFORE:
        await write(world, key, b"before")


async def changed(world: World) -> None:
    await write(world, b"k00", b"after")
    await write(world, b"k01", None)
    await write(world, b"new", b"after")


async def held(world: World, name: str = "job.1") -> PartitionSpan:
    """A snapshot of all that there is now, as the span of a job names it."""
    keyspace = world.topology.keyspace_named("default")
    taken = world.nodes["n1"].requests.own_keyspaces().hold_snapshot(name, keyspace)
    at_ms = await world.on("n1", taken)
    last = len(world.topology.rows) - 1
    return PartitionSpan(0, last, 0, (keyspace.id.epoch, keyspace.id.ordinal), name, at_ms)


async def read(
    world: World, span: PartitionSpan, at: str = "n1", level: str = "snapshot"
) -> dict[bytes, Content]:
    async def all_pages() -> dict[bytes, Content]:
        found: dict[bytes, Content] = {}
        async for page in world.nodes[at].requests.own_keyspaces().read(SOURCE, span, level, 0.0):
            found.update(page)
        return found

    return await world.on(at, all_pages())


def test_what_is_written_later_is_not_in_a_snapshot() -> None:
    async def story(world: World) -> None:
        await filled(world)
        span = await held(world)
        await changed(world)
        assert await read(world, span) == BEFORE
        assert await read(world, span, "n3") == BEFORE, "any node reads it"
        now = await read(world, span._replace(snapshot=""), level="quorum")
        assert (now[b"k00"], b"k01" in now, now[b"new"]) == ([b"after"], False, [b"after"])

    run(story)


def test_a_value_that_expires_after_the_snapshot_is_in_it_each_time() -> None:
    async def story(world: World) -> None:
        await write(world, b"brief", b"v", ttl_ms=1000)
        span = await held(world)
        await asyncio.sleep(5.0)
        assert await read(world, span) == {b"brief": [b"v"]}

    run(story)


def test_one_owner_that_was_started_again_is_done_without_and_two_are_not() -> None:
    async def story(world: World) -> None:
        await filled(world)
        span = await held(world)
        await changed(world)
        world.kill("n2")
        await world.start("n2")
        assert await read(world, span) == BEFORE
        world.kill("n3")
        await world.start("n3")
        with pytest.raises(NotFound, match=r"n3 has no snapshot job\.1"):
            await read(world, span)

    run(story)


def test_an_owner_that_was_healed_since_does_not_speak_for_its_snapshot() -> None:
    """What healing has written again came after the snapshot, which lacks it."""

    async def story(world: World) -> None:
        await filled(world)
        span = await held(world)
        for damaged in ("n2", "n3"):
            copy = Copy(PartitionId(0), world.topology.rows[0].copy_epoch_of(NodeId(damaged)))
            world.nodes[damaged].disk.engine.healed.add(copy_prefix(copy))
        with pytest.raises(NotFound, match="found damage in partition 0"):
            await read(world, span)


def test_damage_of_another_partition_ends_no_snapshot() -> None:
    async def story(world: World) -> None:
        await filled(world)
        span = await held(world)
        for damaged in ("n2", "n3"):
            copy = Copy(PartitionId(1), world.topology.rows[1].copy_epoch_of(NodeId(damaged)))
            world.nodes[damaged].disk.engine.healed.add(copy_prefix(copy))
        of_others = [await read(world, span._replace(first=number, last=number)) for number in (0, 2, 3)]
        assert any(of_others)
        with pytest.raises(NotFound, match="found damage in partition 1"):
            await read(world, span)

    run(story)


def test_a_snapshot_that_too_few_owners_can_take_is_refused() -> None:
    async def story(world: World) -> None:
        await filled(world)
        for damaged in ("n2", "n3"):
            copy = Copy(PartitionId(0), world.topology.rows[0].copy_epoch_of(NodeId(damaged)))
            world.nodes[damaged].disk.engine.fenced.add(copy_prefix(copy))
        with pytest.raises(QuorumNotReached, match="needs 2 owners") as refused:
            await held(world)
        assert "n2: may lack some of it" in str(refused.value)

    run(story)


def test_a_snapshot_that_is_not_asked_for_ends_and_one_that_is_kept_stays() -> None:
    async def story(world: World) -> None:
        await filled(world)
        span = await held(world)
        await changed(world)
        own = world.nodes["n1"].requests.own_keyspaces()
        for _ in range(3):
            await asyncio.sleep(UNUSED_S - 10)
            await world.on("n1", own.keep_snapshot("job.1"))
        assert await read(world, span) == BEFORE
        await world.on("n1", own.release_snapshot("job.1"))
        with pytest.raises(NotFound, match="has no snapshot"):
            await read(world, span)
        span = await held(world, "job.2")
        await asyncio.sleep(UNUSED_S + 1)
        with pytest.raises(NotFound, match="has no snapshot"):
            await read(world, span)

    run(story)


def test_snapshots_of_a_node_are_bounded_and_a_copy_that_came_later_is_in_none() -> None:
    async def story(world: World) -> None:
        node = world.nodes["n1"]
        kept = HeldSnapshots(
            NodeId("n1"), engine=node.disk.engine.as_engine(), topology=node.membership.topology
        )
        for number in range(MOST_HELD):
            assert len(kept.hold(f"job.{number}")) == len(world.topology.rows)
        assert kept.hold("job.0"), "the same again is no other"
        with pytest.raises(Overloaded, match="keeps 16 snapshots"):
            kept.hold("another")
        kept.release("job.3")
        kept.hold("another")
        row = world.topology.rows[0]
        copy = Copy(PartitionId(0), row.copy_epoch_of(NodeId("n1")))
        kept.of("another", copy)
        with pytest.raises(NotFound, match="did not have partition 0"):
            kept.of("another", copy._replace(copy_epoch=Epoch(copy.copy_epoch + 1)))
        for name in [*(f"job.{number}" for number in range(MOST_HELD)), "another"]:
            kept.release(name)

    run(story)
