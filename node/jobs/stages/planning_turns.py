"""Whose turn it is to be planned: never two submissions of one job at once, and few processes together.

A job whose files are on a disk that hangs is planned for a minute, one of very many files for ten, and
others are planned beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.errors import Overloaded
from ringmill.cluster.mapreduce.api.spec import JobSpec

__all__ = ["PlanningTurns"]

_AT_ONCE: Final = 4
_MOST_WAITING: Final = 200
_LONGEST_WAIT_S: Final = 2.5  # a client waits for 5 s, and the job has to be kept then
_AGAIN_S: Final = 5.0


class PlanningTurns:
    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._planned: dict[str, JobSpec] = {}

    @property
    def planned(self) -> list[JobSpec]:
        """The jobs that have a place, or wait for one: the list of jobs needs room for them."""
        return list(self._planned.values())

    @asynccontextmanager
    async def of(self, job: str) -> AsyncIterator[None]:
        """While no other submission of this job has its turn."""
        turn = self._turns.setdefault(job, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[job]

    @asynccontextmanager
    async def place(self, spec: JobSpec) -> AsyncIterator[None]:
        """In the turn of the job: one of the few places.  Raises Overloaded when none becomes free soon."""
        if len(self._planned) >= _AT_ONCE + _MOST_WAITING:
            raise self._refusal()
        self._planned[spec.job] = spec
        try:
            try:
                async with asyncio.timeout(_LONGEST_WAIT_S):
                    await self._places.acquire()
            except TimeoutError as error:
                raise self._refusal() from error
            try:
                yield
            finally:
                self._places.release()
        finally:
            del self._planned[spec.job]

    def _refusal(self) -> Overloaded:
        return Overloaded(
            f"{_AT_ONCE} jobs are being planned, and {len(self._planned)} wait for that or are at it",
            detail={"retry_after": _AGAIN_S},
            hint="submit it again; planning waits for the file systems of inputs and outputs",
            outcome="failed",
        )


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
