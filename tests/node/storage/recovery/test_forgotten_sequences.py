"""A merge that forgets sequences still tells what is newer than the damage it meets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.simulator.disk.engine_trace import FOLDER
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]

KEYS = [b"key%03d" % number for number in range(30)]
CALM = EngineOptions(memtable_bytes=1 << 20, block_bytes=200, level0_tables=8, compression="none")


async def write(engine: Engine, keys: list[bytes], value: bytes) -> None:
    batch = Batch()
    for key in keys:
        batch.put(key, value)
    await engine.apply(batch).synced()
    await engine.flush()


async def test_values_newer_than_a_damaged_block_stay_readable_after_its_compaction(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    await write(engine, KEYS, b"old value " * 3)
    await engine.compact_range()
    await write(engine, KEYS[::2], b"new value " * 3)
    tables = sorted(name for name in disk.list(FOLDER) if name.endswith(".sst"))
    disk.flip(f"{FOLDER}/{tables[0]}", 20, 0x10)
    await engine.compact_range()
    for key in KEYS[::2]:
        assert await engine.get(key) == b"new value " * 3
    with pytest.raises(CorruptData):
        await engine.get(KEYS[1])
    assert await engine.get(KEYS[-1]) == b"old value " * 3
