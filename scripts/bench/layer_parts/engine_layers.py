"""Layers of the storage engine, on a real folder: a get from each place, a batch, a group commit."""

from __future__ import annotations

from layer_parts.layer import KEY, Layer
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine

__all__ = ["engine_layers", "fill_engine"]

CACHED = b"cached:000000042"
GROUP = 64


async def fill_engine(engine: Engine, encoded: bytes) -> None:
    """Some keys in a table with a warm cache, one in the memtable."""
    for first in range(0, 10_000, 100):
        batch = Batch()
        for number in range(first, first + 100):
            batch.put(b"cached:%09d" % number, encoded)
        engine.apply(batch)
    await engine.flush()
    await engine.get(CACHED)
    batch = Batch()
    batch.put(KEY, encoded)
    await engine.apply(batch).synced()


def engine_layers(engine: Engine, encoded: bytes) -> list[Layer]:
    def batch_of_one() -> Batch:
        batch = Batch()
        batch.put(KEY, encoded)
        return batch

    async def commit_one() -> None:
        await engine.apply(batch_of_one()).synced()

    async def commit_group() -> None:
        for _ in range(GROUP - 1):
            engine.apply(batch_of_one())
        await engine.apply(batch_of_one()).synced()

    return [
        Layer("engine: get from the memtable", 3, 2, lambda: engine.get_nowait(KEY)),
        Layer("engine: get from a cached block", 0, 0, lambda: engine.get_nowait(CACHED)),
        Layer("engine: get of a missing key", 0, 0, lambda: engine.get_nowait(b"cached:missing")),
        Layer("engine: batch of one", 3, 0, batch_of_one),
        Layer("engine: apply, log and sync, 1 alone", 0, 0, async_work=commit_one),
        Layer(f"engine: apply, log and sync, {GROUP} together", 3, 0, async_work=commit_group, each=GROUP),
    ]
