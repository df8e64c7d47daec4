"""One node's objects: no update is lost between a read and its write, and its counts stay true."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from ringmill.cluster.errors import CorruptData, InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId, PartitionId, Start
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.context_token import BLIND, ContextToken
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import ZERO, HybridClock, HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.object_batch import Growth, wait_durable
from ringmill.node.replica.object_store import Intent, ObjectStore
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.storage.engine import Batch
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.forgetful_engine import ForgetfulEngine

COPY = Copy(PartitionId(3), Epoch(1))
SLICE = 128
PLACE = Place(COPY, KeyspaceId(1, 0), b"key")


class StillClock:
    """Time stands still: nothing here is decided by it."""

    def wall(self) -> float:
        return 1_000_000.0

    def monotonic(self) -> float:
        return 0.0

    def boottime(self) -> float:
        return 0.0


def store_on(engine: ForgetfulEngine, *, actor: int = 1) -> ObjectStore:
    actors = CopyActors(NodeId("n1"), Start(actor, "0" * 16))
    clock, options = HybridClock(StillClock()), ReplicaOptions(count_pause_s=0, count_slice=SLICE)
    feed = ChangeFeed("0" * 10, StillClock(), most_keys=100)
    return ObjectStore(engine.as_engine(), actors=actors, clock=clock, options=options, feed=feed)


def intent(number: int, value: bytes | None = b"v", context: ContextToken | None = None) -> Intent:
    return Intent(value, OperationId(1, number, HybridTime(0)), context)


def admit_all(growth: Growth) -> None:
    """No cap."""


async def test_writers_of_a_cold_key_lose_nothing_to_each_other() -> None:
    engine = ForgetfulEngine()
    store = store_on(engine)
    await store.write(PLACE, intent(0, b"first"), admit_all)
    engine.cold.add(PLACE.stored_key)
    await asyncio.gather(
        *(store.write(PLACE, intent(number, b"%d" % number, BLIND), admit_all) for number in range(1, 20))
    )
    held = await store.read(PLACE)
    assert {sibling.value for sibling in held.siblings} == {b"first", *(b"%d" % n for n in range(1, 20))}


async def test_an_object_that_comes_again_changes_nothing_and_is_still_made_durable() -> None:
    ours, engine = store_on(ForgetfulEngine()), ForgetfulEngine()
    written = await ours.write(PLACE, intent(1), admit_all)
    theirs = store_on(engine, actor=2)
    first = await theirs.apply(PLACE, written.applied.stored)
    again = await theirs.apply(PLACE, written.applied.stored)
    assert again.stored == first.stored
    assert again.commit is first.commit
    await wait_durable(again.commit, Durability.SYNCED)
    assert engine.after_crash().get_nowait(PLACE.stored_key) == first.encoded


async def test_a_synced_read_is_on_the_disk_before_it_is_reported() -> None:
    engine = ForgetfulEngine()
    store = store_on(engine)
    await store.write(PLACE, intent(1), admit_all)
    assert engine.after_crash().get_nowait(PLACE.stored_key) is None
    encoded = await store.read_synced(PLACE)
    assert engine.after_crash().get_nowait(PLACE.stored_key) == encoded


async def test_keys_and_bytes_are_counted_while_they_change() -> None:
    engine = ForgetfulEngine()
    before = store_on(engine)
    places = [Place(COPY, KeyspaceId(1, 0), b"k%d" % number) for number in range(10)]
    for number, place in enumerate(places):
        await before.write(place, intent(number), admit_all)
    store = store_on(engine, actor=2)
    counting = asyncio.create_task(store.count_stored())
    await asyncio.sleep(0)
    await store.write(places[0], intent(100, None), admit_all)
    await store.write(Place(COPY, KeyspaceId(1, 0), b"another"), intent(101), admit_all)
    await counting
    assert store.keys == 10  # one deleted, one new
    recount = store_on(engine)
    await recount.count_stored()
    assert (recount.keys, recount.size_bytes) == (store.keys, store.size_bytes)


async def test_a_copy_that_is_dropped_is_taken_off_the_figures() -> None:
    engine, other = ForgetfulEngine(), Copy(COPY.partition, Epoch(COPY.copy_epoch + 1))
    store = store_on(engine)
    await store.count_stored()
    for number in range(5):
        await store.write(Place(COPY, KeyspaceId(1, 0), b"k%d" % number), intent(number), admit_all)
    own = (store.keys, store.size_bytes, store.dead.total)
    for number in range(5, 9):
        await store.write(Place(other, KeyspaceId(1, 0), b"k%d" % number), intent(number), admit_all)
    await store.write(Place(other, KeyspaceId(1, 0), b"k5"), intent(9, None), admit_all)
    assert sorted(store.copies()) == [COPY, other] and store.dead.total == own[2] + 1
    store.drop_copy(other)
    assert (store.keys, store.size_bytes, store.dead.total) == own
    assert store.copies() == [COPY] and store.sums.of(other).items == 0  # type: ignore[union-attr]


async def test_counting_gives_way_to_others_after_each_slice() -> None:
    engine = ForgetfulEngine()
    before = store_on(engine)
    written = await before.write(PLACE, intent(1), admit_all)
    batch = Batch()
    for number in range(10 * SLICE):
        batch.put(Place(COPY, KeyspaceId(1, 0), b"k%d" % number).stored_key, written.applied.encoded)
    engine.apply(batch)
    engine.is_cached = True  # a scan of cached blocks never waits
    store = store_on(engine, actor=2)
    counting = asyncio.create_task(store.count_stored())
    seen = [0]
    while not counting.done():
        await asyncio.sleep(0)
        seen.append(store.keys)
        assert store.is_counted == counting.done()
    assert max(later - former for former, later in pairwise(seen)) <= SLICE
    assert store.keys == 10 * SLICE + 1 and store.is_counted


async def test_a_count_that_is_wanted_meanwhile_follows_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ForgetfulEngine()
    before = store_on(engine)
    for number in range(2 * SLICE):
        await before.write(Place(COPY, KeyspaceId(1, 0), b"k%d" % number), intent(number), admit_all)
    store, counts = store_on(engine, actor=2), list[int]()
    count_once = store.count_stored

    async def count_noted() -> None:
        await count_once()
        counts.append(store.keys)

    monkeypatch.setattr(store, "count_stored", count_noted)
    counting = asyncio.create_task(store.keep_counted())
    async with asyncio.timeout(60):
        while not store.keys:  # noqa: ASYNC110
            await asyncio.sleep(0)
        store.count_again()
        while len(counts) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    counting.cancel()
    assert counts == [2 * SLICE] * 2  # nothing is counted twice


async def test_figures_are_never_below_zero() -> None:
    engine = ForgetfulEngine()
    before = store_on(engine)
    await before.write(PLACE, intent(1), admit_all)
    engine.scan_failure = OSError(5, "I/O error")
    store = store_on(engine, actor=2)
    await store.count_stored()
    await store.write(PLACE, intent(2, None), admit_all)
    assert (store.keys, store.size_bytes >= 0) == (0, True)


async def test_a_context_that_names_writes_this_copy_never_made_is_refused() -> None:
    store = store_on(ForgetfulEngine())
    invented = ContextToken(VersionVector(((Actor("n1#1.0000000000"), 9),)), ZERO)
    with pytest.raises(InvalidArgument, match="has not made"):
        await store.write(PLACE, intent(1, b"v", invented), admit_all)


async def test_damaged_bytes_are_an_error_and_never_an_absence() -> None:
    engine = ForgetfulEngine()
    batch = Batch()
    batch.put(PLACE.stored_key, b"\x01\x93\x00")
    engine.apply(batch)
    store = store_on(engine)
    with pytest.raises(CorruptData):
        await store.read(PLACE)
    with pytest.raises(CorruptData):
        await store.write(PLACE, intent(1), admit_all)


@pytest.mark.parametrize(
    "error", [OSError(5, "I/O error"), StorageFailed("the disk is gone"), ProtocolMismatch("version 9")]
)
async def test_what_cannot_be_read_ends_the_count_and_not_the_node(error: Exception) -> None:
    engine = ForgetfulEngine()
    store = store_on(engine)
    await store.write(PLACE, intent(1), admit_all)
    engine.scan_failure = error
    await store.count_stored()
    assert store.keys == 0


async def test_damage_makes_the_count_too_low_and_nothing_else() -> None:
    engine = ForgetfulEngine()
    store = store_on(engine)
    await store.write(Place(COPY, KeyspaceId(1, 0), b"before"), intent(1), admit_all)
    batch = Batch()
    batch.put(PLACE.stored_key, b"\x01\x93\x00")
    engine.apply(batch)
    await store.count_stored()
    assert store.keys == 1
