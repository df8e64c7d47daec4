"""Hints of one node: merged by key, struck off owner by owner, found again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, Overloaded, RingmillError
from ringmill.cluster.ids import Actor, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, StoredObject, merge, supersede
from ringmill.node.node_options import HintOptions
from ringmill.node.replica.hinted.hint_codec import Hint, decode_hint, encode_hint
from ringmill.node.replica.hinted.hint_index import HintIndex
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.stored_key import HintKey
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.engine_trace import TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from tests.node.forgetful_engine import ForgetfulEngine

KEY = HintKey(PartitionId(1), KeyspaceId(1, 0), b"key")
N2, N3, N4 = NodeId("n2"), NodeId("n3"), NodeId("n4")


def an_object(counter: int) -> StoredObject:
    dot = Dot(Actor("n1#1"), counter)
    name = OperationId(1, counter, HybridTime(0))
    return supersede(ABSENT, EMPTY_VECTOR, Sibling(dot, b"%d" % counter, HybridTime(counter), name))


async def test_a_newer_write_of_a_key_is_merged_into_its_hint() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    await hints.keep(KEY, [N3], an_object(1))
    await hints.keep(KEY, [N2], an_object(2))
    held = await hints.get(KEY)
    assert held is not None
    assert held.targets == (N2, N3)
    assert len(decode_object(held.encoded).siblings) == 1  # the later write had seen the first's actor
    assert hints.counts() == {N2: 1, N3: 1}


async def test_an_owner_is_struck_off_only_for_what_the_hint_still_holds() -> None:
    hints = await HintStore.open(ForgetfulEngine().as_engine())
    await hints.keep(KEY, [N2, N3], an_object(1))
    delivered = encode_object(an_object(1))
    await hints.keep(KEY, [N3], an_object(2))
    assert not await hints.strike_off(KEY, N2, delivered)
    assert hints.counts() == {N2: 1, N3: 1}
    held = await hints.get(KEY)
    assert held is not None
    assert await hints.strike_off(KEY, N2, held.encoded)
    assert hints.counts() == {N3: 1}
    assert await hints.strike_off(KEY, N3, held.encoded)
    assert await hints.get(KEY) is None
    assert hints.total == 0


async def test_a_hint_for_a_former_owner_goes_to_the_present_ones() -> None:
    hints = await HintStore.open(ForgetfulEngine().as_engine())
    await hints.keep(KEY, [N2], an_object(1))
    await hints.readdress(KEY, N2, [N3, N4])
    assert hints.counts() == {N3: 1, N4: 1}
    held = await hints.get(KEY)
    assert held is not None
    assert held.targets == (N3, N4)


async def test_hints_are_found_again_when_the_node_starts() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    commit = await hints.keep(KEY, [N2, N3], an_object(1))
    assert commit is not None
    await commit.synced()
    again = await HintStore.open(engine.after_crash().as_engine())
    assert again.counts() == {N2: 1, N3: 1}
    assert again.waiting_for(N2, 10) == [KEY]
    assert await again.get(KEY) == await hints.get(KEY)


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    wall = boottime = monotonic


def noting(told: list[NodeId], *, is_owed: bool = True) -> Callable[[PartitionId, NodeId], bool]:
    def on_dropped(partition: PartitionId, node: NodeId) -> bool:
        told.append(node)
        return is_owed

    return on_dropped


async def test_hints_for_one_owner_are_bounded_and_who_misses_one_is_told_before() -> None:
    size = len(KEY.key) + len(encode_object(an_object(1)))
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine(), HintOptions(most_bytes=2 * size))
    told: list[tuple[PartitionId, NodeId, int]] = []

    def on_dropped(partition: PartitionId, node: NodeId) -> bool:
        told.append((partition, node, hints.total))
        return True

    hints.on_dropped = on_dropped
    others = [KEY._replace(key=b"%d" % number * len(KEY.key)) for number in range(3)]
    assert await hints.keep(others[0], [N2], an_object(1)) is not None
    assert await hints.keep(others[1], [N2], an_object(1)) is not None
    assert await hints.keep(others[2], [N2], an_object(1)) is None
    assert told == [(KEY.partition, N2, 2)]
    commit = await hints.keep(others[2], [N2, N3], an_object(1))
    assert commit is not None  # others are not at their bound
    await commit.synced()
    assert hints.counts() == {N2: 2, N3: 1} and hints.dropped == 2
    again = await HintStore.open(engine.after_crash().as_engine(), HintOptions(most_bytes=2 * size))
    assert await again.keep(others[2], [N2], an_object(1)) is None
    assert await again.strike_off(others[0], N2, encode_object(an_object(1)))
    assert await again.keep(others[2], [N2], an_object(1)) is not None
    assert again.is_whole is False  # nobody listened when it was dropped


async def test_an_owner_that_is_away_for_long_gets_no_more_hints() -> None:
    watch = Watch()
    hints = await HintStore.open(ForgetfulEngine().as_engine(), HintOptions(longest_s=60), watch)
    told: list[NodeId] = []
    hints.on_dropped = noting(told)
    other = KEY._replace(key=b"other")
    assert await hints.keep(KEY, [N2], an_object(1)) is not None
    watch.now = 61
    assert await hints.keep(other, [N2], an_object(1)) is None
    assert told == [N2] and hints.counts() == {N2: 1}
    assert await hints.strike_off(KEY, N2, encode_object(an_object(1)))
    assert await hints.keep(other, [N2], an_object(1)) is not None


async def test_the_age_of_hints_is_that_of_the_oldest_that_waits_though_the_queue_is_never_empty() -> None:
    watch = Watch()
    hints = await HintStore.open(ForgetfulEngine().as_engine(), HintOptions(longest_s=60), watch)
    keys = [KEY._replace(key=b"%d" % number) for number in range(100)]
    await hints.keep(keys[0], [N2], an_object(1))
    for former, key in pairwise(keys):
        watch.now += 1
        assert await hints.keep(key, [N2], an_object(1)) is not None
        assert await hints.strike_off(former, N2, encode_object(an_object(1)))
        assert hints.waited_s() == {N2: 0}
    watch.now += 2
    hints.stand_behind(N2, keys)
    await hints.keep(keys[0], [N2], an_object(1))
    assert hints.waited_s() == {N2: 2} and hints.dropped == 0


async def test_a_key_that_is_written_while_its_hint_is_delivered_waits_since_then() -> None:
    watch = Watch()
    hints = await HintStore.open(ForgetfulEngine().as_engine(), HintOptions(longest_s=60), watch)
    await hints.keep(KEY, [N2], an_object(1))
    for counter in range(1, 100):
        watch.now += 1
        held = await hints.get(KEY)
        assert held is not None
        assert await hints.keep(KEY, [N2], an_object(counter + 1)) is not None
        assert not await hints.strike_off(KEY, N2, held.encoded)
    assert hints.waited_s() == {N2: 0} and hints.dropped == 0


async def test_a_hint_that_the_disk_refused_has_an_age_and_counts_once() -> None:
    engine, watch = ForgetfulEngine(), Watch()
    hints = await HintStore.open(engine.as_engine(), clock=watch)
    engine.failure = DiskFull("no room")
    for watch.now in (10.0, 20.0):
        with pytest.raises(DiskFull):
            await hints.keep(KEY, [N2], an_object(1))
    watch.now = 30.0
    assert hints.waited_s() == {N2: 20} and hints.counts() == {N2: 1}
    engine.failure = None
    await hints.keep(KEY, [N2, N3], an_object(2))
    assert hints.counts() == {N2: 1, N3: 1}
    await hints.keep_refused()
    assert hints.counts() == {N2: 1, N3: 1} and hints.waited_s() == {N2: 0, N3: 0}


async def test_a_hint_that_nothing_else_makes_up_for_is_kept_over_the_bound() -> None:
    hints = await HintStore.open(ForgetfulEngine().as_engine(), HintOptions(most_bytes=1))
    hints.on_dropped = noting([], is_owed=False)
    assert await hints.keep(KEY, [N2], an_object(1)) is not None
    assert hints.counts() == {N2: 1} and not hints.dropped


def test_a_damaged_hint_is_an_error() -> None:
    data = encode_hint(Hint((N2,), b"object"))
    assert decode_hint(data) == Hint((N2,), b"object")
    for damaged in (data[:-1], b"", b"\x02", b"\xc1"):
        with pytest.raises(CorruptData):
            decode_hint(damaged)


@pytest.mark.parametrize("refusal", [DiskFull("no room"), Overloaded("no time")])
async def test_what_the_disk_refused_is_kept_when_it_takes_it(refusal: RingmillError) -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    engine.failure = refusal
    for counter, targets in ((1, [N3]), (2, [N2])):
        with pytest.raises(type(refusal)):
            await hints.keep(KEY, targets, an_object(counter))
    assert hints.counts() == {N2: 1, N3: 1}
    await hints.keep_refused()  # still so
    assert await hints.get(KEY) is None
    engine.failure = None
    await hints.keep_refused()
    held = await hints.get(KEY)
    assert held is not None
    assert held.targets == (N2, N3)
    assert held.encoded == encode_object(merge(an_object(1), an_object(2)))
    assert hints.counts() == {N2: 1, N3: 1}
    assert engine.synced_sequence == 1


@pytest.mark.parametrize("is_owed", [True, False])
async def test_what_the_disk_refuses_is_bounded_in_memory_and_what_is_over_is_owed(is_owed: bool) -> None:
    engine, told = ForgetfulEngine(), list[NodeId]()
    size = len(KEY.key) + len(encode_object(an_object(1)))
    hints = await HintStore.open(engine.as_engine(), HintOptions(most_refused_bytes=2 * size))
    hints.on_dropped = noting(told, is_owed=is_owed)
    engine.failure = DiskFull("no room")
    keys = [KEY._replace(key=b"ke%d" % number) for number in range(4)]
    dropped = 0
    for key in (*keys, keys[0]):
        with suppress(DiskFull):
            dropped += await hints.keep(key, [N3], an_object(1)) is None
    assert (dropped, told) == ((2, [N3, N3]) if is_owed else (0, [N3, N3, N3]))
    assert hints.counts() == {N3: 2 if is_owed else 4}
    engine.failure = None
    await hints.keep_refused()
    assert hints.is_whole and hints.counts() == {N3: 2 if is_owed else 4}
    engine.failure = DiskFull("no room")
    with pytest.raises(DiskFull):  # there is room again
        await hints.keep(keys[0], [N3], an_object(1))


async def test_refused_hints_are_stored_by_few_syncs() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    engine.failure = DiskFull("no room")
    keys = [KEY._replace(key=b"%d" % number) for number in range(400)]
    for key in keys:
        with pytest.raises(DiskFull):
            await hints.keep(key, [N3], an_object(1))
    engine.failure = None
    syncs, sync = [], engine.sync

    async def counted() -> None:
        syncs.append(engine.sequence)
        await sync()

    engine.sync = counted  # type: ignore[method-assign]
    await hints.keep_refused()
    assert len(syncs) < 8
    assert hints.is_whole and hints.counts() == {N3: 400} and engine.synced_sequence == 400


async def test_hints_are_bounded_in_number_for_the_memory_that_they_take() -> None:
    engine, told = ForgetfulEngine(), list[NodeId]()
    hints = await HintStore.open(engine.as_engine(), HintOptions(most_hints=3))
    hints.on_dropped = noting(told)
    keys = [KEY._replace(key=b"%d" % number) for number in range(5)]
    for number, key in enumerate(keys[:3]):
        assert await hints.keep(key, [(N2, N3, N2)[number]], an_object(1)) is not None
    assert await hints.keep(keys[3], [N2], an_object(1)) is None
    assert told == [N2] and hints.counts() == {N2: 2, N3: 1}
    assert await hints.keep(keys[0], [N2], an_object(2)) is not None, "in the place of the former one"
    with pytest.raises(Overloaded, match="the limit is 3"):
        await hints.keep_counted(keys[3], N4, an_object(1))
    engine.failure = DiskFull("no room")
    assert await hints.keep(keys[4], [N3], an_object(1)) is None
    engine.failure = None
    assert await hints.strike_off(keys[1], N3, encode_object(an_object(1)))
    assert await hints.keep(keys[3], [N4], an_object(1)) is not None
    again = await HintStore.open(engine.as_engine(), HintOptions(most_hints=3))
    assert await again.keep(keys[4], [N3], an_object(1)) is None


async def test_an_owner_that_stays_dead_leaves_room_for_the_hints_of_others() -> None:
    engine, told = ForgetfulEngine(), list[NodeId]()
    hints = await HintStore.open(engine.as_engine(), HintOptions(most_hints=100))
    hints.on_dropped = noting(told)
    for target in (N2, N3, N4):
        for number in range(80):
            await hints.keep(KEY._replace(key=b"%s%d" % (target.encode(), number)), [target], an_object(1))
    assert hints.counts() == {N2: 75, N3: 19, N4: 5}
    assert [told.count(each) for each in (N2, N3, N4)] == [5, 61, 75]
    with pytest.raises(Overloaded, match="three quarters of what is left"):
        await hints.keep_counted(KEY._replace(key=b"more"), N2, an_object(1))


async def test_what_a_full_disk_refused_outlives_a_crash_once_there_is_space() -> None:
    disk, options = LossyDisk(), replace(TINY, reserve_bytes=20_000)
    async with await Engine.open("data", options, files=disk, spawner=TurnSpawner()) as engine:
        hints = await HintStore.open(engine)
        disk.capacity = disk.used
        engine._upkeep.space.check()
        engine._pressure.refresh()
        with pytest.raises(DiskFull):
            await hints.keep(KEY, [N3], an_object(1))
        assert hints.counts() == {N3: 1} and not hints.is_whole
        disk.capacity = None
        async with asyncio.timeout(5):
            while not hints.is_whole:
                await hints.keep_refused()
                await asyncio.sleep(0.05)
        killed = disk.after_kill()
    async with await Engine.open("data", options, files=killed, spawner=TurnSpawner()) as engine:
        assert (await HintStore.open(engine)).counts() == {N3: 1}


async def test_a_full_disk_lets_go_of_what_is_delivered() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    await hints.keep(KEY, [N2, N3], an_object(1))
    other = KEY._replace(key=b"other")
    await hints.keep(other, [N2, N3], an_object(1))
    engine.is_full = True
    delivered = encode_object(an_object(1))
    assert await hints.strike_off(KEY, N2, delivered) and await hints.strike_off(other, N2, delivered)
    assert hints.counts() == {N3: 2}
    assert await hints.strike_off(KEY, N3, delivered)
    assert await hints.get(KEY) is None and hints.counts() == {N3: 1}
    engine.is_full = False
    await hints.keep(other, [N4], an_object(2))  # the newer object may be new to N2 as well
    assert hints.counts() == {N2: 1, N3: 1, N4: 1}


async def test_on_a_full_disk_a_hint_for_a_former_owner_waits_for_the_present_ones() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    await (await hints.keep_counted(KEY, N2, an_object(1))).synced()
    engine.is_full = True
    await hints.readdress(KEY, N2, [N3, N4])
    assert hints.counts() == {N3: 1, N4: 1}
    assert (await HintStore.open(engine.after_crash().as_engine())).counts() == {N2: 1}
    delivered = encode_object(an_object(1))
    engine.is_full = False
    assert await hints.strike_off(KEY, N3, delivered)
    assert await hints.get(KEY) == Hint((N4,), delivered, (N4,))
    assert await hints.strike_off(KEY, N4, delivered)
    assert await hints.get(KEY) is None and not hints.total


async def test_on_a_full_disk_a_hint_for_two_present_owners_goes_with_the_last() -> None:
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine())
    await hints.keep(KEY, [N2], an_object(1))
    engine.is_full = True
    await hints.readdress(KEY, N2, [N3, N4])
    delivered = encode_object(an_object(1))
    assert await hints.strike_off(KEY, N3, delivered)
    assert await hints.get(KEY) is not None and hints.counts() == {N4: 1}
    assert await hints.strike_off(KEY, N4, delivered)
    assert await hints.get(KEY) is None and not hints.total


async def test_a_hint_goes_to_those_present_owners_only_for_whom_there_is_room() -> None:
    size = len(KEY.key) + len(encode_object(an_object(1)))
    engine = ForgetfulEngine()
    hints = await HintStore.open(engine.as_engine(), HintOptions(most_bytes=size))
    told: list[NodeId] = []
    hints.on_dropped = noting(told)
    await hints.keep(KEY._replace(key=b"oth"), [N3], an_object(1))
    await hints.keep(KEY, [N2], an_object(1))
    await hints.readdress(KEY, N2, [N3, N4])
    held = await hints.get(KEY)
    assert held is not None and held.targets == (N4,) and told == [N3]
    assert await hints.strike_off(KEY, N4, held.encoded)
    assert await hints.get(KEY) is None


async def test_a_hint_for_whose_present_owners_there_is_no_room_goes() -> None:
    size = len(KEY.key) + len(encode_object(an_object(1)))
    hints = await HintStore.open(ForgetfulEngine().as_engine(), HintOptions(most_bytes=size))
    hints.on_dropped = noting([])
    await hints.keep(KEY._replace(key=b"oth"), [N3], an_object(1))
    await hints.keep(KEY, [N2], an_object(1))
    await hints.readdress(KEY, N2, [N3])
    assert await hints.get(KEY) is None
    assert hints.counts() == {N3: 1}


class Watched(dict[HintKey, int]):
    """Counts the keys that somebody looks at."""

    looks = 0

    def __iter__(self) -> Iterator[HintKey]:
        for key in super().__iter__():
            Watched.looks += 1
            yield key


def test_a_few_hints_of_former_partitions_are_found_among_many_without_a_look_at_all() -> None:
    keys = [HintKey(PartitionId(number < 2), KEY.keyspace, b"%d" % number) for number in range(12_000)]
    index = HintIndex({N3: Watched.fromkeys(reversed(keys), 10)}, lambda: 0.0)
    rows = [SimpleNamespace(nodes=["n3"]), SimpleNamespace(nodes=["n1"])]
    topology = cast("Topology", SimpleNamespace(row=rows.__getitem__))
    found = list[HintKey]()
    for _ in range(4):
        Watched.looks = 0
        found = index.at_former(N3, topology, 10)
        assert Watched.looks <= 5000
        if found:
            break
    assert found == [keys[1], keys[0]]
    assert index.count_of(N3) == 12_000
    for key in found:
        index.remove(N3, key)
    assert index.at_former(N3, topology, 10) == []
