"""A load that checks every read against what was acknowledged.

Each worker owns its keys, so that it knows what they must hold: the last acknowledged value, or a later one
whose outcome was unknown.  Anything older is a lost write.  Nothing here knows which node is killed when.
See: docs/guarantees.md, "Acknowledged writes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ringmill.client.arguments import Level
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.values import CausalContext, Item
from ringmill.cluster.errors import RingmillError

__all__ = ["CheckedLoad", "KeyHistory", "KeyStep"]

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
        numbers = [_number_of(value) for value in item.siblings]
        if max(numbers) < self.acknowledged:
            return f"{self.key!r} holds write {max(numbers)}, {self.acknowledged} was acknowledged"
        if max(numbers) > self.tried:
            return f"{self.key!r} holds write {max(numbers)}, {self.tried} is the newest ever tried"
        return ""


@dataclass(slots=True)
class KeyStep:
    """One request of the load, and what came of it.  Times are seconds of the loop's clock.

    `number` is that of the write, or of the newest write that a read showed.
    """

    kind: Literal["put", "get"]
    key: bytes
    number: int
    invoked: float
    returned: float | None = None
    outcome: Literal["ok", "failed", "unknown"] = "unknown"
    error: str = ""
    fault: str = ""  # why the answer is wrong


def _not_noted(step: KeyStep) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class CheckedLoad:
    """`workers` tasks that write and read `keys` keys until told to stop.

    Each waits `pause_s` seconds before it writes.  `noted` is told of each request when it is over.
    """

    db: AsyncKeyspace
    keys: int = 256
    workers: int = 16
    prefix: str = "load"
    read_tries: int = 1  # a read that nobody answers is asked this often before it counts as failed
    pause_s: float = 0.0
    noted: Callable[[KeyStep], None] = _not_noted
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
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                if is_over():
                    return
                await self._write(history)
                await self._read(history, None)

    async def _read_all(self, mine: list[KeyHistory], r: Level) -> None:
        for history in mine:
            await self._read(history, r)

    async def _write(self, history: KeyHistory) -> None:
        history.tried += 1
        step = KeyStep("put", history.key, history.tried, _now())
        try:
            receipt = await self.db.put(history.key, history.value(), context=history.context)
        except RingmillError as error:
            history.context = None
            if error.outcome == "failed":
                self.refused += 1
                step.outcome = "failed"
            else:
                self.unknown += 1
            step.error = f"{error.code}: {error.message}"
        else:
            history.acknowledged, history.context = history.tried, receipt.context
            self.acknowledged += 1
            step.outcome = "ok"
        step.returned = _now()
        self.slowest_write_s = max(self.slowest_write_s, step.returned - step.invoked)
        self.noted(step)

    async def _read(self, history: KeyHistory, r: Level | None) -> None:
        begun = _now()
        for tried in range(1, self.read_tries + 1):
            step = KeyStep("get", history.key, 0, _now())
            try:
                item = await self.db.get(history.key, r=r, default=None)
                break
            except RingmillError as error:
                step.returned, step.outcome = _now(), "failed"
                step.error = f"{error.code}: {error.message}"
                self.noted(step)
                if tried == self.read_tries:
                    self.failed_reads.append(f"{history.key!r}: {error}")
                    return
                self.repeated_reads += 1
        self.reads += 1
        step.returned, step.outcome = _now(), "ok"
        self.slowest_read_s = max(self.slowest_read_s, step.returned - begun)
        if fault := history.fault_of(item):
            self.lost.append(fault)
        if item is not None:
            history.context = item.context
            step.number = max(map(_number_of, item.siblings))
        step.fault = fault
        self.noted(step)


def _number_of(value: bytes) -> int:
    """The number of the write that wrote this value."""
    return int(value.split(b"#")[1])


def _now() -> float:
    return asyncio.get_running_loop().time()
