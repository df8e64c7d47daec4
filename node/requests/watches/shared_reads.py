"""One read for all who want to read the same at the same time.

A read that has begun may lack what was changed since, so nobody joins it (rule N1: docs/protocol/watches.md):
who comes joins the next one.  That begins in the turn after it was asked for, or once the one before it is
over, but no later than after a moment.  The first who asks makes the read for all; when that one is
cancelled, the others make it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from ringmill.cluster.errors import DeadlineExceeded, RingmillError

__all__ = ["SharedReads"]

_MOMENT_S: Final = 0.05
"""For the read before; a healthy one takes less."""

ResultT = TypeVar("ResultT")


class _Again(Exception):
    """Whoever made the read has left, or had less time than others."""


class SharedReads(Generic[ResultT]):
    """Those that are to begin, and those that are under way, by what they read."""

    def __init__(self, patience_s: float) -> None:
        """Who waits for `patience_s` or longer makes the read for others, too."""
        self._patience_s = patience_s
        self._next: dict[Hashable, asyncio.Future[ResultT]] = {}
        self._under_way: dict[Hashable, asyncio.Future[ResultT]] = {}

    async def read(self, what: Hashable, make: Callable[[], Awaitable[ResultT]], left_s: float) -> ResultT:
        """What `make` returns or raises, of this call or of another one for the same.

        Raises DeadlineExceeded when the time is up before another's is over.
        """
        is_patient = left_s >= self._patience_s
        until_s = asyncio.get_running_loop().time() + left_s
        while (joined := self._next.get(what)) is not None:
            left_s = until_s - asyncio.get_running_loop().time()
            await asyncio.wait([joined], timeout=max(0.0, left_s))
            if not joined.done():
                raise DeadlineExceeded("the key was not read in time", outcome="failed")
            try:
                return joined.result()
            except _Again:
                continue
            except RingmillError as error:
                raise error.with_outcome(error.outcome) from None  # each has a traceback of its own
        return await self._make(what, make, is_patient=is_patient)

    async def _make(
        self, what: Hashable, make: Callable[[], Awaitable[ResultT]], *, is_patient: bool
    ) -> ResultT:
        told = asyncio.get_running_loop().create_future()
        told.add_done_callback(_note)
        self._next[what] = told
        try:
            await asyncio.sleep(0)
            if (before := self._under_way.get(what)) is not None:
                await asyncio.wait([before], timeout=_MOMENT_S)
            del self._next[what]
            self._under_way[what] = told
            result = await make()
        except RingmillError as error:
            told.set_exception(error.with_outcome(error.outcome) if is_patient else _Again())
            raise
        else:
            told.set_result(result)
            return result
        finally:
            if not told.done():
                told.set_exception(_Again())
            for reads in (self._next, self._under_way):
                if reads.get(what) is told:
                    del reads[what]


def _note(told: asyncio.Future[ResultT]) -> None:
    told.exception()  # there may be nobody else to hear of it
