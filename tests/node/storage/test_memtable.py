"""A memtable is sorted while others scan it, or give up in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.node.storage.memtable import Memtable

OpenEngine = Callable[..., Awaitable[Engine]]
KEYS = [b"%05d" % (number * 7919 % 10_000) for number in range(10_000)]
SLOWLY_SORTED = EngineOptions(memtable_bytes=1 << 20, sorted_at_once=2)


def filled() -> Memtable:
    memtable = Memtable(1)
    for sequence, key in enumerate(KEYS, start=1):
        memtable.put(sequence, key, b"v", 0)
    return memtable


def covered(memtable: Memtable) -> list[bytes]:
    return sorted(key for run in memtable.slices(b"", None) for key in run)


async def test_whoever_sorts_beside_another_has_all_keys_in_the_end() -> None:
    memtable = filled()
    first = asyncio.create_task(memtable.sort(4096))
    await asyncio.sleep(0)
    await memtable.sort(4096)
    assert covered(memtable) == sorted(KEYS)
    await first
    assert covered(memtable) == sorted(KEYS)


async def test_a_sort_that_is_cancelled_is_gone_on_with() -> None:
    memtable = filled()
    first = asyncio.create_task(memtable.sort(4096))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await memtable.sort(4096)
    assert covered(memtable) == sorted(KEYS)


async def test_keys_that_are_put_during_a_pause_are_sorted_later() -> None:
    memtable = filled()
    first = asyncio.create_task(memtable.sort(4096))
    await asyncio.sleep(0)
    memtable.put(len(KEYS) + 1, b"later", b"v", 0)
    memtable.put(len(KEYS) + 2, KEYS[0], b"again", 0)
    await first
    await memtable.sort(4096)
    assert covered(memtable) == sorted([*KEYS, b"later"])


async def test_scans_at_the_same_time_return_every_key(open_engine: OpenEngine) -> None:
    engine = await open_engine(SLOWLY_SORTED)
    batch = Batch()
    for key in KEYS[:100]:
        batch.put(key, b"v")
    engine.apply(batch)

    async def scanned() -> list[bytes]:
        return [key async for key, _ in engine.scan()]

    found = await asyncio.gather(scanned(), scanned(), scanned())
    assert list(found) == [sorted(KEYS[:100])] * 3
