"""A client that puts keys at fixed times beside hostile work, and keeps how long each put took.

Puts are due by a clock, whatever the nodes do, and each takes its time from when it was due.  A client that
waits for its last put would send none while nothing is answered, and so leave out what is looked for.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Final, Protocol

from report import percentile
from ringmill.cluster.errors import RingmillError

__all__ = ["Prober", "Puts"]

_PUT_EVERY_S: Final = 0.03
_MOST_S: Final = 10.0  # that a put is waited for


class _Store(Protocol):
    async def put(self, key: str, value: bytes, /) -> object: ...


@dataclass(slots=True)
class Puts:
    """What became of the puts that were due in one time."""

    took_ms: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def p99_ms(self) -> float:
        """Without any put it is not known how long one would have taken: infinite."""
        return percentile(self.took_ms, 0.99) if self.took_ms else math.inf

    @property
    def longest_ms(self) -> float:
        return max(self.took_ms, default=math.inf)


class Prober:
    """Puts a key each `every_s`."""

    def __init__(self, db: _Store, every_s: float = _PUT_EVERY_S) -> None:
        self._db = db
        self._every_s = every_s
        self._puts = Puts()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Put until it is cancelled."""
        clock = asyncio.get_running_loop().time
        number, due = 0, clock()
        async with asyncio.TaskGroup() as group:
            while True:
                put = group.create_task(self._put(self._puts, number, due))
                self._under_way.add(put)
                put.add_done_callback(self._under_way.discard)
                number, due = number + 1, due + self._every_s
                await asyncio.sleep(max(0.0, due - clock()))

    async def since_last(self) -> Puts:
        """The puts that were due since it was asked last.  Those under way are waited for: one that does not
        end in time has failed, and has taken as long as it was waited for."""
        puts, self._puts = self._puts, Puts()
        if waited_for := set(self._under_way):
            await asyncio.wait(waited_for, timeout=_MOST_S)
            for late in waited_for:
                late.cancel()
            await asyncio.wait(waited_for)
        return puts

    async def _put(self, puts: Puts, number: int, due: float) -> None:
        try:
            await self._db.put(f"probe-{number % 100}", b"x" * 100)
        except RingmillError:
            puts.failed += 1
        except asyncio.CancelledError:
            puts.failed += 1
            raise
        finally:
            puts.took_ms.append((asyncio.get_running_loop().time() - due) * 1000)
