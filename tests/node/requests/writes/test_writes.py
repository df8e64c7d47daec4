"""Writes over a few nodes: levels, contexts, forwarding, repeats, limits; trouble is in the file beside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ProtocolMismatch,
    QuorumNotReached,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import Epoch
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridTime, millis
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.versions.replaced import MOST
from ringmill.node.requests.forward import FORWARDS
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.request_values import LocateRequest, WriteRequest
from tests.node.one_key import get, put, values, write_request
from tests.node.small_world import World


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


def test_what_one_client_wrote_last_is_shown_first_whichever_clock_ran_ahead() -> None:
    world = World()

    async def story() -> None:
        world.nodes["n1"].clock.jump(0.4)
        world.cut("n1", "n2")
        first = OperationId(7, 1, HybridTime(0))
        earlier = await put(world, "n1", b"earlier", operation=first)
        later = await put(world, "n2", b"later", operation=OperationId(7, 2, earlier.time))
        assert later.time > earlier.time
        assert values(await get(world, "n3", "2")) == [b"later", b"earlier"]

    world.run(story())


@pytest.mark.parametrize("birth", [2**64 - 1, None])
def test_a_write_that_is_born_after_all_clocks_is_refused_and_leaves_nothing(birth: int | None) -> None:
    """Else its object forgets every operation that is not as new, and no later attempt on it is done."""
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        node = world.nodes["n1"]
        node.hybrid.expiry_follows(node.hybrid.offset_ms)
        now = node.hybrid.now()
        name = OperationId(7, 1, HybridTime(birth or now + (86_401_000 << 16)))
        with pytest.raises(InvalidArgument, match="more than a day ahead") as told:
            await put(world, "n1", b"forged", operation=name)
        assert told.value.outcome == "failed"
        assert abs(millis(told.value.detail["newest_birth"]) - millis(now)) < 1000
        assert values(await get(world, "n2", "all")) == [b"before"]

    world.run(story())


@pytest.mark.parametrize("behind_s", [0.0, 400 * 86_400.0])
def test_a_write_that_is_born_by_a_clock_of_another_zone_is_taken_also_where_the_own_clock_is_behind(
    behind_s: float,
) -> None:
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        shared_ms = node.hybrid.offset_ms
        name = OperationId(7, 1, HybridTime(node.hybrid.now() + (14 * 3_600_000 << 16)))
        node.clock.jump(-behind_s)
        node.hybrid.accept_jump()
        node.hybrid.expiry_follows(shared_ms)
        await put(world, "n1", b"v", operation=name)
        assert values(await get(world, "n2", "all")) == [b"v"]

    world.run(story())


def test_a_put_without_context_overwrites_and_a_blind_one_does_not() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"a")
        await put(world, "n1", b"b")
        assert values(await get(world, "n2")) == [b"b"]
        await put(world, "n1", b"c", is_blind=True)
        assert values(await get(world, "n2")) == [b"c", b"b"]

    world.run(story())


def test_a_context_of_another_key_is_refused() -> None:
    world = World()

    async def story() -> None:
        receipt = await put(world, "n1", b"v")
        request = write_request("", b"other", b"v", context=receipt.context)
        with pytest.raises(InvalidArgument, match="another key"):
            await world.on("n1", world.nodes["n1"].requests.write(request))

    world.run(story())


def test_a_node_that_is_not_an_owner_forwards_once_to_one_that_can_be_reached() -> None:
    world = World(5)

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
        outsider = next(name for name in world.names if name not in owners)
        await put(world, outsider, b"v")
        world.kill(owners[0])
        # into a connection that stood: it may have arrived, and another owner gets a further attempt
        receipt = await put(world, outsider, b"v")
        assert receipt.dot.actor.split("#")[0] == owners[1]
        receipt = await put(world, outsider, b"v")  # nothing can be sent there now
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


def test_a_value_that_was_written_twice_and_deleted_stays_gone_when_its_first_coordinator_returns() -> None:
    world = World()

    async def story() -> None:
        name = OperationId(1, 1, world.nodes["n1"].hybrid.now())
        for other in ("n2", "n3"):
            world.cut("n1", other)
        with pytest.raises(QuorumNotReached):
            await put(world, "n1", b"X", operation=name, timeout_s=0.1)
        await put(world, "n2", b"X", operation=name, attempt=1)
        seen = await get(world, "n2")
        await put(world, "n2", None, context=seen.context)
        for number in range(33):
            await put(world, "n2", b"over%d" % number)
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        assert values(await get(world, "n1", "all")) == [b"over32"]
        for name_ in world.names:
            with pytest.raises(DeadlineExceeded, match="replaced since") as told:
                await put(world, name_, b"X", operation=name)  # the first attempt, out of a socket
            assert told.value.outcome == "unknown"
            assert values(await get(world, name_, "one")) == [b"over32"]

    world.run(story())


def test_a_later_attempt_that_waits_after_it_has_asked_is_not_applied_over_what_came_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        name = OperationId(1, 1, world.nodes["n1"].hybrid.now())
        check = WriteRetries.check_retry

        async def check_and_wait(self: WriteRetries, *args: Any) -> None:
            await check(self, *args)
            monkeypatch.setattr(WriteRetries, "check_retry", check)
            await put(world, "n1", b"X", operation=name, level="all")
            for number in range(MOST + 1):
                await put(world, "n1", b"over%d" % number, level="all")

        monkeypatch.setattr(WriteRetries, "check_retry", check_and_wait)
        with pytest.raises(DeadlineExceeded, match="superseded since") as told:
            await put(world, "n2", b"X", operation=name, attempt=1)
        assert told.value.outcome == "unknown"
        assert values(await get(world, "n3", "all")) == [b"over%d" % MOST]

    world.run(story())


@pytest.mark.parametrize("others", [1, MOST, MOST + 1])
def test_a_later_attempt_beside_other_writers_is_applied_as_long_as_an_earlier_one_would_be_known(
    others: int,
) -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"before")
        name = OperationId(1, 1, world.nodes["n1"].hybrid.now())
        for number in range(others):
            await put(world, "n1", b"other%d" % number, level="all")
        if others <= MOST:
            await put(world, "n2", b"mine", operation=name, attempt=1, level="all")
            assert values(await get(world, "n3", "all")) == [b"mine"]
        else:
            with pytest.raises(DeadlineExceeded, match="not applied again") as told:
                await put(world, "n2", b"mine", operation=name, attempt=1)
            assert told.value.outcome == "unknown"
            assert values(await get(world, "n3", "all")) == [b"other%d" % (others - 1)]

    world.run(story())


def test_a_later_attempt_is_not_applied_over_what_replaced_it_where_a_clock_is_behind_its_birth() -> None:
    world = World()

    async def story() -> None:
        ahead = world.nodes["n1"]
        ahead.clock.jump(10.0)
        ahead.hybrid.accept_jump()
        name = OperationId(1, 1, ahead.hybrid.now())  # the last that the client heard was from n1
        await put(world, "n2", b"X", operation=name, level="all")
        for number in range(MOST + 1):
            await put(world, "n2", b"over%d" % number, level="all")
        with pytest.raises(DeadlineExceeded, match="not applied again") as told:
            await put(world, "n3", b"X", operation=name, attempt=1)
        assert told.value.outcome == "unknown"
        assert values(await get(world, "n3", "all")) == [b"over%d" % MOST]

    world.run(story())


def test_later_attempts_of_one_client_that_come_together_are_all_applied() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n2", b"before")
        born = world.nodes["n2"].hybrid.now()
        names = [OperationId(1, number, born) for number in range(3 * MOST)]
        puts = [put(world, "n2", b"v%d" % each.sequence, operation=each, attempt=1) for each in names]
        assert len({receipt.dot for receipt in await asyncio.gather(*puts)}) == len(names)

    world.run(story())


def test_a_client_that_has_learned_no_time_may_try_again_where_nothing_was_ever_written() -> None:
    world = World()

    async def story() -> None:
        name = OperationId(1, 1, HybridTime(0))
        assert (await put(world, "n1", b"v", operation=name, attempt=1)).dot
        other = OperationId(1, 2, HybridTime(0))
        with pytest.raises(DeadlineExceeded, match="not applied again"):
            await put(world, "n1", b"v", operation=other, attempt=1)  # of this key nobody can tell

    world.run(story())


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (write_request("", b"", b"v"), "empty"),
        (write_request("", b"k" * 1025, b"v"), "1025 bytes, the limit is 1024"),
        (write_request("", b"k", b"v" * (2 << 20)), "2097152 bytes, the limit is 1048576"),
        (write_request("", b"k", b"v", level="4"), "1 to 3"),
        (write_request("", b"k", b"v", timeout_s=61), "at most 60"),
        (write_request("", b"k", b"v", ttl_ms=2**64 - 1), "18446744073709551615 ms, the limit is 31536"),
        (write_request("nope", b"k", b"v"), "no keyspace 'nope'"),
        (write_request("", b"k", b"v", context=b"garbage-garbage"), "context token"),
    ],
)
def test_what_a_client_may_not_ask_is_refused_by_name_and_changes_nothing(
    request_: WriteRequest, why: str
) -> None:
    world = World()

    async def story() -> None:
        with pytest.raises(InvalidArgument, match=why):
            await world.on("n1", world.nodes["n1"].requests.write(request_))
        assert world.nodes["n1"].objects.keys == 0

    world.run(story())


def test_siblings_are_capped_for_clients_and_a_merging_write_is_always_taken() -> None:
    world = World()

    async def story() -> None:
        for number in range(100):
            await put(world, "n1", b"%d" % number, is_blind=True, level="one", durability="memory")
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
        world.nodes[owners[0]].transport.serve(FORWARDS["put"], lambda _: b"another release's receipt")
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
        located = await world.on("n2", world.nodes["n2"].requests.locate(LocateRequest("", b"key")))
        assert [copy.dots for copy in located.owners] == [(str(receipt.dot),)] * 3
        assert all(copy.is_same for copy in located.owners)
        assert len(located.fallbacks) == 2
        lacking = located.owners[-1].node
        world.seen(lacking, "down")
        await put(world, located.owners[0].node, b"w")
        located = await world.on("n2", world.nodes["n2"].requests.locate(LocateRequest("", b"key")))
        assert [copy.is_same for copy in located.owners] == [True, True, False]
        world.kill(lacking)
        located = await world.on("n2", world.nodes["n2"].requests.locate(LocateRequest("", b"key")))
        assert located.owners[-1].error
        assert located.owners[-1].state == "down"

    world.run(story())
