"""Runs a workload against a store in a closed or an open loop, and measures it.

In a closed loop each of `in_flight` workers sends its next operation when its last one is answered.  A slow
store then gets fewer operations, which hides the latency that users would see.  In an open loop operations
are due at random times of a fixed rate, whatever the store does, and latency is measured from the due time,
so it includes the wait for a free worker.  Source: Schroeder et al., "Open
Versus Closed: A Cautionary Tale" (NSDI 2006); Tene, "How NOT to Measure Latency".

The warm-up is not counted.  Rate and processor time cover the measured time: an operation counts when it ends
in it, also one that was sent before.  Latencies cover the operations that were sent in it; in an open loop
those that were due in it.  The last ones are awaited.  What an open loop has not sent by then is sent, for
some seconds; what is left then counts with the time that it has waited, and as `unsent`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import GET, MODIFY, SCAN, SCAN_MOST, Operation, Values
from ringmill.cluster.meters.histogram import Histogram

__all__ = ["DRAIN_S", "Load", "Measured", "Store", "is_behind", "run_load"]

KEPT_UP_SHARE: Final = 0.97
DRAIN_S: Final = 5.0
PAUSE_AFTER_FAILURE_S: Final = 0.005  # keeps a dead store from being called in a busy loop

_clock = time.perf_counter_ns


class Store(Protocol):
    """A key-value store under load."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The errors of a failed operation.  Any other error ends the run."""
        ...

    async def put(self, key: bytes, value: bytes) -> None: ...

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    async def modify(self, key: bytes, value: bytes) -> None:
        """Read the key, then overwrite what was read."""
        ...

    async def scan(self, key: bytes, most: int) -> int:
        """Read `most` keys from this one on, or those that are left with its hash tag.  Returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """The size of a load.  `rate_per_s` 0 is a closed loop; `most` limits the operations, 0 does not."""

    in_flight: int
    seconds: float
    warm_up_s: float = 0.0
    rate_per_s: float = 0.0
    most: int = 0
    seed: int = 7


@dataclass(slots=True)
class Measured:
    """The result of one run.  `lateness` is the delay between due time and sending in an open loop.

    `ended` counts the operations with those that failed.
    """

    seconds: float = 0.0
    operations: int = 0
    ended: int = 0
    unsent: int = 0
    latencies: dict[str, Histogram] = field(default_factory=dict)
    lateness: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    client_s: float = 0.0
    nodes_s: float = 0.0

    @property
    def per_s(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0

    @property
    def client_us(self) -> float:
        """Processor time of the client per operation, in microseconds."""
        return self.client_s / self.operations * 1e6 if self.operations else 0.0

    @property
    def nodes_us(self) -> float:
        """Processor time of all nodes per operation, in microseconds."""
        return self.nodes_s / self.operations * 1e6 if self.operations else 0.0

    @property
    def all_latencies(self) -> Histogram:
        """The latencies of all verbs."""
        together = Histogram()
        for one in self.latencies.values():
            together.add(one)
        return together


def is_behind(ended: float, rate_per_s: float, seconds: float) -> bool:
    """Whether in an open loop significantly fewer operations ended than were due (3 standard deviations)."""
    due = rate_per_s * seconds
    return ended < KEPT_UP_SHARE * due - 3 * math.sqrt(due)


async def run_load(
    store: Store,
    operations: Iterator[Operation],
    values: Values,
    load: Load,
    *,
    processor_time: ProcessorTime | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Measured:
    """Run the load to its end, or to that of `operations`.

    `progress` is called from time to time with the seconds and operations so far.
    """
    run = _Run(store, operations, values, load, processor_time or ProcessorTime())
    if not load.warm_up_s:
        run.begin()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(run.watch(progress))
        await asyncio.wait([group.create_task(run.work()) for _ in range(load.in_flight)])
        watching.cancel()
    run.finish()
    return run.measured


class _Run:
    """One run: workers that share one series of operations."""

    def __init__(
        self,
        store: Store,
        operations: Iterator[Operation],
        values: Values,
        load: Load,
        processor_time: ProcessorTime,
    ) -> None:
        self.measured = Measured()
        self._store = store
        self._operations = operations
        self._values = values
        self._load = load
        self._processor_time = processor_time
        self._due = _due_times(load) if load.rate_per_s else None
        self._is_measuring = False
        self._is_over = False
        self._begun_ns = 0
        self._until_ns = math.inf
        self._used = (0.0, 0.0)
        self._left = load.most
        self._lengths = random.Random(load.seed + 3)  # of scans

    def begin(self) -> None:
        """Start measuring."""
        self._used = self._processor_time.read()
        self._begun_ns = _clock()
        self._until_ns = self._begun_ns + int(self._load.seconds * 1e9)
        self._is_measuring = True

    async def watch(self, progress: Callable[[float, int], None] | None) -> None:
        """End the warm-up and the run on time."""
        if self._load.warm_up_s:
            await asyncio.sleep(self._load.warm_up_s)
            self.begin()
        while (left_s := (self._until_ns - _clock()) / 1e9) > 0:
            await asyncio.sleep(min(left_s, 0.2) if progress else left_s)
            if progress:
                progress((_clock() - self._begun_ns) / 1e9, self.measured.operations)
        self.finish()

    def finish(self) -> None:
        """Stop measuring.  Operations still under way, or due and not sent, only add their latency."""
        if not self._is_measuring:
            return
        self._is_measuring, self._is_over = False, True
        measured, (client_s, nodes_s) = self.measured, self._processor_time.read()
        measured.seconds = (_clock() - self._begun_ns) / 1e9
        measured.client_s, measured.nodes_s = client_s - self._used[0], nodes_s - self._used[1]

    async def work(self) -> None:
        """Run one worker."""
        due = self._due
        while self._take():
            if due is None:
                if self._is_over:
                    return
                begun = sent = _clock()
                is_counted = self._is_measuring
            else:
                begun = next(due)
                if (wait_ns := begun - _clock()) > 0:
                    await asyncio.sleep(wait_ns / 1e9)
                if begun > self._until_ns:
                    return
                sent = _clock()
                is_counted = 0 < self._begun_ns <= begun
                if is_counted:
                    self.measured.lateness.record(sent - begun)
            operation = next(self._operations, None)
            if operation is None:
                return
            if sent > self._until_ns + DRAIN_S * 1e9:
                if is_counted:
                    self.measured.unsent += 1
                    self._record(operation[0], sent - begun)
                continue
            await self._send(operation, begun, is_counted=is_counted)

    async def _send(self, operation: Operation, begun: int, *, is_counted: bool) -> None:
        verb, key = operation
        try:
            is_found = await self._perform(verb, key)
        except self._store.failures as error:
            self.measured.ended += self._is_measuring
            if is_counted:
                self.measured.errors[_kind(error)] += 1
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            return
        self.measured.ended += self._is_measuring
        self.measured.operations += self._is_measuring
        if is_counted:
            self._record(verb, _clock() - begun)
            self.measured.missing += not is_found

    def _take(self) -> bool:
        """Whether the limit allows one more operation."""
        if not self._load.most or not self._begun_ns:
            return True
        self._left -= 1
        return self._left >= 0

    async def _perform(self, verb: str, key: bytes) -> bool:
        """Do one operation.  False when a get or a scan found nothing."""
        if verb == GET:
            return await self._store.get(key) is not None
        if verb == SCAN:
            return await self._store.scan(key, self._lengths.randint(1, SCAN_MOST)) > 0
        if verb == MODIFY:
            await self._store.modify(key, self._values.next())
        else:
            await self._store.put(key, self._values.next())
        return True

    def _record(self, verb: str, latency_ns: int) -> None:
        histogram = self.measured.latencies.get(verb)
        if histogram is None:
            histogram = self.measured.latencies[verb] = Histogram()
        histogram.record(latency_ns)


def _due_times(load: Load) -> Iterator[int]:
    """The due times of an open loop in nanoseconds of `_clock`: a Poisson process."""
    drawn = random.Random(load.seed + 2)
    at = float(_clock())
    while True:
        at += drawn.expovariate(load.rate_per_s) * 1e9
        yield int(at)


def _kind(error: Exception) -> str:
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else type(error).__name__
