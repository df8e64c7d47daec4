"""Reads and writes under a session: answers that never go back, at whatever level and coordinator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import InvalidArgument, QuorumNotReached
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.quorum.receipt import Durability, QuorumReceipt
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.context_token import ContextToken
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.versions.seen import Forgotten, Needed
from ringmill.cluster.wire.request_options import ReadOptions, Seen
from ringmill.node.replica.replica_messages import APPLY, Apply
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from ringmill.simulator.patching import method, patched
from tests.node.one_key import get, put, values, write_request
from tests.node.small_world import World


async def read(world: World, at: str, seen: Seen, level: str = "1", timeout_s: float = 0.5) -> ReadResult:
    request = ReadRequest("", b"key", ReadOptions(level, timeout_s, seen))
    return await world.on(at, world.nodes[at].requests.get(request))


async def put_at_one_alone(world: World, at: str, value: bytes, **given: Any) -> QuorumReceipt:
    """The others are cut off from this owner, and from nobody else."""
    others = [name for name in world.names if name != at]
    for other in others:
        world.cut(at, other)
    receipt = await put(world, at, value, level="1", **given)
    for other in others:
        world.cut(at, other, is_cut=False)
    return receipt


async def touch(
    world: World, at: str, seen: Seen | None, keyspace: str = "", timeout_s: float = 2.0
) -> QuorumReceipt:
    request = write_request(
        keyspace, b"key", b"", is_touch=True, ttl_ms=60_000, level="1", seen=seen, timeout_s=timeout_s
    )
    return await world.on(at, world.nodes[at].requests.write(request))


def test_a_weak_read_asks_on_until_it_shows_what_the_session_wrote() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"old", level="3")
        receipt = await put_at_one_alone(world, "n1", b"new")
        assert values(await get(world, "n2", "1")) == [b"old"]
        shown = await read(world, "n2", Seen(receipt.context))
        assert values(shown) == [b"new"]
        assert "n1" in shown.answered
        assert shown.is_weak

    world.run(story())


def test_a_weak_read_that_shows_it_at_once_asks_nobody_else() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"v", level="3")
        shown = await read(world, "n2", Seen(receipt.context))
        assert shown.answered == ("n2",)

    world.run(story())


@pytest.mark.parametrize("how", ["own, from the disk", "own, not synced yet", "another's"])
def test_a_watermark_that_comes_after_a_copy_was_read_says_nothing_of_what_was_read(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner gets the write meanwhile, and all owners hold it: it was not deleted."""
    world = World(nodes=4)
    home = world.topology.keyspaces[0].id
    partition = world.topology.partition_of(home, b"key")
    first, *_, last = owners = world.topology.owners(partition)
    (stranger,) = {*world.names} - {*owners}
    place = Place(Copy(partition, world.topology.row(partition).copy_epochs[0]), home, b"key")
    node = world.nodes

    async def moves_on() -> None:
        new = await node[last].objects.read(place)
        await node[first].objects.apply(place, new, of_owner=True)
        mark = node[first].objects._watermarks.of(partition)
        mark.kept = mark.kept._replace(proven=new.newest)

    async def story() -> None:
        await put(world, first, b"old", level="3")
        seen = Seen((await put_at_one_alone(world, last, b"new")).context)
        read_synced = node[first].objects.read_synced

        async def slowly(asked: Place) -> bytes:
            encoded = await read_synced(asked)
            await moves_on()
            return encoded

        if how == "own, not synced yet":
            node[first].engine.can_sync.clear()
            await put_at_one_alone(world, first, b"beside", durability="memory")
            reading = asyncio.create_task(read(world, first, seen))
            await asyncio.sleep(0.01)
            await world.on(first, moves_on())
            node[first].engine.can_sync.set()
            shown = await reading
        else:
            node[first].engine.cold.add(place.stored_key)
            monkeypatch.setattr(node[first].objects, "read_synced", slowly)
            shown = await read(world, stranger if how == "another's" else first, seen)
        assert b"new" in values(shown)
        assert {first, last} <= {*shown.answered}

    world.run(story())


def test_a_read_that_nobody_can_answer_fails_and_names_the_session() -> None:
    world = World()

    async def story() -> None:
        receipt = await put_at_one_alone(world, "n1", b"new")
        world.kill("n1")
        with pytest.raises(QuorumNotReached, match=f"the session has seen write {receipt.dot}") as lost:
            await read(world, "n2", Seen(receipt.context))
        assert lost.value.outcome == "failed"
        assert "n1" in lost.value.failed
        await world.start("n1")
        assert values(await read(world, "n2", Seen(receipt.context))) == [b"new"]

    world.run(story())


def test_a_write_without_a_context_replaces_what_its_session_has_seen() -> None:
    world = World()

    async def story() -> None:
        first = await put_at_one_alone(world, "n1", b"1")
        second = await put(world, "n2", b"2", level="1", seen=Seen(first.context))
        assert second.context, "nothing stands beside it"
        shown = await get(world, "n3", "3")
        assert values(shown) == [b"2"]

    world.run(story())


def test_without_a_session_the_same_two_writes_are_siblings() -> None:
    world = World()

    async def story() -> None:
        await put_at_one_alone(world, "n1", b"1")
        await put(world, "n2", b"2", level="1")
        assert sorted(filter(None, values(await get(world, "n3", "3")))) == [b"1", b"2"]

    world.run(story())


def test_a_coordinator_fetches_what_a_context_cannot_name_and_overwrites_nothing_unseen() -> None:
    world = World()

    async def story() -> None:
        await put_at_one_alone(world, "n1", b"another's")
        mine = await put_at_one_alone(world, "n1", b"mine", is_blind=True)
        assert not mine.context
        world.cut("n1", "n2")
        with pytest.raises(QuorumNotReached, match="the session has seen"):
            await put(world, "n2", b"next", level="1", timeout_s=0.3, seen=Seen(dots=(str(mine.dot),)))
        shown = await get(world, "n3", "2")
        assert sorted(filter(None, values(shown))) == [b"another's", b"mine"]
        world.cut("n1", "n2", is_cut=False)
        await put(world, "n2", b"next", level="1", seen=Seen(dots=(str(mine.dot),)))
        assert values(await get(world, "n3", "3")) == [b"next"]

    world.run(story())


def test_a_vector_that_covers_such_a_dot_would_hide_what_nobody_has_seen() -> None:
    """The safeguard of the test above, switched off."""

    def known_with(needed: Needed, present: StoredObject) -> ContextToken:
        return ContextToken(present.context.join(needed.least), max(present.newest, needed.exact.time))

    world = World()

    async def story() -> None:
        await put_at_one_alone(world, "n1", b"another's")
        mine = await put_at_one_alone(world, "n1", b"mine", is_blind=True)
        world.cut("n1", "n2")
        await put(world, "n2", b"next", level="1", seen=Seen(dots=(str(mine.dot),)))
        world.cut("n1", "n2", is_cut=False)
        assert values(await get(world, "n3", "3")) == [b"next"], "nobody had seen another's value"

    with patched(method(Needed.known_with, known_with)):
        world.run(story())


def test_a_touch_keeps_what_its_session_has_seen_or_fails() -> None:
    world = World(r=1)

    async def story() -> None:
        await put(world, "n1", b"old", level="3")
        seen = Seen((await put_at_one_alone(world, "n3", b"new")).context)
        world.kill("n3")
        with pytest.raises(QuorumNotReached, match="the session has seen") as lost:
            await touch(world, "n1", seen, timeout_s=0.3)
        assert lost.value.outcome == "failed"
        await world.start("n3")
        await touch(world, "n1", seen)
        assert values(await get(world, "n1", "3")) == [b"new"]

    world.run(story())


def test_a_touch_in_a_sloppy_keyspace_finds_what_its_session_has_seen_at_fallbacks() -> None:
    loose = KeyspaceEntry(KeyspaceId(1, 2), "loose", quorum="sloppy")
    world = World(5, keyspaces=[loose])
    partition = world.topology.partition_of(loose.id, b"key")
    first, *others = world.topology.owners(partition)

    async def story() -> None:
        await put(world, first, b"old", keyspace="loose", level="3")
        for owner in others:
            world.kill(owner)
            world.seen(owner, "down")  # by those who keep its hints, to the end
        seen = Seen((await put(world, first, b"new", keyspace="loose")).context)
        for owner in others:
            await world.start(owner)
        world.kill(first)
        await touch(world, others[0], seen, keyspace="loose")
        request = ReadRequest("loose", b"key", ReadOptions("1"))
        assert values(await world.on(others[0], world.nodes[others[0]].requests.get(request))) == [b"new"]

    world.run(story())


@pytest.mark.parametrize("seen", [None, Seen(), Seen(forgotten=Forgotten.STRICT)])
def test_fallbacks_are_not_among_the_owners_that_a_touch_asks(seen: Seen | None) -> None:
    """They hold nothing of the newer value, which would be replaced by the older one."""
    loose = KeyspaceEntry(KeyspaceId(1, 2), "loose", quorum="sloppy", policy="lww")
    world = World(5, keyspaces=[loose])
    partition = world.topology.partition_of(loose.id, b"key")
    first, *others = world.topology.owners(partition)

    async def story() -> None:
        await put(world, first, b"old", keyspace="loose", level="3")
        for owner in others:
            world.cut(first, owner)
        await put(world, others[0], b"new", keyspace="loose")  # both of the others have it
        with pytest.raises(QuorumNotReached) as lost:
            await touch(world, first, seen, keyspace="loose", timeout_s=2.0)
        assert lost.value.outcome == "failed"
        for owner in others:
            world.cut(first, owner, is_cut=False)
        request = ReadRequest("loose", b"key", ReadOptions("3"))
        assert values(await world.on(first, world.nodes[first].requests.get(request))) == [b"new"]

    world.run(story())


def test_a_removal_removes_the_element_that_its_session_has_added() -> None:
    world = World(r=1, keyspaces=[KeyspaceEntry(KeyspaceId(1, 2), "tags", policy="set")])

    async def story() -> None:
        added = await put_at_one_alone(world, "n3", b"", keyspace="tags", entry=b"x")
        await put(world, "n1", None, keyspace="tags", entry=b"x", level="1", seen=Seen(added.context))
        request = ReadRequest("tags", b"key", ReadOptions("3"))
        assert not values(await world.on("n2", world.nodes["n2"].requests.get(request)))

    world.run(story())


@pytest.mark.parametrize("value", [b"new", None])
def test_a_write_does_not_wait_for_what_its_coordinator_has_forgotten_and_another_owner_has_not(
    value: bytes | None,
) -> None:
    world = World()
    home = world.topology.keyspaces[0].id
    partition = world.topology.partition_of(home, b"key")
    place = Place(Copy(partition, world.topology.row(partition).copy_epochs[0]), home, b"key")

    async def forgotten_at(name: str) -> None:
        objects = world.nodes[name].objects
        mark = objects._watermarks.of(partition)
        mark.kept = mark.kept._replace(proven=(await objects.read(place)).newest)
        assert await objects.forget([(place, await objects.read_synced(place))]) == 1

    async def story() -> None:
        await put(world, "n1", b"another's", level="3")
        mine = await put(world, "n1", b"mine", level="3", is_blind=True)
        await put(world, "n2", None, level="3")
        await world.on("n1", forgotten_at("n1"))
        seen = Seen(dots=(str(mine.dot),), times=(mine.time,), forgotten=Forgotten.STRICT)
        begun = world.loop.time()
        await put(world, "n1", value, seen=seen)
        assert world.loop.time() - begun < 1
        assert values(await get(world, "n2", "3")) == [value] * (value is not None)

    world.run(story())


def test_what_was_forgotten_is_read_from_all_owners_when_some_of_it_was_weak() -> None:
    world = World()

    async def story() -> None:
        await put_at_one_alone(world, "n1", b"new")
        assert values(await read(world, "n2", Seen(forgotten=2))) == [b"new"]
        world.kill("n3")
        with pytest.raises(QuorumNotReached):
            await read(world, "n2", Seen(forgotten=2))
        assert values(await read(world, "n2", Seen(forgotten=1))) == [b"new"]
        await put(world, "n2", b"newer", level="1", seen=Seen(forgotten=1))
        with pytest.raises(QuorumNotReached):
            await put(world, "n2", b"newest", level="1", timeout_s=0.3, seen=Seen(forgotten=2))

    world.run(story())


def test_what_is_not_the_memory_of_a_session_is_refused() -> None:
    world = World()

    async def story() -> None:
        for seen in (Seen(b"no token"), Seen(dots=("n1",)), Seen(forgotten=7)):
            with pytest.raises(InvalidArgument):
                await read(world, "n1", seen)
            with pytest.raises(InvalidArgument):
                await put(world, "n1", b"v", seen=seen)

    world.run(story())


async def written_by_very_many_starts(world: World, count: int) -> None:
    """All nodes hold `old`, which an early one of them has written."""
    actors = [Actor(f"storage-eu-west-07#{number}.{number:010x}") for number in range(1, count + 1)]
    sibling = Sibling(Dot(actors[6], 2), b"old", HybridTime(1), OperationId(1, 1, ZERO))
    former = StoredObject(VersionVector.of((actor, 2) for actor in actors), (sibling,))
    body = Apply(Epoch(1), world.topology.keyspaces[0].id, b"key", Durability.SYNCED, encode_object(former))
    for name, other in (("n1", "n2"), ("n2", "n3"), ("n3", "n1")):
        send = world.nodes[other].transport.call
        call = send(NodeId(name), APPLY, body.encode(), timeout_s=1.0, priority=Priority.WRITE)
        await world.on(other, call)


def test_a_key_that_very_many_starts_have_written_keeps_its_contexts_sessions_and_watches() -> None:
    """It names more of them than a context has room for (rule V12)."""
    world = World()

    async def story() -> None:
        await written_by_very_many_starts(world, 3_500)
        shown = await get(world, "n1")
        assert values(shown) == [b"old"]
        again = WatchRequest("", b"key", shown.context, ReadOptions("", 0.5), connection="c")
        assert await world.on("n2", world.nodes["n2"].requests.watch(again)) is None, "nothing is new"
        receipt = await put(world, "n2", b"new", context=shown.context)
        assert values(await read(world, "n3", Seen(receipt.context))) == [b"new"]
        told = await world.on("n3", world.nodes["n3"].requests.watch(again))
        assert told is not None and values(told) == [b"new"]
        await put(world, "n3", None, context=told.context)
        told = await world.on("n1", world.nodes["n1"].requests.watch(again._replace(after=told.context)))
        assert told is not None and values(told) == [], "a delete is a change"

    world.run(story())


@pytest.mark.parametrize("count", [600, 3_500])
@pytest.mark.parametrize("is_session", [False, True])
@pytest.mark.parametrize("value", [b"merged", None])
def test_a_coordinator_catches_up_with_a_token_that_may_leave_out_what_was_replaced(
    count: int, value: bytes | None, *, is_session: bool
) -> None:
    """Else it would cover the newer value without what that has replaced, and show this again; or call an
    honest token forged (rule V12)."""
    world = World()

    async def story() -> None:
        await written_by_very_many_starts(world, count)
        for other in ("n2", "n3"):
            world.cut("n1", other)
        await put(world, "n2", b"newer")
        await put(world, "n3", b"newest")
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        seen = await get(world, "n3", level="1")
        assert values(seen) == [b"newest"]
        given = {"seen": Seen(seen.context)} if is_session else {"context": seen.context}
        receipt = await put(world, "n1", value, level="1", **given)
        assert receipt.context, "it stands alone"
        assert values(await get(world, "n1", level="1")) == [value] * (value is not None)

    world.run(story())


def test_a_write_whose_token_nobody_left_covers_is_reported_as_failed() -> None:
    world = World()

    async def story() -> None:
        await written_by_very_many_starts(world, 600)
        for other in ("n2", "n3"):
            world.cut("n1", other)
        receipt = await put(world, "n3", b"newest")
        with pytest.raises(QuorumNotReached) as caught:
            await put(world, "n1", b"merged", level="1", timeout_s=0.3, context=receipt.context)
        assert caught.value.outcome == "failed"
        assert values(await get(world, "n1", level="1")) == [b"old"]

    world.run(story())
