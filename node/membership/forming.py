"""Finds out whether the first document counts: a majority of the voters that it names must hold it (T4).

Otherwise two concurrent `cluster form` could each win some nodes.  Two majorities share at least one voter,
and a node that has a cluster refuses another.  The result is stored on the disk.  A later epoch was decided
by the voters, so it implies that the first document counts.  When too many voters belong to another cluster,
the document cannot count any more; this node then says so, as nothing but an operator can free it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
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
        self._elsewhere: set[NodeId] = set()  # voters that belong to another cluster
        self._given = asyncio.Event()
        self._done = asyncio.Event()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    @property
    def reasons(self) -> Sequence[str]:
        """That the first document cannot count any more."""
        first = self._first
        if first is None or self.is_done:
            return ()
        elsewhere = sorted({voter.node for voter in first.voters} & self._elsewhere)
        if len(first.voters) - len(elsewhere) > len(first.voters) // 2:
            return ()
        return (
            f"cluster {first.name} ({first.cluster}) cannot be formed any more: {', '.join(elsewhere)} "
            "belong to another cluster, so no majority of its voters can hold its first document; end this "
            "process, and `ringmill node reset DIR` frees its folder",
        )

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
                for reason in self.reasons:
                    if reason != logged:
                        _log.warning("this node serves nothing: %s", reason)
                    logged = reason
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
        """Notes whether the node is of another cluster, which its document says, or the refusal of a link.

        A cluster that was made of this one counts as none (T9), and an error that tells of no cluster, as
        that of a link which waits before it is dialled again, leaves what was known.
        """
        try:
            answer = await self._fetch(node)
            found = Topology.decode(answer) if answer else None
        except RingmillError as error:
            _log.debug("%s does not hold the first document: %s", node, error)
            if error.detail.get("clusters", {}).get(node, first.cluster) != first.cluster:
                self._elsewhere.add(node)
            return False
        if found is None or first.cluster in (found.cluster, *found.formers):
            self._elsewhere.discard(node)
        else:
            self._elsewhere.add(node)
        return found is not None and found.cluster == first.cluster
