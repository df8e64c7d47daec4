"""An honest client of each door beside the attacks, and the gateway's memory meanwhile.

Requests are due by a clock, whatever the gateway does, and each takes its time from when it was due.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import psutil

__all__ = ["Beside", "Memory", "Place", "beside"]

EVERY_S: Final = 0.02
WITHIN_S: Final = 10.0
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Ports of one gateway on loopback, and its process."""

    http: int
    redis: int
    pid: int


@dataclass(slots=True)
class Beside:
    """Seconds that each request took since it was due, and the errors of those that failed."""

    took_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def ask(self, requests: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """One after the other, again and again, until it is cancelled.  What is due by then and not answered
        has taken as long as it has waited."""
        due = time.monotonic()
        try:
            for request in itertools.cycle(requests):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                try:
                    async with asyncio.timeout(WITHIN_S):
                        await request()
                except (ValueError, OSError, EOFError, aiohttp.ClientError, TimeoutError) as error:
                    self.errors.append(f"{type(error).__name__}: {error}"[:200])
                self.took_s.append(time.monotonic() - due)
                due += EVERY_S
        finally:
            ended = time.monotonic()
            while due < ended:
                self.took_s.append(ended - due)
                due += EVERY_S


class Memory:
    """Resident bytes of a process: what they were at the beginning, and at most, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.began = self.now()
        self.peak = self.began

    def now(self) -> float:
        return float(self._process.memory_info().rss) / MIB

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            self.peak = max(self.peak, self.now())
            await asyncio.sleep(0.02)


async def beside(place: Place) -> Beside:
    """Put and get a key over HTTP, set and get one as a client of Redis, until it is cancelled."""
    seen = Beside()
    reader, writer = await asyncio.open_connection("127.0.0.1", place.redis)
    url = f"http://127.0.0.1:{place.http}/v1/kv/default/beside"

    async def by_redis(said: bytes, expected: bytes, more: int = 0) -> None:
        writer.write(said)
        line = await reader.readline()
        if more:
            await reader.readexactly(more)
        if line != expected:
            raise ValueError(f"{said!r}: {line!r}")

    try:
        async with aiohttp.ClientSession() as session:

            async def by_http(method: str, body: bytes | None = None) -> None:
                async with session.request(method, url, data=body) as answer:
                    text = await answer.read()
                    if answer.status != 200:
                        raise ValueError(f"{method}: {answer.status} {text[:200]!r}")

            await seen.ask(
                [
                    lambda: by_http("PUT", b"v" * 100),
                    lambda: by_http("GET"),
                    lambda: by_redis(b"SET beside vvvv\r\n", b"+OK\r\n"),
                    lambda: by_redis(b"GET beside\r\n", b"$4\r\n", 6),
                ]
            )
    except asyncio.CancelledError:
        pass
    finally:
        writer.close()
    return seen
