"""Former copies of this node that are kept, as their present owners may lack something that they hold.

An owner that leaves a partition while others may lack a write of it (rules H2 and H8) may be the only one
that has a write below W: moves bring what W owners hold.  So its copy stays, refused to whoever asks, until
what it holds has been brought to the present owners.  They judge it as a hint of any age (rule P3).

Rule M6: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import RingmillError, reason_of
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.replica.stored_key import Copy

__all__ = ["OwedCopies", "Owing"]

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
ALL_TRIES: Final = 10
"""So often every present owner is tried, about half a minute; after that it is enough that one has it all."""
_log = logging.getLogger(__name__)

Push = Callable[[Copy, Row, NodeId], Awaitable[None]]
"""Brings an owner, synced, what it lacks of a former copy.  Raises RingmillError and OSError when that cannot
be done now."""


@dataclass(frozen=True, slots=True)
class Owing:
    """`owes`: whether another owner of a partition may lack something that this node holds; `is_unsure`:
    whether this start follows one that may have owed something."""

    owes: Callable[[PartitionId], bool]
    is_unsure: bool
    push: Push


class OwedCopies:
    """`run` for as long as the node lives.  While nothing is owed it has no timer."""

    def __init__(
        self,
        node: NodeId,
        owing: Owing,
        *,
        topology: TopologyView,
        liveness: LivenessView,
    ) -> None:
        self._node = node
        self._owing = owing
        self._topology = topology
        self._liveness = liveness
        self._rows: tuple[Row, ...] = ()  # of the newest document
        self._owned: dict[PartitionId, Copy] = {}
        self._owed: dict[Copy, int] = {}  # with the number of tries
        self._has_looked = not owing.is_unsure
        self._wanted = asyncio.Event()
        self.settled = 0
        """Copies that this start owed and owes no longer: a backup has to see them or what they brought."""
        self.held_back: dict[PartitionId, str] = {}
        """Why a former copy is still kept."""
        self.on_settled: Callable[[], None] = lambda: None
        """Called when a copy is owed no longer."""

    def take(self, topology: Topology) -> None:
        """A document is held from now on: what leaves this node by it is kept if something is owed.

        A copy that was being filled is none: what it holds its owners have brought.
        """
        former, self._rows = self._rows or (None,) * len(topology.rows), topology.rows
        left: list[Copy] = []
        for number, (before, row) in enumerate(zip(former, topology.rows, strict=True)):
            if row is before:
                continue  # as nearly all are
            copy = Copy(PartitionId(number), row.copy_epoch_of(self._node))
            owned = self._owned.pop(copy.partition, copy)
            if owned != copy:
                left.append(owned)
            if self._node in row.whole:
                self._owned[copy.partition] = copy
        self._keep([copy for copy in left if self._owing.owes(copy.partition)])

    def find(self, copies: Collection[Copy]) -> None:
        """A start has found these, which no row names."""
        if self._owing.is_unsure:
            self._keep(copies)
        self._has_looked = True

    @property
    def is_settled(self) -> bool:
        """Nothing is owed, nor has this start still to find what the one before may have left."""
        return self._has_looked and not self._owed

    def may_owe(self, partition: PartitionId) -> bool:
        """Whether a former copy of the partition may hold what the owners lack: then no watermark may pass
        it, as they would refuse what it brings (rules P2 and P3)."""
        return not self._has_looked or any(copy.partition == partition for copy in self._owed)

    def _keep(self, copies: Collection[Copy]) -> None:
        for copy in sorted(copies):
            sometimes("a former owner keeps a copy of which others may lack something")
            self._owed[copy] = 0
            self.held_back[copy.partition] = f"{self._node} brings what its former copy alone may hold"
            self._wanted.set()

    def __contains__(self, copy: Copy) -> bool:
        return copy in self._owed

    def __len__(self) -> int:
        return len(self._owed)

    async def run(self) -> None:
        """Bring what is owed, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while await self._wanted.wait():
            if await self._round():
                self._wanted.clear()
                pause_s = FIRST_PAUSE_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _round(self) -> bool:
        """Returns whether nothing is owed any more."""
        topology = self._topology.current
        if topology is None or not self._topology.serving:
            return False
        for copy in list(self._owed):
            if await self._bring(copy, topology.row(copy.partition)):
                self._settle(copy)
        return not self._owed

    async def _bring(self, copy: Copy, row: Row) -> bool:
        """Bring the present owners what the copy holds.

        Returns whether all of them have it, or one has it and the others were waited for.
        """
        others = [node for node in row.whole if node != self._node]
        failures: dict[NodeId, str] = {}
        for node in others:
            if not self._liveness.is_up(node):
                failures[node] = f"{node} is {self._liveness.state(node)}"
                continue
            try:
                await self._owing.push(copy, row, node)
            except (RingmillError, OSError) as error:
                failures[node] = f"{node}: {reason_of(error)}"
        self._owed[copy] += 1
        if not failures or (self._owed[copy] >= ALL_TRIES and len(failures) < len(others)):
            return True
        why = "; ".join(failures.values())
        self.held_back[copy.partition] = (
            f"{self._node} keeps its former copy until others have what it alone may hold ({why})"
        )
        _log.debug("the former copy of partition %d is kept: %s", copy.partition, why)
        return False

    def _settle(self, copy: Copy) -> None:
        sometimes("a former owner brings what others may lack before it drops its copy")
        del self._owed[copy]
        self.settled += 1
        if all(each.partition != copy.partition for each in self._owed):
            self.held_back.pop(copy.partition, None)
        self.on_settled()
