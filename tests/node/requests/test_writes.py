"""Writes over a few nodes: levels, hints, contexts, forwarding, repeats, deadlines."""

from __future__ import annotations

import asyncio

import pytest

from cluster.errors import (
    DeadlineExceeded,
    DiskFull,
    InvalidArgument,
    ProtocolMismatch,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from cluster.ids import Epoch, NodeId
from cluster.quorum.receipt import Durability, Receipt, Role
from cluster.versions.hybrid_time import HybridTime
from cluster.versions.objects import OperationId
from node.replica.stored_key import hint_key
from node.requests.forward import FORWARD
from node.requests.values import LocateRequest, ReadRequest, ReadResult, WriteRequest
from node.storage.errors import StorageFailed
from tests.node.small_world import World


async def put(world: World, at: str, value: bytes | None, **options: object) -> Receipt:
    request = WriteRequest("", b"key", value, **options)  # type: ignore[arg-type]
    return await world.on(at, world.nodes[at].writer.write(request))


async def get(world: World, at: str, level: str = "") -> ReadResult:
    return await world.on(at, world.nodes[at].reader.read(ReadRequest("", b"key", level)))


def values(result: ReadResult) -> list[bytes | None]:
    return [sibling.value for sibling in result.siblings]


def test_a_write_is_read_from_every_node() -> None:
    world = World(5)

    async def story() -> None:
        receipt = await put(world, "n1", b"v")
        assert len(receipt.replicas) >= 2
        assert {ack.durability for ack in receipt.replicas} == {Durability.SYNCED}
        assert not receipt.is_weak
        for name in world.names:
            assert values(await get(world, name)) == [b"v"]

    world.run(story())


def test_all_owners_with_one_down_names_who_acked_and_keeps_the_hint() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        with pytest.raises(QuorumNotReached) as lost:
            await put(world, "n1", b"v", level="3")
        assert lost.value.need == 3
        assert sorted(lost.value.acked) == ["n1", "n2"]
        assert list(lost.value.failed) == ["n3"]
        assert lost.value.outcome == "unknown"
        assert world.nodes["n1"].hints.counts() == {"n3": 1}
        assert values(await get(world, "n2", "one")) == [b"v"]

    world.run(story())


def test_an_owner_seen_down_is_not_asked_while_the_others_suffice() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        receipt = await put(world, "n1", b"v")
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n2"}
        assert world.nodes["n3"].objects.keys == 0

    world.run(story())


def test_an_owner_wrongly_seen_down_is_asked_when_the_level_needs_it() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        receipt = await put(world, "n1", b"v", level="all")
        assert [ack.role for ack in receipt.replicas] == [Role.OWNER] * 3

    world.run(story())


def test_a_silent_owner_gets_a_hint_when_the_request_ends_without_its_ack() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        await put(world, "n1", b"v", timeout_s=0.5)
        assert world.nodes["n1"].hints.total == 0  # answered at two acks, still listening
        await world.until(lambda: world.nodes["n1"].hints.counts() == {"n3": 1})

    world.run(story())


def cold_hint(world: World) -> bytes:
    """The hint of the key at n1, which the engine now has to fetch from the disk."""
    (key,) = world.nodes["n1"].hints.waiting_for(NodeId("n3"), 1)
    world.nodes["n1"].engine.cold.add(hint_key(key))
    return hint_key(key)


async def delivered_after_the_stop_of_n1(world: World) -> list[bytes | None]:
    """What n3 holds once n1 has come back and brought it what it kept."""
    await world.stop("n1")
    world.cut("n1", "n3", is_cut=False)
    world.nodes["n3"].engine.cold.clear()
    await world.start("n1")
    world.seen("n3", "up")
    await world.until(lambda: world.nodes["n1"].hints.total == 0)
    return values(await get(world, "n3", "one"))


def test_a_stop_keeps_the_write_a_silent_owner_has_not_acked_beside_a_hint_on_the_disk() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        await put(world, "n1", b"old", timeout_s=0.2)
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        world.seen("n3", "suspect")  # asked, and given no hints
        await put(world, "n1", b"new", timeout_s=30)
        cold_hint(world)
        assert await delivered_after_the_stop_of_n1(world) == [b"new"]

    world.run(story())


def test_a_stop_while_a_hint_is_being_kept_still_keeps_it() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        world.seen("n3", "down")
        await put(world, "n1", b"old")
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        cold_hint(world)
        engine = world.nodes["n1"].engine
        engine.can_read.clear()
        await put(world, "n1", b"new")
        asyncio.get_running_loop().call_later(3.5, engine.can_read.set)  # after the stop has given up
        assert await delivered_after_the_stop_of_n1(world) == [b"new"]

    world.run(story())


def test_a_write_no_quorum_answers_ends_at_its_deadline_with_hints_for_the_silent() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n2")
        world.cut("n1", "n3")
        began = world.loop.time()
        with pytest.raises(QuorumNotReached, match=r"no (ack|answer) within") as lost:
            await put(world, "n1", b"v", timeout_s=0.5)
        assert world.loop.time() - began < 0.6
        assert lost.value.outcome == "unknown"
        assert lost.value.acked == ["n1"]
        assert world.nodes["n1"].hints.counts() == {"n2": 1, "n3": 1}

    world.run(story())


def test_two_writers_with_the_same_old_context_leave_siblings_and_a_merged_write_one() -> None:
    world = World()

    async def story() -> None:
        old = await put(world, "n1", b"old")
        assert old.context
        await put(world, "n1", b"one", context=old.context)
        second = await put(world, "n2", b"two", context=old.context)
        assert second.context == b""  # not alone: a vector cannot say "mine, but not the other"
        both = await get(world, "n3", "all")
        assert sorted(values(both), key=str) == [b"one", b"two"]
        merged = await put(world, "n3", b"merged", context=both.context)
        assert merged.context
        for name in world.names:
            assert values(await get(world, name)) == [b"merged"]

    world.run(story())


def test_a_put_without_context_overwrites_and_a_blind_one_does_not() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"a")
        await put(world, "n1", b"b")
        assert values(await get(world, "n2")) == [b"b"]
        await put(world, "n1", b"c", is_blind=True)
        assert values(await get(world, "n2")) == [b"b", b"c"]

    world.run(story())


def test_a_context_of_another_key_is_refused() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"v")
        request = WriteRequest("", b"other", b"v", context=receipt.context)
        with pytest.raises(InvalidArgument, match="another key"):
            await world.on("n1", world.nodes["n1"].writer.write(request))

    world.run(story())


def test_a_node_that_is_no_owner_forwards_once_to_one_that_can_be_reached() -> None:
    world = World(5)

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        outsider = next(name for name in world.names if name not in owners)
        world.kill(owners[0])
        with pytest.raises(Unavailable) as lost:
            await put(world, outsider, b"v")  # into a connection that stood: it may have arrived
        assert lost.value.outcome == "unknown"
        receipt = await put(world, outsider, b"v")  # nothing can be sent there now, so another is asked
        assert receipt.dot.actor.split("#")[0] == owners[1]
        assert receipt.context
        with pytest.raises(WrongEpoch, match="forwarded"):
            await put(world, outsider, b"v", is_forwarded=True)
        for owner in owners[1:]:
            world.kill(owner)
        with pytest.raises(Unavailable):
            await put(world, outsider, b"v")

    world.run(story())


def test_a_repeated_operation_is_answered_with_the_dot_it_has() -> None:
    world = World()

    async def story() -> None:
        name = OperationId(1, 1, HybridTime(0))
        first = await put(world, "n1", b"v", operation=name)
        again = await put(world, "n1", b"v", operation=name)
        assert again.dot == first.dot
        elsewhere = await put(world, "n2", b"v", operation=name)
        assert elsewhere.dot == first.dot
        assert len((await get(world, "n3")).siblings) == 1

    world.run(story())


def test_one_operation_applied_by_two_coordinators_is_shown_once() -> None:
    world = World()

    async def story() -> None:
        for one, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
            world.cut(one, other)
        name = OperationId(1, 1, HybridTime(0))
        for at in ("n1", "n2"):
            with pytest.raises(QuorumNotReached):
                await put(world, at, b"v", operation=name, timeout_s=0.1)
        for one, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
            world.cut(one, other, is_cut=False)
        result = await get(world, "n3", "all")
        assert values(result) == [b"v"]

    world.run(story())


def test_a_later_attempt_finds_the_earlier_one_or_says_that_nobody_can_tell() -> None:
    world = World()

    async def story() -> None:
        born = world.nodes["n1"].hybrid.now()
        name = OperationId(1, 1, born)
        first = await put(world, "n1", b"v", operation=name)
        again = await put(world, "n2", b"v", operation=name, attempt=1)
        assert again.dot == first.dot
        fresh = await put(
            world, "n2", b"w", operation=OperationId(1, 2, world.nodes["n2"].hybrid.now()), attempt=1
        )
        assert fresh.dot != first.dot
        with pytest.raises(DeadlineExceeded, match="not applied again") as told:
            await put(world, "n2", b"v", operation=name, attempt=2)  # superseded by now
        assert told.value.outcome == "unknown"

    world.run(story())


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (WriteRequest("", b"", b"v"), "empty"),
        (WriteRequest("", b"k" * 1025, b"v"), "1025 bytes, the limit is 1024"),
        (WriteRequest("", b"k", b"v" * (2 << 20)), "2097152 bytes, the limit is 1048576"),
        (WriteRequest("", b"k", b"v", level="4"), "1 to 3"),
        (WriteRequest("", b"k", b"v", timeout_s=61), "at most 60"),
        (WriteRequest("", b"k", b"v", ttl_ms=2**64 - 1), "18446744073709551615 ms, the limit is 31536"),
        (WriteRequest("nope", b"k", b"v"), "no keyspace 'nope'"),
        (WriteRequest("", b"k", b"v", context=b"garbage-garbage"), "context token"),
    ],
)
def test_what_a_client_may_not_ask_is_refused_by_name_and_changes_nothing(
    request_: WriteRequest, why: str
) -> None:
    world = World()

    async def story() -> None:
        with pytest.raises(InvalidArgument, match=why):
            await world.on("n1", world.nodes["n1"].writer.write(request_))
        assert world.nodes["n1"].objects.keys == 0

    world.run(story())


def test_siblings_are_capped_for_clients_and_a_merging_write_is_always_taken() -> None:
    world = World()

    async def story() -> None:
        for number in range(100):
            await put(world, "n1", b"%d" % number, is_blind=True, level="one", durability=Durability.MEMORY)
        with pytest.raises(InvalidArgument, match="101 siblings, the limit is 100"):
            await put(world, "n1", b"more", is_blind=True)
        await put(world, "n1", b"one")
        assert values(await get(world, "n1")) == [b"one"]

    world.run(story())


def test_an_epoch_nobody_knows_is_refused_and_nothing_is_written() -> None:
    world = World()

    async def story() -> None:
        with pytest.raises(Unavailable, match="epoch 9"):
            await put(world, "n1", b"v", epoch=Epoch(9))
        assert world.nodes["n1"].objects.keys == 0

    world.run(story())


def test_a_failing_disk_is_no_ack_but_the_other_owners_are() -> None:
    world = World()

    async def story() -> None:
        world.nodes["n2"].engine.failure = StorageFailed("000007.log: I/O error")
        receipt = await put(world, "n1", b"v")
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n3"}
        with pytest.raises(StorageFailed, match="I/O error"):
            await put(world, "n2", b"v")

    world.run(story())


@pytest.mark.parametrize("kind", [StorageFailed, DiskFull])
def test_a_coordinator_whose_disk_takes_nothing_says_that_nothing_happened(kind: type[RingmillError]) -> None:
    world = World()

    async def story() -> None:
        world.nodes["n1"].engine.failure = kind("000007.log: refused", outcome="unknown")
        with pytest.raises(kind) as refused:
            await put(world, "n1", b"v")
        assert refused.value.outcome == "failed"
        assert [node.objects.keys for node in world.nodes.values()] == [0, 0, 0]

    world.run(story())


@pytest.mark.parametrize("kind", [StorageFailed, DiskFull])
def test_a_write_is_forwarded_past_an_owner_whose_disk_takes_nothing(kind: type[RingmillError]) -> None:
    world = World(5)

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        outsider = next(name for name in world.names if name not in owners)
        world.nodes[owners[0]].engine.failure = kind("000007.log: refused", outcome="unknown")
        receipt = await put(world, outsider, b"v")
        assert receipt.dot.actor.split("#")[0] == owners[1]

    world.run(story())


def test_a_later_attempt_that_cannot_ask_leaves_it_open_whether_an_earlier_one_happened() -> None:
    world = World()

    async def story() -> None:
        name = OperationId(1, 1, world.nodes["n1"].hybrid.now())
        for other in ("n2", "n3"):
            world.cut("n1", other)
        with pytest.raises(QuorumNotReached) as lost:
            await put(world, "n1", b"v", operation=name, attempt=1, timeout_s=0.5)
        assert lost.value.outcome == "unknown"
        assert world.nodes["n1"].objects.keys == 0

    world.run(story())


def test_a_receipt_that_cannot_be_read_leaves_the_outcome_open() -> None:
    world = World(5)

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        outsider = next(name for name in world.names if name not in owners)
        world.nodes[owners[0]].transport.serve(FORWARD, lambda _: b"another release's receipt")
        with pytest.raises(ProtocolMismatch) as garbled:
            await put(world, outsider, b"v")
        assert garbled.value.outcome == "unknown"

    world.run(story())


def test_after_a_clock_jump_a_node_coordinates_no_write_but_still_takes_others() -> None:
    world = World()

    async def story() -> None:
        world.nodes["n1"].clock.jump(3600)
        with pytest.raises(Unavailable, match="jumped") as refused:
            await put(world, "n1", b"v")
        assert refused.value.outcome == "failed"
        receipt = await put(world, "n2", b"v", level="all")
        assert "n1" in [ack.node for ack in receipt.replicas]

    world.run(story())


def test_a_ttl_ends_by_the_reader_s_clock_and_a_new_put_revives_the_key() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"v", ttl_ms=1000)
        assert values(await get(world, "n2")) == [b"v"]
        await asyncio.sleep(1.1)
        assert values(await get(world, "n2")) == []
        await put(world, "n1", b"w")
        assert values(await get(world, "n2")) == [b"w"]

    world.run(story())


def test_locate_shows_equal_copies_and_the_one_that_lacks_a_write() -> None:
    world = World(5)

    async def story() -> None:
        receipt = await put(world, "n1", b"v", level="all")
        located = await world.on("n2", world.nodes["n2"].locator.locate(LocateRequest("", b"key")))
        assert [copy.dots for copy in located.owners] == [(str(receipt.dot),)] * 3
        assert all(copy.is_same for copy in located.owners)
        assert len(located.fallbacks) == 2
        lacking = located.owners[-1].node
        world.seen(lacking, "down")
        await put(world, located.owners[0].node, b"w")
        located = await world.on("n2", world.nodes["n2"].locator.locate(LocateRequest("", b"key")))
        assert [copy.is_same for copy in located.owners] == [True, True, False]
        world.kill(lacking)
        located = await world.on("n2", world.nodes["n2"].locator.locate(LocateRequest("", b"key")))
        assert located.owners[-1].error
        assert located.owners[-1].state == "down"

    world.run(story())
