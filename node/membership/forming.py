"""Finds out whether the first document counts: a majority of the voters that it names must hold it (T4).

Otherwise two concurrent `cluster form` could each win some nodes.  Two majorities share at least one voter,
and a node that has a cluster refuses another.  The result is stored on the disk.  A later epoch was decided
by the voters, so it implies that the first document counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.contracts import ControlState

__all__ = ["Forming"]

_STORED_AS: Final = "topology-formed"  # the cluster id
_PAUSE_S: Final = 0.02
_PAUSE_CAP_S: Final = 1.0
_log = logging.getLogger(__name__)


class Forming:
    """Asks the voters of the document it was given.  `fetch` asks one node for its newest document."""

    def __init__(
        self, seat: Owner, *, store: ControlState, fetch: Callable[[NodeId], Awaitable[bytes]]
    ) -> None:
        self._seat = seat
        self._store = store
        self._fetch = fetch
        self._first: Topology | None = None
        self._given = asyncio.Event()
        self._done = asyncio.Event()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    async def wait(self) -> None:
        await self._done.wait()

    def consider(self, topology: Topology) -> None:
        """This node holds `topology` now."""
        is_alone = topology.voters == (self._seat,)
        if is_alone or topology.epoch > 1 or self._store.get(_STORED_AS) == topology.cluster.encode():
            self._done.set()
        self._first = topology
        self._given.set()

    async def run(self) -> None:
        """Ask until a majority is known, and that is on the disk.

        Between rounds there is a pause that doubles up to a second.
        """
        await self._given.wait()
        pause_s, logged = _PAUSE_S, ""
        while not self.is_done:
            assert self._first is not None
            try:
                if await self._holders(self._first) > len(self._first.voters) // 2:
                    await self._store.put_synced(_STORED_AS, self._first.cluster.encode())
                    self._done.set()
                    return
            except RingmillError as error:
                if error.message != logged:
                    _log.warning("that the first document counts is not on the disk yet: %s", error)
                logged = error.message
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_CAP_S)

    async def _holders(self, first: Topology) -> int:
        """How many voters hold a document of this cluster; a voter on another disk is none."""
        others = [voter.node for voter in first.voters if voter != self._seat]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._holds(node, first)) for node in others]
        return sum(task.result() for task in asked) + (self._seat in first.voters)

    async def _holds(self, node: NodeId, first: Topology) -> bool:
        try:
            answer = await self._fetch(node)
            return bool(answer) and Topology.decode(answer).cluster == first.cluster
        except RingmillError as error:
            _log.debug("%s does not hold the first document: %s", node, error)
            return False
