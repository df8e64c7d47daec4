"""One batch after the other, in each of the ways in which a user can send many requests together.

    mput, mget   one call with all keys
    pipeline     each queued in a pipeline, their futures gathered
    gather       single calls gathered: a task for each

A batch begins when the one before has ended whole.  Rates count operations; latencies are of whole batches.
Nothing is measured during the warm-up, and what is measured begins and ends with a batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any, Final

from ringmill.client.bench.load import Load, Measured
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import GET, Operation, Values
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["run_batches"]

Batch = list[Operation]
_clock: Final = time.perf_counter_ns


class _Sender:
    """A connection, and the levels of this run."""

    def __init__(self, connection: Any, values: Values, levels: dict[str, Any]) -> None:
        self._db = connection
        self._values = values
        self._reading = {"r": levels["r"]}
        self._writing = {"w": levels["w"], "durability": levels["durability"]}

    async def whole(self, batch: Batch) -> list[Any]:
        """By `mget` or `mput`."""
        if batch[0][0] == GET:
            outcomes: list[Any] = await self._db.mget([key for _, key in batch], **self._reading)
        else:
            outcomes = await self._db.mput([(key, self._values.next()) for _, key in batch], **self._writing)
        return outcomes

    async def pipeline(self, batch: Batch) -> list[Any]:
        async with self._db.pipeline() as queue:
            futures = [self._call(queue, verb, key) for verb, key in batch]
        return await asyncio.gather(*futures, return_exceptions=True)

    async def gather(self, batch: Batch) -> list[Any]:
        return await asyncio.gather(
            *[self._call(self._db, verb, key) for verb, key in batch], return_exceptions=True
        )

    def _call(self, subject: Any, verb: str, key: bytes) -> Awaitable[Any]:
        called: Awaitable[Any] = (
            subject.get(key, None, **self._reading)
            if verb == GET
            else subject.put(key, self._values.next(), **self._writing)
        )
        return called


async def run_batches(
    connection: Any,
    operations: Iterator[Operation],
    values: Values,
    load: Load,
    *,
    way: str,
    levels: dict[str, Any],
    processor_time: ProcessorTime,
) -> Measured:
    """Batches of `load.in_flight` operations, all of one verb."""
    sender = _Sender(connection, values, levels)
    ways = {"pipeline": sender.pipeline, "gather": sender.gather}
    send = ways.get(way, sender.whole)

    def next_batch() -> Batch:
        return list(islice(operations, load.in_flight))

    warm_at = _clock() + int(load.warm_up_s * 1e9)
    while _clock() < warm_at:
        await send(next_batch())
    return await _measure(send, next_batch, load.seconds, processor_time)


async def _measure(
    send: Callable[[Batch], Awaitable[list[Any]]],
    next_batch: Callable[[], Batch],
    seconds: float,
    processor_time: ProcessorTime,
) -> Measured:
    measured, latency = Measured(), Histogram()
    used, begun = processor_time.read(), _clock()
    until = begun + int(seconds * 1e9)
    while (sent := _clock()) < until:
        for outcome in await send(next_batch()):
            if isinstance(outcome, Exception):
                measured.errors[type(outcome).__name__] += 1
            else:
                measured.operations += 1
                measured.missing += outcome is None
        latency.record(_clock() - sent)
    measured.seconds = (_clock() - begun) / 1e9
    client_s, nodes_s = processor_time.read()
    measured.client_s, measured.nodes_s = client_s - used[0], nodes_s - used[1]
    measured.latencies["batch"] = latency
    return measured
