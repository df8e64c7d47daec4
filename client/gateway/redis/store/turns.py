"""How many keys of one connection's commands on several keys are under way at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TypeAlias

__all__ = ["Place", "Turns"]


class Turns:
    """The turns of one connection.  Who waits for one is given it in the order in which it came."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: OrderedDict[Place, None] = OrderedDict()

    def ask(self, place: Place) -> None:
        """Have the place told these turns once there is one for it, unless it is told something before.

        It may ask for those of several connections.
        """
        if place.done():
            return
        if self._free:
            self._free -= 1
            place.set_result(self)
        else:
            self._waiting[place] = None

    def forget(self, place: Place) -> None:
        """Note that this place waits no more."""
        self._waiting.pop(place, None)

    def give_back(self) -> None:
        """Let the next one have it."""
        while self._waiting:
            place, _ = self._waiting.popitem(last=False)
            if not place.done():
                place.set_result(self)
                return
        self._free += 1


Place: TypeAlias = asyncio.Future["Turns | None"]
