"""A client that puts a key again and again beside hostile work, and keeps how long each put took."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.cluster.errors import RingmillError

__all__ = ["Prober"]

_PUT_EVERY_S: Final = 0.03


class Prober:
    """Tells the latencies since it was asked last, in milliseconds.  `failures` counts puts that failed."""

    def __init__(self, db: AsyncClient, every_s: float = _PUT_EVERY_S) -> None:
        self._db = db
        self._every_s = every_s
        self._taken: list[float] = []
        self.failures = 0

    async def run(self) -> None:
        """Put until it is cancelled."""
        number = 0
        while True:
            began, number = time.perf_counter(), number + 1
            try:
                await self._db.put(f"probe-{number % 100}", b"x" * 100)
            except RingmillError:
                self.failures += 1
            self._taken.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(self._every_s)

    def p99_ms(self) -> float:
        taken, self._taken = sorted(self._taken), []
        return taken[int(len(taken) * 0.99)] if taken else 0.0
