"""Batches of a benchmark: what each way calls, and what is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ringmill.client.bench.load import Load, Measured
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import Values
from stores.batches import run_batches

LEVELS = {"w": 2, "r": None, "durability": "synced"}


class Keys:
    """A client that answers at once, one time in ten with an error."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.told: list[dict[str, Any]] = []

    async def mput(self, pairs: list[Any], **levels: Any) -> list[Any]:
        self.calls["mput"] += 1
        self.told.append(levels)
        await asyncio.sleep(0)
        return [ValueError() if number % 10 == 0 else object() for number in range(len(pairs))]

    async def mget(self, keys: list[bytes], **levels: Any) -> list[Any]:
        self.calls["mget"] += 1
        await asyncio.sleep(0)
        return [None if number % 10 == 0 else object() for number in range(len(keys))]

    async def put(self, key: bytes, value: bytes, **levels: Any) -> object:
        self.calls["put"] += 1
        self.told.append(levels)
        return object()

    @asynccontextmanager
    async def pipeline(self) -> Any:
        self.calls["pipeline"] += 1
        yield _Queue(self)


class _Queue:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def put(self, key: bytes, value: bytes, **levels: Any) -> asyncio.Task[object]:
        return asyncio.ensure_future(self._keys.put(key, value, **levels))


def drawn(verb: str) -> Iterator[tuple[str, bytes]]:
    while True:
        yield verb, b"key"


async def measured(keys: Keys, way: str, verb: str) -> Measured:
    load = Load(in_flight=20, seconds=0.02, warm_up_s=0.005)
    return await run_batches(
        keys, drawn(verb), Values(16), load, way=way, levels=LEVELS, processor_time=ProcessorTime()
    )


async def test_operations_errors_and_absent_keys_are_counted_and_latencies_are_of_batches() -> None:
    keys = Keys()
    puts = await measured(keys, "mput", "put")
    batches = puts.all_latencies.count
    assert puts.operations == 18 * batches and puts.errors == {"ValueError": 2 * batches}
    assert keys.calls["mput"] > batches, "the warm-up is not counted"
    assert keys.told[0] == {"w": 2, "durability": "synced"}
    gets = await measured(keys, "mget", "get")
    assert gets.operations == 20 * gets.all_latencies.count and gets.missing == 2 * gets.all_latencies.count


@pytest.mark.parametrize("way", ["pipeline", "gather"])
async def test_the_other_ways_make_a_call_an_operation(way: str) -> None:
    keys = Keys()
    puts = await measured(keys, way, "put")
    assert puts.operations == 20 * puts.all_latencies.count
    assert keys.calls["put"] % 20 == 0 and keys.calls["put"] > puts.operations
    assert bool(keys.calls["pipeline"]) is (way == "pipeline")
