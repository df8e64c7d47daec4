"""What cannot be read costs its own copy: all others are counted and can be compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, PartitionId
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import ABSENT, OperationId, Sibling, supersede
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.comparing import readable_objects
from ringmill.node.replica.comparing.stored_count import StoredCount
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, prefix_end
from ringmill.node.storage.engine import Batch, Engine
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk

COPIES = [Copy(PartitionId(number), Epoch(1)) for number in range(8)]
KEYS = [b"key%02d" % number for number in range(12)]
OBJECT = encode_object(
    supersede(
        ABSENT,
        EMPTY_VECTOR,
        Sibling(Dot(Actor("n1#1"), 1), b"v", HybridTime(1), OperationId(1, 1, HybridTime(0))),
    )
)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    options = replace(TINY, memtable_bytes=1 << 20)
    async with await Engine.open(FOLDER, options, files=LossyDisk(), spawner=TurnSpawner()) as engine:
        for copy in COPIES:
            batch = Batch()
            for key in KEYS:
                batch.put(Place(copy, KeyspaceId(1, 0), key).stored_key, OBJECT)
            engine.apply(batch)
        await engine.flush()
        yield engine


async def counted(engine: Engine) -> StoredCount:
    count = StoredCount(engine, ReplicaOptions(count_pause_s=0))
    await count.count_stored()
    assert count.is_counted
    return count


def unknown(count: StoredCount) -> list[Copy]:
    return [copy for copy in COPIES if count.sums.of(copy) is None]


def roots(count: StoredCount) -> set[bytes]:
    """Of the copies that are known."""
    found = map(count.sums.of, COPIES)
    return {sums.root for sums in found if sums is not None}


async def fence(engine: Engine, copy: Copy, after: bytes = b"") -> None:
    prefix = copy_prefix(copy)
    start = Place(copy, KeyspaceId(1, 0), after).stored_key if after else prefix
    await engine.fence(start, prefix_end(prefix))


async def test_copies_that_cannot_be_read_are_left_out_and_all_others_are_known(engine: Engine) -> None:
    await fence(engine, COPIES[0])
    await fence(engine, COPIES[3], after=KEYS[6])
    await fence(engine, COPIES[4])
    count = await counted(engine)
    assert unknown(count) == [COPIES[0], COPIES[3], COPIES[4]]
    assert {copy.partition for copy in count.copies()} >= {PartitionId(each) for each in (1, 2, 5, 6, 7)}
    assert count.keys >= 5 * len(KEYS)
    before = roots(count)
    assert len(before) == 1, "all hold the same"
    assert count.sums.of(Copy(PartitionId(900), Epoch(1))), "a copy without any object is known"

    for mark in list(engine.corrupt_ranges()):
        await engine.mark_healed(mark)
    await count.count_stored()
    assert not unknown(count) and count.keys == len(COPIES) * len(KEYS)
    assert roots(count) == before


async def test_an_object_that_does_not_decode_costs_its_copy_alone(engine: Engine) -> None:
    batch = Batch()
    batch.put(Place(COPIES[2], KeyspaceId(1, 0), KEYS[3]).stored_key, b"\x01\x93\x00")
    engine.apply(batch)
    count = await counted(engine)
    assert unknown(count) == [COPIES[2]] and count.keys == len(COPIES) * len(KEYS) - 1


async def test_what_was_known_before_it_could_not_be_read_stays_known(engine: Engine) -> None:
    count = await counted(engine)
    await fence(engine, COPIES[5])
    await count.count_stored()
    assert not unknown(count)


async def test_a_store_of_which_nothing_can_be_read_is_given_up_soon(engine: Engine) -> None:
    await engine.fence(b"", b"\xff")
    before = engine.stats().scans
    count = await counted(engine)
    assert unknown(count) == COPIES and count.keys == 0
    assert engine.stats().scans - before <= 2 * readable_objects.MOST_FAILURES


async def test_copies_that_go_while_a_count_goes_on_need_no_other_count(engine: Engine) -> None:
    count = StoredCount(engine, ReplicaOptions(count_slice=10, count_pause_s=0))
    counting = asyncio.create_task(count.keep_counted())
    for at in (0, 7, 4):
        while len(count.copies()) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await engine.drop_prefix(copy_prefix(COPIES[at]))
        count.drop_copy(COPIES[at])
    assert not count.is_counted
    place = Place(COPIES[7], KeyspaceId(1, 0), KEYS[0])
    count.note_changed(place.stored_key, None, OBJECT, 1)
    (batch := Batch()).put(place.stored_key, OBJECT)
    engine.apply(batch)
    async with asyncio.timeout(5):
        while not count.is_counted:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not count._count_wanted.is_set()
    counting.cancel()
    again = await counted(engine)
    assert (count.keys, count.size_bytes) == (again.keys, again.size_bytes)
    assert count.keys == 5 * len(KEYS) + 1
    assert sorted(count.copies()) == sorted(again.copies())
    assert roots(count) == roots(again) and not unknown(count)
