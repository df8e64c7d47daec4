"""Turns at what only a few may do at a time: whoever waits gets one in order, and one caller has a share."""

from __future__ import annotations

import asyncio

from ringmill.client.gateway.protection.caller_limits import SharedRoom

__all__ = ["SharedTurns"]


class SharedTurns:
    """`most` at a time, of them `share` of one caller at most: what it asks beyond waits behind no other."""

    def __init__(self, most: int, share: int) -> None:
        self.room = SharedRoom(most, share)
        self._waiting: dict[asyncio.Future[None], str] = {}  # with whose turn each waits for, in order

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting)

    def take_at_once(self, caller: str) -> bool:
        """Whether there was a turn for this caller, to be given back by `leave`."""
        return self.room.enter(caller)  # who waits for one cannot have it: each that is left is handed on

    async def take(self, caller: str, within_s: float) -> bool:
        """Wait for a turn; False when there was none in time."""
        if self.take_at_once(caller):
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = caller
        try:
            await asyncio.wait((turn,), timeout=within_s)
        except asyncio.CancelledError:
            if turn.done():
                self.leave(caller)
            raise
        finally:
            self._waiting.pop(turn, None)
        return turn.done()

    def leave(self, caller: str) -> None:
        """Give a turn back, to the first of those who wait whose share it is within."""
        self.room.leave(caller)
        for turn, waiting in list(self._waiting.items()):
            if self.room.enter(waiting):
                del self._waiting[turn]
                turn.set_result(None)
