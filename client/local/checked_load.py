"""A load that checks every read against what was acknowledged.

Each worker owns its keys, so that it knows what they must hold: the last acknowledged value, or a later one
whose outcome was unknown.  Anything older is a lost write.  Nothing here knows which node is killed when.
See: docs/guarantees.md, "Acknowledged writes".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ringmill.client.arguments import Level
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.values import CausalContext, Item
from ringmill.cluster.errors import RingmillError

__all__ = ["CheckedLoad", "KeyHistory"]

PADDING = b"." * 100


@dataclass(slots=True)
class KeyHistory:
    """The newest write of a key that its only writer tried, and the newest that was acknowledged."""

    key: bytes
    tried: int = 0
    acknowledged: int = 0
    context: CausalContext | None = None

    def value(self) -> bytes:
        """The value of the newest write tried."""
        return b"%s#%d#%s" % (self.key, self.tried, PADDING)

    def fault_of(self, item: Item | None) -> str:
        """Why this answer is wrong; "" when it is right."""
        if item is None:
            return (
                f"{self.key!r} is gone, write {self.acknowledged} was acknowledged"
                if self.acknowledged
                else ""
            )
        numbers = [int(value.split(b"#")[1]) for value in item.siblings]
        if max(numbers) < self.acknowledged:
            return f"{self.key!r} holds write {max(numbers)}, {self.acknowledged} was acknowledged"
        if max(numbers) > self.tried:
            return f"{self.key!r} holds write {max(numbers)}, {self.tried} is the newest ever tried"
        return ""


@dataclass(slots=True)
class CheckedLoad:
    """`workers` tasks that write and read `keys` keys until told to stop."""

    db: AsyncKeyspace
    keys: int = 256
    workers: int = 16
    prefix: str = "load"
    read_tries: int = 1  # a read that nobody answers is asked this often before it counts as failed
    acknowledged: int = 0
    reads: int = 0
    repeated_reads: int = 0
    unknown: int = 0
    refused: int = 0
    failed_reads: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    slowest_read_s: float = 0.0
    slowest_write_s: float = 0.0
    histories: list[KeyHistory] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.histories = [KeyHistory(f"{self.prefix}:{number}".encode()) for number in range(self.keys)]

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Write and read in turn until `is_over()`; every worker finishes its step."""
        async with asyncio.TaskGroup() as group:
            for worker in range(self.workers):
                group.create_task(self._work(self.histories[worker :: self.workers], is_over))

    async def read_back(self, r: Level) -> None:
        """Read and check every key once, at level `r`."""
        async with asyncio.TaskGroup() as group:
            for worker in range(self.workers):
                group.create_task(self._read_all(self.histories[worker :: self.workers], r))

    async def _work(self, mine: list[KeyHistory], is_over: Callable[[], bool]) -> None:
        while True:
            for history in mine:
                if is_over():
                    return
                await self._write(history)
                await self._read(history, None)

    async def _read_all(self, mine: list[KeyHistory], r: Level) -> None:
        for history in mine:
            await self._read(history, r)

    async def _write(self, history: KeyHistory) -> None:
        history.tried += 1
        begun = time.perf_counter()
        try:
            receipt = await self.db.put(history.key, history.value(), context=history.context)
        except RingmillError as error:
            history.context = None
            if error.outcome == "failed":
                self.refused += 1
            else:
                self.unknown += 1
        else:
            history.acknowledged, history.context = history.tried, receipt.context
            self.acknowledged += 1
        self.slowest_write_s = max(self.slowest_write_s, time.perf_counter() - begun)

    async def _read(self, history: KeyHistory, r: Level | None) -> None:
        begun = time.perf_counter()
        for tried in range(1, self.read_tries + 1):
            try:
                item = await self.db.get(history.key, r=r, default=None)
                break
            except RingmillError as error:
                if tried == self.read_tries:
                    self.failed_reads.append(f"{history.key!r}: {error}")
                    return
                self.repeated_reads += 1
        self.reads += 1
        self.slowest_read_s = max(self.slowest_read_s, time.perf_counter() - begun)
        if fault := history.fault_of(item):
            self.lost.append(fault)
        if item is not None:
            history.context = item.context
