"""Hints that have counted: refused over the bound, and never dropped (rule H11)."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import Overloaded, Stale
from ringmill.cluster.ids import Actor, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, StoredObject, supersede
from ringmill.node.node_options import HintOptions
from ringmill.node.replica.hinted.hint_codec import Hint, decode_hint, encode_hint
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.stored_key import HintKey
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import VirtualLoop
from tests.node.forgetful_engine import ForgetfulEngine

KEY = HintKey(PartitionId(1), KeyspaceId(1, 0), b"key")
OTHER = HintKey(PartitionId(1), KeyspaceId(1, 0), b"other")
N2, N3, N4 = NodeId("n2"), NodeId("n3"), NodeId("n4")


def an_object(counter: int, actor: str = "n1#1", size: int = 100) -> StoredObject:
    name = OperationId(1, counter, HybridTime(0))
    value = b"%d" % counter + b"." * size
    return supersede(
        ABSENT, EMPTY_VECTOR, Sibling(Dot(Actor(actor), counter), value, HybridTime(counter), name)
    )


async def open_hints(engine: ForgetfulEngine, most_bytes: int = 400) -> HintStore:
    return await HintStore.open(engine.as_engine(), HintOptions(most_bytes=most_bytes))


async def test_a_counted_hint_over_the_bound_is_refused_and_changes_nothing() -> None:
    hints = await open_hints(ForgetfulEngine())
    await hints.keep_counted(KEY, N3, an_object(1))
    before = await hints.get(KEY)
    with pytest.raises(Overloaded, match="n3"):
        await hints.keep_counted(KEY, N3, an_object(2, "n9#1", 400))
    with pytest.raises(Overloaded, match="n3"):
        await hints.keep_counted(OTHER, N3, an_object(2, size=400))
    assert await hints.get(KEY) == before
    assert await hints.get(OTHER) is None
    assert hints.counts() == {N3: 1}
    assert hints.is_whole


async def test_whoever_has_vouched_counts_in_no_older_write() -> None:
    """Rule P2: a copied message that comes late brings back nothing that may have been forgotten."""
    hints = await open_hints(ForgetfulEngine())
    hints.vouch(KEY.partition, HybridTime(5))
    hints.vouch(KEY.partition, HybridTime(4))
    with pytest.raises(Stale, match="watermark"):
        await hints.keep_counted(KEY, N3, an_object(5))
    assert await hints.get(KEY) is None and not hints.total and hints.is_whole
    await hints.keep_counted(KEY, N3, an_object(6))
    await hints.keep_counted(KEY._replace(partition=PartitionId(2)), N3, an_object(1))
    assert hints.partitions() == {PartitionId(1), PartitionId(2)}


async def test_what_counted_stays_when_a_newer_write_is_over_the_bound() -> None:
    hints = await open_hints(ForgetfulEngine())
    dropped: list[NodeId] = []

    def on_dropped(partition: PartitionId, target: NodeId) -> bool:
        dropped.append(target)
        return True

    hints.on_dropped = on_dropped
    await hints.keep_counted(KEY, N3, an_object(1))
    await hints.keep(KEY, [N2, N3], an_object(1, "n9#1", 400))
    held = await hints.get(KEY)
    assert held is not None
    assert held.targets == held.counted == (N3,)
    assert len(decode_object(held.encoded).siblings) == 2
    assert dropped == [N2]


def test_a_counted_hint_is_taken_however_long_others_have_waited() -> None:
    loop = VirtualLoop(stream(1, "schedule"))

    async def story() -> None:
        engine = ForgetfulEngine().as_engine()
        hints = await HintStore.open(engine, HintOptions(longest_s=10.0), SimulatedClock(loop))
        await hints.keep(KEY, [N3], an_object(1))
        await asyncio.sleep(60.0)
        assert await hints.keep(OTHER, [N3], an_object(2)) is None
        await hints.keep_counted(OTHER, N3, an_object(2))
        assert hints.counts() == {N3: 2}

    loop.run_until_complete(story())


async def test_a_restart_knows_which_hints_have_counted() -> None:
    engine = ForgetfulEngine()
    first = await open_hints(engine)
    await (await first.keep_counted(KEY, N3, an_object(1))).synced()
    again = await open_hints(engine.after_crash(), most_bytes=10)
    assert await again.keep(KEY, [N3], an_object(2)) is not None
    held = await again.get(KEY)
    assert held is not None and held.counted == (N3,)


async def test_an_owner_is_struck_off_both_lists() -> None:
    hints = await open_hints(ForgetfulEngine())
    await hints.keep_counted(KEY, N3, an_object(1))
    await hints.keep_counted(KEY, N2, an_object(1))
    assert await hints.strike_off(KEY, N3, encode_object(an_object(1)))
    held = await hints.get(KEY)
    assert held is not None and held.targets == held.counted == (N2,)


async def test_a_counted_hint_for_a_former_owner_counts_for_the_present_ones() -> None:
    hints = await open_hints(ForgetfulEngine(), most_bytes=200)
    await hints.keep_counted(OTHER, N4, an_object(1))
    await hints.keep_counted(KEY, N2, an_object(1))
    await hints.readdress(KEY, N2, [N3, N4])  # that of n4 is over the bound, and is kept all the same
    held = await hints.get(KEY)
    assert held is not None and held.targets == held.counted == (N3, N4)
    assert hints.dropped == 0


def test_hints_that_have_not_counted_have_the_bytes_of_earlier_releases() -> None:
    plain = Hint((N2, N3), b"object")
    assert encode_hint(plain) == b"\x94\x01\x92\xa2n2\xa2n3\x00\xc4\x06object"
    assert decode_hint(encode_hint(plain)) == plain
    counted = Hint((N2, N3), b"object", (N3,))
    assert decode_hint(encode_hint(counted)) == counted


@pytest.mark.parametrize("is_synced", [True, False])
async def test_what_was_struck_off_is_not_back_after_a_power_cut_once_it_is_synced(is_synced: bool) -> None:
    """Who vouches that no hint waits, waits for that first: a hint that is back brings back what was deleted
    and forgotten, and a newer write that is merged into it is refused with it."""
    engine = ForgetfulEngine()
    hints = await open_hints(engine)
    await (await hints.keep_counted(KEY, N3, an_object(1))).synced()
    assert await hints.strike_off(KEY, N3, encode_object(an_object(1)))
    if is_synced:
        await hints.wait_synced()
    again = await open_hints(engine.after_crash())
    assert (KEY.partition in again.partitions()) is not is_synced
