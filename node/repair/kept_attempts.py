"""Finds out what came of attempts to prove a watermark that this node has kept, should nobody tell it.

Every round asks about those that are open for a while, and whoever is refused something because one is open
has it asked about at once.

Rules P2 and P3: docs/protocol/deletes.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Clock, Priority, Transport
from ringmill.cluster.quorum.watermark import Fate, fate_of
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.replica.purging.purge_messages import FATE, AskFate, Fates
from ringmill.node.replica.purging.watermarks import Watermarks

__all__ = ["PARTITIONS_AT_ONCE", "KeptAttempts"]

PARTITIONS_AT_ONCE: Final = 64  # of one attempt, and of one message
CALL_TIMEOUT_S: Final = 5.0
SOON_S: Final = 1.0
"""How long somebody who is refused waits for the others' answers."""
PAUSE_S: Final = 0.2
"""Between two of these questions, so that an attempt that stays open costs little."""

_log = logging.getLogger(__name__)


class KeptAttempts:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        node: NodeId,
        *,
        watermarks: Watermarks,
        topology: TopologyView,
        transport: Transport,
        clock: Clock,
        settle_s: float,
    ) -> None:
        self._node = node
        self._watermarks = watermarks
        self._topology = topology
        self._transport = transport
        self._clock = clock
        self._settle_s = settle_s
        self._open: dict[PartitionId, tuple[str, float]] = {}  # kept attempts, and since when they are known
        self._wanted: dict[PartitionId, None] = {}
        self._woken = asyncio.Event()
        self._answered = asyncio.Event()  # what is wanted now has been asked about

    async def find_out(self, partition: PartitionId) -> None:
        """Ask about the attempt that is kept for a partition.  Returns once it is settled or the other owners
        were asked, and at the latest after SOON_S."""
        answered = self._answered
        self._wanted[partition] = None
        self._woken.set()
        try:
            async with asyncio.timeout(SOON_S):
                await answered.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Ask about what somebody wants to know, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            wanted, self._wanted = self._wanted, {}
            answered, self._answered = self._answered, asyncio.Event()
            try:
                if (document := self._topology.current) is not None:
                    due = {each: attempt for each, attempt in self._kept().items() if each in wanted}
                    await self._settle(document, due, SOON_S, answered)
            except (RingmillError, OSError) as error:
                _log.debug("what came of a watermark is found out later: %s", error)
            finally:
                answered.set()
            await asyncio.sleep(PAUSE_S)

    async def round(self, document: Topology) -> None:
        """Ask about everything that is open for a while.  Raises what storing raises."""
        now = self._clock.monotonic()
        found = self._kept()
        known = {partition: self._open.get(partition) for partition in found}
        self._open = {
            partition: former if (former := known[partition]) and former[0] == attempt else (attempt, now)
            for partition, attempt in found.items()
        }
        due = {
            partition: attempt
            for partition, (attempt, since) in self._open.items()
            if now - since >= self._settle_s
        }
        await self._settle(document, due, CALL_TIMEOUT_S, asyncio.Event())

    def _kept(self) -> dict[PartitionId, str]:
        return {
            partition: mark.kept.attempt
            for partition, mark in self._watermarks.known().items()
            if mark.kept.attempt
        }

    async def _settle(
        self, document: Topology, due: Mapping[PartitionId, str], timeout_s: float, answered: asyncio.Event
    ) -> None:
        """Ask the other owners about these attempts.  What came of one counts as soon as it is certain; all
        of it is stored in the end."""
        fates_of: dict[PartitionId, dict[NodeId, Fate]] = {partition: {} for partition in due}
        settled: dict[PartitionId, None] = {}

        async def ask(node: NodeId) -> None:
            for partition, fate in (await self._fates(node, due, document, timeout_s)).items():
                fates_of[partition][node] = fate
                row, mark = document.rows[partition], self._watermarks.of(partition)
                fates = [fates_of[partition].get(one, Fate.SILENT) for one in row.whole if one != self._node]
                found = fate_of(fates, is_same_row=row.row_epoch == mark.kept.row_epoch)
                if mark.record_fate(due[partition], found):
                    sometimes("an owner finds out what came of a watermark that it has kept")
                    settled[partition] = None
            if len(settled) == len(due):
                answered.set()

        peers = sorted({node for partition in due for node in document.rows[partition].nodes} - {self._node})
        await gather_all(ask(node) for node in peers)
        if settled:
            await self._watermarks.store()

    async def _fates(
        self, node: NodeId, due: Mapping[PartitionId, str], document: Topology, timeout_s: float
    ) -> dict[PartitionId, Fate]:
        """What another owner says of the attempts of partitions that it shares with this node."""
        asked = [each for each in due.items() if node in document.rows[each[0]].nodes]
        fates: dict[PartitionId, Fate] = {}
        for first in range(0, len(asked), PARTITIONS_AT_ONCE):
            some = tuple(asked[first : first + PARTITIONS_AT_ONCE])
            try:
                body = await self._transport.call(
                    node, FATE, AskFate(some).encode(), timeout_s=timeout_s, priority=Priority.REPAIR
                )
                each = Fates.decode(body, len(some)).each
            except (RingmillError, OSError):  # also an answer that cannot be read
                each = (Fate.SILENT,) * len(some)
            fates.update(zip((partition for partition, _ in some), each, strict=True))
        return fates
