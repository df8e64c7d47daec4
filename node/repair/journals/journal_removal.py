"""Removes the registers of journals that are forgotten from this node's copies.

Each node reads now and then which journals are forgotten.  Once that is on its disk it refuses whatever is
asked of their registers, so each owner removes them alone: nobody has to be there for it, and nothing is
agreed on.

Rule J29: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from ringmill.cluster.consensus.forgotten_journals import (
    FORGOTTEN,
    JOURNALS,
    NONE_FORGOTTEN,
    ForgottenJournals,
)
from ringmill.cluster.consensus.remains import holds_own
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import KeyspaceId, NodeId, PartitionId, keyspace_bytes
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import RegisterAccess, TopologyView
from ringmill.node.repair.register_removal import SCAN_TURN, TURN_S
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.stored_key import Copy, parse_object_key, prefix_end, registers_prefix
from ringmill.node.storage.engine import Engine

__all__ = ["JournalRemoval"]

_TIMEOUT_S: Final = 5.0
_LONGEST: Final = 10.0
"""A pause between two rounds is stretched this much at most."""

_log = logging.getLogger(__name__)


class JournalRemoval:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        store: RegisterStore,
        forgotten: ForgottenStore,
        registers: RegisterAccess,
        topology: TopologyView,
        gate: Gate,
        every_s: float,
    ) -> None:
        self._node = node
        self._engine = engine
        self._store = store
        self._forgotten = forgotten
        self._registers = registers
        self._topology = topology
        self._gate = gate
        self._every_s = every_s
        self._done: dict[Copy, ForgottenJournals] = {}  # what each copy was looked through for

    async def run(self) -> None:
        """Until cancelled."""
        await self._topology.wait_formed()
        while self._every_s:
            await asyncio.sleep(self._every_s * min(_LONGEST, self._gate.stretch))
            await self.round()

    async def round(self) -> None:
        """Learn what is forgotten, and remove it.  What fails has its turn in the next round."""
        document = self._topology.current
        if document is None or not self._topology.serving:
            return
        try:
            await self._learn()
        except (RingmillError, OSError) as error:
            _log.debug("which journals are forgotten is found out later: %s", error)
        if self._forgotten.known == NONE_FORGOTTEN:
            return
        space = next((each.id for each in document.keyspaces if holds_own(each)), None)
        if space is None:
            return
        mine = dict.fromkeys(self._copies(document))
        self._done = {copy: known for copy, known in self._done.items() if copy in mine}
        for copy in mine:
            await asyncio.sleep(0)  # a scan may never have to wait
            known = self._forgotten.known
            if self._done.get(copy) == known:
                continue
            try:
                await self._remove(copy, space)
            except (RingmillError, OSError) as error:
                _log.debug("registers of forgotten journals are removed later: %s", error)
            else:
                self._done[copy] = known

    def _copies(self, document: Topology) -> list[Copy]:
        rows = ((PartitionId(number), row) for number, row in enumerate(document.rows))
        return [Copy(at, row.copy_epoch_of(self._node)) for at, row in rows if self._node in row.nodes]

    async def _learn(self) -> None:
        version, value = await self._registers.read_cell(FORGOTTEN, _TIMEOUT_S)
        listed = NONE_FORGOTTEN if value is None else ForgottenJournals.decode(value)
        await self._forgotten.learn(listed)
        if (known := self._forgotten.known).is_more_than(listed):  # it was lost with an accepted loss
            await self._registers.set_cell(FORGOTTEN, known.encode(), version, _TIMEOUT_S)

    async def _remove(self, copy: Copy, space: KeyspaceId) -> None:
        prefix = registers_prefix(copy) + keyspace_bytes(space) + JOURNALS
        found: list[bytes] = []
        seen = 0
        async with aclosing(self._engine.scan(prefix, prefix_end(prefix))) as scan:
            async for key, _ in scan:
                if self._forgotten.known.covers(parse_object_key(key).key):
                    found.append(key)
                seen += 1
                if seen % SCAN_TURN == 0:
                    await self._drop(found)
                    found = []
                    await asyncio.sleep(TURN_S * (self._gate.stretch - 1.0))  # requests go first (rule O8)
        await self._drop(found)

    async def _drop(self, keys: list[bytes]) -> None:
        if keys:
            sometimes("registers of a journal that is forgotten are removed")
            await self._store.drop_forgotten(keys)
