"""Forgets what is dead at or below the proven watermarks of this node's partitions.

A pass reads the copies that may hold something dead, and removes it from the engine; the space returns when
the engine merges its tables, which is asked for once a good part of the store is garbage.

Rule P1: docs/protocol/deletes.md.  E12, by which tables are merged: docs/protocol/engine.md.  M3, which keeps
tombstones while a copy is filled: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import aclosing
from typing import Final

from ringmill.cluster.errors import RingmillError, reason_of
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dead import dead_from
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime, millis
from ringmill.cluster.versions.object_codec import decode_object, outline
from ringmill.node.contracts import TopologyView
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import (
    Copy,
    Kind,
    Place,
    copy_prefix,
    kind_prefix,
    parse_object_key,
    prefix_end,
)
from ringmill.node.storage.engine import Engine

__all__ = ["Forgetting"]

SCAN_TURN: Final = 256
BATCH: Final = 256
TURN_S: Final = 0.005
"""What SCAN_TURN objects take, about: the pause after them grows by as much for each step of the stretch."""

_log = logging.getLogger(__name__)


class Forgetting:
    """`forgotten` counts objects since the start."""

    def __init__(
        self,
        node: NodeId,
        *,
        engine: Engine,
        objects: ObjectStore,
        watermarks: Watermarks,
        topology: TopologyView,
        options: PurgeOptions,
        gate: Gate,
    ) -> None:
        self._node = node
        self._engine = engine
        self._objects = objects
        self._watermarks = watermarks
        self._topology = topology
        self._options = options
        self._gate = gate
        # By partition: its copy, the watermark, and the healings before it.
        self._passed: dict[PartitionId, tuple[Copy, HybridTime, int]] = {}
        self._garbage_bytes = 0
        self._is_merge_wanted = False
        self.forgotten = 0
        self.held_back: dict[PartitionId, str] = {}
        """Why a partition could not be looked through in the last round."""

    def merge_soon(self) -> None:
        """Merge tables after the next round, however little it has to give back."""
        self._is_merge_wanted = True

    async def round(self) -> None:
        """One pass over every copy that may hold something dead; one that fails keeps no other waiting.

        Raises what merging tables raises.
        """
        document = self._topology.current
        if document is None or not self._objects.is_counted:
            return
        before, self.held_back = self.held_back, {}
        for partition, mark in list(self._watermarks.known().items()):
            row = document.rows[partition]
            copy = Copy(partition, row.copy_epoch_of(self._node))
            proven = mark.proven
            if row.is_joint or self._node not in row.nodes or proven == ZERO:
                continue
            if self._objects.dead.may_hold_dead(copy, millis(proven)):
                try:
                    await self._pass(copy, proven)
                except (RingmillError, OSError) as error:
                    self.held_back[partition] = reason_of(error)
        if fresh := [why for partition, why in self.held_back.items() if partition not in before]:
            _log.warning("deletes of %d partitions are not forgotten: %s", len(fresh), fresh[0])
        await self._merge_tables()

    async def _pass(self, copy: Copy, proven: HybridTime) -> None:
        state = (copy, proven, self._objects.heals)
        if self._passed.get(copy.partition) == state:
            return
        former_ms = self._objects.dead.scan_begins(copy)
        try:
            former_ms = await self._scan(copy, proven)
        finally:
            self._objects.dead.scanned(copy, former_ms)
        self._passed[copy.partition] = state

    async def _scan(self, copy: Copy, proven: HybridTime) -> int:
        """Forget what is dead.  Returns when the first of what is left may be forgotten, in ms since 1970; 0:
        nothing that is left may be."""
        prefix = copy_prefix(copy)
        dead: list[tuple[Place, bytes]] = []
        first_ms = passed = changed = 0
        async with aclosing(self._engine.scan(prefix, prefix_end(prefix))) as scan:
            async for key, encoded in scan:
                has_value, expires_at_ms, _ = outline(encoded)
                if not has_value or expires_at_ms:
                    at = dead_from(decode_object(encoded))
                    # Beside a value that stays an expired one waits for that to go, which nobody notes.
                    at_ms = expires_at_ms if at is None else millis(at)
                    if at is not None and at <= proven:
                        dead.append((parse_object_key(key), encoded))
                    elif not first_ms or at_ms < first_ms:
                        first_ms = at_ms
                if len(dead) == BATCH:
                    changed += await self._forget(dead)
                passed += 1
                if passed % SCAN_TURN == 0:
                    await asyncio.sleep(TURN_S * (self._gate.stretch - 1.0))  # requests go first (rule O8)
        changed += await self._forget(dead)
        if changed:  # perhaps deleted once more, which notes nothing: looked at again at the next watermark
            first_ms = min(first_ms or sys.maxsize, millis(proven) + 1)
        return first_ms

    async def _forget(self, dead: list[tuple[Place, bytes]]) -> int:
        """Returns how many were changed since they were read, and stay."""
        if not dead:
            return 0
        self._garbage_bytes += sum(len(place.stored_key) + len(encoded) for place, encoded in dead)
        gone = await self._objects.forget(dead)
        self.forgotten += gone
        stay = len(dead) - gone
        dead.clear()
        return stay

    async def _merge_tables(self) -> None:
        """Give the space back, when there is enough of it to be worth it."""
        enough = max(
            self._options.least_garbage_bytes, self._options.garbage_share * self._objects.size_bytes
        )
        if not self._garbage_bytes or not (self._is_merge_wanted or self._garbage_bytes >= enough):
            return
        garbage_bytes, self._garbage_bytes = self._garbage_bytes, 0
        is_wanted, self._is_merge_wanted = self._is_merge_wanted, False
        prefix = kind_prefix(Kind.OBJECT)
        try:
            await self._engine.write_tables()
            await self._engine.compact_range(prefix, prefix_end(prefix))
        except (RingmillError, OSError):
            self._garbage_bytes += garbage_bytes  # the next round tries again
            self._is_merge_wanted |= is_wanted
            raise
        sometimes("tables are merged to give back the space of deletes")
