"""Reads over a few nodes: repair before the answer, replacements for the silent, what never returns."""

from __future__ import annotations

import asyncio

import pytest

import ringmill.node.requests.request_limits
from ringmill.client.routing.retries import Next, next_step
from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, from_wire, to_wire
from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import ZERO
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.wire.request_options import ReadOptions, Seen
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.requests.request_values import ReadRequest
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.one_key import get, lone_write, put, values
from tests.node.small_world import World


async def write_missed_by_the_others(world: World, at: str, value: bytes) -> None:
    """They were down and get no hint either, being suspects: what they lack is for reads to repair."""
    others = [name for name in world.names if name != at]
    for other in others:
        world.kill(other)
        world.seen(other, "suspect")
    with pytest.raises(QuorumNotReached):
        await put(world, at, value, timeout_s=0.05)
    for other in others:
        await world.start(other)


def test_once_a_lone_write_was_read_no_later_read_misses_it() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"old")
        await lone_write(world, "n1", b"new")
        seen = await get(world, "n1")  # n1 and one other, who lacks it
        assert values(seen) == [b"new"]
        assert seen.repaired == 1
        world.kill("n1")
        for name in ("n2", "n3"):
            assert values(await get(world, name)) == [b"new"]

    world.run(story())


def test_an_object_that_no_message_holds_is_nobody_s_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ringmill.node.requests.request_limits, "MAX_FRAME_BYTES", 5 * 1024 * 1024)
    world = World()

    async def story() -> None:
        home = world.topology.keyspaces[0].id
        partition = world.topology.partition_of(home, b"key")
        place = Place(Copy(partition, world.topology.row(partition).copy_epochs[0]), home, b"key")
        dots = [Dot(Actor("n8#1"), count) for count in range(1, 7)]
        siblings = tuple(
            Sibling(dot, bytes(1024 * 1024), ZERO, OperationId(1, dot.counter, ZERO)) for dot in dots
        )
        await world.nodes["n1"].objects.apply(place, StoredObject(VersionVector.of(dots), siblings))
        with pytest.raises(QuorumNotReached, match="the 6 siblings of the key take") as told:
            await get(world, "n1", level="1")
        assert told.value.outcome == "failed"
        await put(world, "n1", b"small", level="1")
        assert values(await get(world, "n1", level="1")) == [b"small"]

    world.run(story())


def test_an_owner_that_stalls_after_answering_is_replaced_in_the_write_back() -> None:
    world = World()

    async def story() -> None:
        home = world.topology.keyspaces[0].id
        first, second, third = world.topology.owners(world.topology.partition_of(home, b"key"))
        await write_missed_by_the_others(world, first, b"new")
        world.nodes[second].engine.can_sync.clear()  # it still answers reads
        began = world.loop.time()
        seen = await get(world, first)
        assert set(seen.answered) == {first, second}
        assert values(seen) == [b"new"]
        assert seen.repaired == 1
        assert world.loop.time() - began < 0.5
        assert world.nodes[third].objects.keys == 1

    world.run(story())


def test_a_write_back_that_fails_names_everyone_it_asked() -> None:
    world = World()

    async def story() -> None:
        await write_missed_by_the_others(world, "n1", b"new")
        for name in ("n2", "n3"):
            world.nodes[name].engine.can_sync.clear()
        with pytest.raises(QuorumNotReached, match="write-back") as lost:
            await get(world, "n1", timeout_s=1.0)
        assert lost.value.acked == ["n1"]
        assert set(lost.value.failed) == {"n2", "n3"}
        assert not any("no time was left" in why for why in lost.value.failed.values())

    world.run(story())


def test_a_repaired_answer_survives_the_crash_of_everyone_who_gave_it() -> None:
    world = World()

    async def story() -> None:
        await lone_write(world, "n1", b"v")
        await get(world, "n1")
        for name in world.names:
            world.kill(name)
        for name in world.names:
            await world.start(name)
        assert values(await get(world, "n3")) == [b"v"]

    world.run(story())


def test_a_replica_shows_nothing_that_it_could_still_forget() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        node.engine.can_sync.clear()
        await put(world, "n1", b"v", level="one", durability="memory", timeout_s=0.5)
        with pytest.raises(QuorumNotReached, match="no answer within"):
            await get(world, "n1", "all", timeout_s=0.2)
        node.engine.can_sync.set()
        assert values(await get(world, "n1", "all")) == [b"v"]
        assert node.engine.synced_sequence > 0

    world.run(story())


def test_a_read_that_came_late_and_runs_out_of_time_may_be_tried_again() -> None:
    """Its quarter of the caller's time was spent on its way: no owner is to blame (rule D1)."""
    world = World()

    async def story() -> None:
        requests = world.nodes["n1"].requests
        for other in ("n2", "n3"):
            world.cut("n1", other)
        for seen in (None, Seen(dots=("n9#1.aa:7",))):
            late = ReadRequest("", b"key", ReadOptions(timeout_s=1.25, seen=seen), left_s=0.05)
            batch, told = requests.read_batch(), asyncio.get_running_loop().create_future()
            assert batch.add(late, told.set_result)
            batch.send()
            with pytest.raises(QuorumNotReached) as ended:
                await world.on("n1", requests.get(late))
            for error in (ended.value, await told):
                assert isinstance(error, QuorumNotReached) and error.is_late
                assert error.acked == ["n1"] and sorted(error.failed) == ["n2", "n3"]
                assert next_step(from_wire(to_wire(error)), is_write=False) is Next.RETRY

    world.run(story())


def test_a_read_is_repaired_by_others_when_the_stale_owner_cannot_take_it() -> None:
    world = World()

    async def story() -> None:
        await lone_write(world, "n1", b"v")
        world.nodes["n2"].engine.failure = StorageFailed("000007.log: No space left")
        result = await get(world, "n1")
        assert values(result) == [b"v"]
        world.kill("n1")
        assert values(await get(world, "n3", "one")) == [b"v"]

    world.run(story())


def test_a_read_that_cannot_be_made_safe_is_not_answered() -> None:
    world = World()

    async def story() -> None:
        await lone_write(world, "n1", b"v")
        for name in ("n2", "n3"):
            world.nodes[name].engine.failure = StorageFailed("000007.log: No space left")
        with pytest.raises(QuorumNotReached, match="write-back"):
            await get(world, "n1", timeout_s=0.5)

    world.run(story())


@pytest.mark.parametrize("asked", ["", "one"])
def test_a_stopped_owner_costs_a_read_a_moment_and_not_its_deadline(asked: str) -> None:
    world = World(4)

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        outsider = next(name for name in world.names if name not in owners)
        await put(world, owners[1], b"v", level="all")
        world.loop.pause(world.nodes[owners[0]].process)
        began = world.loop.time()
        assert values(await get(world, outsider, asked)) == [b"v"]
        assert world.loop.time() - began < 0.2

    world.run(story())


def test_an_owner_seen_down_is_asked_last() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", level="all")
        world.kill("n2")
        world.seen("n2", "down")
        result = await get(world, "n1")
        assert set(result.answered) == {"n1", "n3"}
        assert values(await get(world, "n1", "one")) == [b"v"]
        with pytest.raises(QuorumNotReached) as lost:
            await get(world, "n1", "all", timeout_s=0.5)
        assert list(lost.value.failed) == ["n2"]
        assert sorted(lost.value.acked) == ["n1", "n3"]

    world.run(story())


def test_a_missing_key_has_no_siblings_and_its_context_covers_nothing() -> None:
    world = World()

    async def story() -> None:
        missing = await get(world, "n1")
        assert missing.siblings == ()
        await put(world, "n2", b"theirs")
        await put(world, "n1", b"mine", context=missing.context)
        assert sorted(values(await get(world, "n3")), key=str) == [b"mine", b"theirs"]

    world.run(story())


def test_a_delete_is_not_undone_by_the_owner_that_missed_it() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", level="all")
        world.kill("n3")
        await put(world, "n1", None)
        await world.start("n3")
        for name in world.names:
            assert values(await get(world, name, "all")) == []
        world.kill("n1")
        world.kill("n2")
        assert values(await get(world, "n3", "one")) == []

    world.run(story())


def test_a_read_below_the_keyspace_s_level_is_marked_weak() -> None:
    world = World()

    async def story() -> None:
        assert (await put(world, "n1", b"v", level="one")).is_weak
        assert (await get(world, "n1", "one")).is_weak
        assert not (await get(world, "n1")).is_weak
        with pytest.raises(InvalidArgument, match="1 to 3"):
            await get(world, "n1", "7")

    world.run(story())


def test_where_reads_ask_less_than_a_majority_an_answer_that_a_later_one_may_lack_is_weak() -> None:
    world = World(r=1, w=3)

    async def story() -> None:
        await put(world, "n1", b"old")
        await lone_write(world, "n1", b"new")
        shown = await get(world, "n1")
        assert (values(shown), shown.is_weak) == ([b"new"], True)
        assert values(await get(world, "n2")) == [b"old"]
        assert (await get(world, "n1", "2")).is_weak
        shown = await get(world, "n3", "3")
        assert (values(shown), shown.is_weak) == ([b"new"], False)
        assert values(await get(world, "n2")) == [b"new"]

    world.run(story())


def test_two_owners_of_a_short_cluster_answer_by_the_owners_there_are() -> None:
    world = World(1)

    async def story() -> None:
        receipt = await put(world, "n1", b"v")
        assert (receipt.w, receipt.is_weak) == (1, False)
        assert values(await get(world, "n1")) == [b"v"]

    world.run(story())
