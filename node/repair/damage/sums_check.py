"""Makes the sums of one copy after the other anew, slowly, and looks whether they are those that are kept.

Sums are made once after a start and follow every change from then on (rule H10), so a change that they miss
would stay unnoticed until the next start: two owners that differ would be called equal.  A copy is read as of
a snapshot that is taken in the step in which its kept sums are noted, so writes go on meanwhile.  Sums that
are wrong count as unknown, and all copies are counted again.

Rule H10: docs/protocol/repair.md; docs/decisions/sums-are-made-again-at-each-start.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.overload.gate import Gate
from ringmill.node.contracts import TopologyView
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.comparing.exchange_serving import known_sums
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stored_key import Copy, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine

__all__ = ["SumsCheck"]

_log = logging.getLogger(__name__)


class SumsCheck:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        objects: ObjectStore,
        topology: TopologyView,
        gate: Gate,
        options: ReplicaOptions,
        every_s: float,
    ) -> None:
        """`every_s` is the time in which each copy has its turn once, in seconds; 0 is never."""
        self._node = node
        self._engine = engine
        self._objects = objects
        self._topology = topology
        self._gate = gate
        self._options = options
        self._every_s = every_s
        self._last = PartitionId(-1)
        self.checked = 0
        """Copies whose sums were made anew and were right, since the start."""
        self.wrong = 0
        """Copies whose sums were wrong, since the start."""

    async def run(self) -> None:
        """One copy after the other, spread over the time; returns at once when that is 0."""
        await self._topology.wait_formed()
        while self._every_s > 0:
            copies = self._copies()
            await asyncio.sleep(self._every_s / max(1, len(copies)))
            if copies := self._copies():
                following = (copy for copy in copies if copy.partition > self._last)
                copy = next(following, copies[0])
                self._last = copy.partition
                await self.check(copy)

    def _copies(self) -> Sequence[Copy]:
        """This node's whole copies, by partition, but those of rows that change."""
        topology = self._topology.current
        rows = () if topology is None else topology.rows
        return [
            Copy(PartitionId(number), row.copy_epoch_of(self._node))
            for number, row in enumerate(rows)
            if self._node in row.whole and not row.is_joint
        ]

    async def check(self, copy: Copy) -> bool | None:
        """Whether the kept sums of a copy are right; None when that could not be found out.

        Those that are wrong are made anew, with all others.
        """
        prefix, made = copy_prefix(copy), CopySums()
        counts, heals = self._objects.counts, self._objects.heals
        kept = known_sums(self._engine, self._objects, copy)
        if kept is None:
            return None
        try:
            with self._engine.snapshot() as snapshot:  # no await before: it shows what the kept sums are of
                scan = self._engine.scan(prefix, prefix_end(prefix), snapshot=snapshot)
                async with aclosing(scan) as found:
                    passed = 0
                    async for key, encoded in found:
                        made.change(key, None, encoded)
                        passed += 1
                        if passed % self._options.count_slice == 0:  # requests go first (rule O8)
                            await asyncio.sleep(self._options.count_pause_s * self._gate.stretch)
        except (RingmillError, OSError) as error:
            _log.debug("sums of partition %d are not checked: %s", copy.partition, error)
            return None
        if counts != self._objects.counts or heals != self._objects.heals:
            return None  # they were made anew, or are about to be
        now = made.of_what_was_added(copy)
        if (now.items, now.root) == (kept.items, kept.root):
            self.checked += 1
            return True
        self.wrong += 1
        _log.warning(
            "the sums of partition %d, kept for %d objects, were not those of its %d",
            copy.partition,
            kept.items,
            now.items,
        )
        self._objects.sums.forget(prefix)
        self._objects.count_again()
        return False
