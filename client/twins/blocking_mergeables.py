"""Counters, sets and maps of the blocking client, as client/merging/mergeables.py promises."""

from __future__ import annotations

from ringmill.client.merging.mergeables import AsyncCounters, AsyncMaps, AsyncSets
from ringmill.client.twins.blocking_twins import WaitingLoop, timed

__all__ = ["Counters", "Maps", "Sets"]


class Counters:
    """The counters of a keyspace, blocking."""

    def __init__(self, subject: AsyncCounters, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    add = timed(AsyncCounters.add)
    get = timed(AsyncCounters.get)
    delete = timed(AsyncCounters.delete)


class Sets:
    """The sets of a keyspace, blocking."""

    def __init__(self, subject: AsyncSets, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    add = timed(AsyncSets.add)
    remove = timed(AsyncSets.remove)
    get = timed(AsyncSets.get)
    delete = timed(AsyncSets.delete)


class Maps:
    """The maps of a keyspace, blocking."""

    def __init__(self, subject: AsyncMaps, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    put = timed(AsyncMaps.put)
    remove = timed(AsyncMaps.remove)
    get = timed(AsyncMaps.get)
    delete = timed(AsyncMaps.delete)
