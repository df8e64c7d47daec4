"""Reads of requests that have to wait for the disk of this node: until their deadline, and no more than are
of use.

What the disk has no time for would stand in line before what comes after it, and a read that nobody waits for
any more costs as much as one that somebody does.  So a read leaves the line with its deadline, and none is
taken into a line that takes too long.  What is in memory never comes here.  Rules D2 and O3:
docs/protocol/requests.md, docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import DeadlineExceeded, Overloaded, RingmillError
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stored_key import Place

__all__ = ["ColdReads"]

FEW: Final = 32
"""This number may wait for as long as it takes: a disk may hang for a moment."""
MOST_S: Final = 1.0
"""Beyond that none is taken that would wait for longer, as far as the last ones tell."""
_WEIGHT: Final = 1 / 8  # of the last one


class ColdReads:
    """All of a node."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._waiting = 0
        self._apart_s = 0.0  # from the end of one to that of the next, while any wait
        self._ended_at = 0.0  # when the last one was done, or the line began

    async def read(self, place: Place, left_s: float) -> bytes:
        """The bytes of an object, as of ObjectStore.read_synced, for a caller who waits for `left_s` seconds.

        Raises what that raises; DeadlineExceeded, and Overloaded when too many wait already: then nothing was
        read.
        """
        if left_s <= 0:
            raise _late()
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._ended_at = loop.time()
        self._check_room(loop.time())
        self._waiting += 1
        try:
            async with asyncio.timeout(left_s) as limit:
                encoded = await self._objects.read_synced(place)
            self._note_done(loop.time())
            return encoded
        except RingmillError:
            self._note_done(loop.time())
            raise
        except TimeoutError:
            if not limit.expired():
                raise  # of the disk
            raise _late() from None
        finally:
            self._waiting -= 1

    def _note_done(self, now: float) -> None:
        self._apart_s += (now - self._ended_at - self._apart_s) * _WEIGHT
        self._ended_at = now

    def _check_room(self, now: float) -> None:
        if self._waiting < FEW:
            return
        takes_s = now - self._ended_at + self._waiting * self._apart_s
        if takes_s > MOST_S:
            raise Overloaded(
                f"this node's disk has more to read than it can: {self._waiting} reads wait, "
                f"which takes about {takes_s:.1f} s",
                detail={"retry_after": MOST_S},
                hint="send less at a time; see how busy the disk is",
            )


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "the disk of this node had no time for this read before its deadline", outcome="failed"
    )
