"""Drops the copies that this node has no seat for: an owner left a partition, or a move was given up.

The new owners hold each write that was acknowledged at W before the former owner learns that it is none, so
none is lost with its copy.  A copy of which others may lack something stays until they have it
(node/moves/owed_copies.py).  A copy that comes later has an epoch of its own and never sees what an earlier
one left.

Rules M3 and M6: docs/protocol/moves.md; E11, by which a full disk takes this: docs/protocol/engine.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Final

from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.moves.owed_copies import OwedCopies
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stepping import first_key
from ringmill.node.replica.stored_key import (
    Copy,
    Kind,
    copy_prefix,
    kind_prefix,
    parse_copy,
    prefix_end,
    registers_prefix,
)
from ringmill.node.storage.engine import Engine

__all__ = ["FormerCopies"]

DROPPED_AT_ONCE: Final = 64


class FormerCopies:
    def __init__(self, node: NodeId, *, engine: Engine, objects: ObjectStore, owed: OwedCopies) -> None:
        self._node = node
        self._engine = engine
        self._objects = objects
        self.owed = owed
        self._kept: frozenset[Copy] = frozenset()  # no row names them, and something of them is owed
        self._swept = Epoch(0)
        self._rows: tuple[Row, ...] = ()  # of the document that was swept for
        self._own: dict[PartitionId, Copy] = {}
        self._is_sure = False  # no key is left of a copy that was dropped

    async def sweep(self, topology: Topology) -> None:
        """Drop whatever no row of this document names, and is not owed.  Raises what the engine raises.

        What has a seat less than before is known.  All copies are looked at again at a start and once nothing
        moves any more: a write that was under way when its copy was dropped may have left a key.
        """
        await self._drop_settled()
        if topology.epoch == self._swept:
            return
        own, left = self._own_after(topology)
        gone = sorted(self._unowed(left))
        is_next = topology.epoch == self._swept + 1
        self._is_sure = self._is_sure and is_next and not (gone or topology.is_moving)
        await self._drop(gone, gone)
        looks_through = not self._swept or not (self._is_sure or topology.is_moving)
        if looks_through:
            gone += await self._strangers(frozenset(own.values()))
        if gone:
            sometimes("a former owner drops its copy")
        self._is_sure = self._is_sure or looks_through
        self._own, self._rows, self._swept = own, topology.rows, topology.epoch

    def _own_after(self, topology: Topology) -> tuple[dict[PartitionId, Copy], list[Copy]]:
        """This node's copies by a document, and those of the last sweep that are none any more."""
        own, left = dict(self._own), list[Copy]()
        former = self._rows or (None,) * len(topology.rows)
        for number, (before, row) in enumerate(zip(former, topology.rows, strict=True)):
            if row is before:
                continue  # as nearly all are
            copy = Copy(PartitionId(number), row.copy_epoch_of(self._node))
            owned = own.pop(copy.partition, copy)
            if owned != copy:
                left.append(owned)
            if self._node in row.nodes:
                own[copy.partition] = copy
        return own, left

    async def _drop_settled(self) -> None:
        settled = sorted(copy for copy in self._kept if copy not in self.owed)
        if settled:
            await self._drop(settled, settled)
            self._kept = self._kept.difference(settled)

    def _unowed(self, copies: Collection[Copy]) -> list[Copy]:
        """Those of which nothing is owed; the others are kept."""
        owed = [copy for copy in copies if copy in self.owed]
        self._kept = self._kept.union(owed)
        return [copy for copy in copies if copy not in self._kept]

    async def _strangers(self, own: Collection[Copy]) -> list[Copy]:
        """Drop the copies of the store that are none of `own`, and return them."""
        known = self._objects.copies() if self._objects.is_counted else None
        present = [each async for each in self._copies(Kind.OBJECT)] if known is None else known
        objects = [copy for copy in present if copy not in own]
        if not self._swept:
            self.owed.find(objects)
        objects = self._unowed(objects)
        registers = self._unowed([copy async for copy in self._copies(Kind.REGISTER) if copy not in own])
        await self._drop(objects, registers)
        return [*objects, *registers]

    async def _drop(self, objects: Collection[Copy], registers: Collection[Copy]) -> None:
        """A few at once: whatever the engine drops it looks through all drops in force."""
        found: list[tuple[bytes, Copy | None]] = [(copy_prefix(copy), copy) for copy in objects]
        found += [(registers_prefix(copy), None) for copy in registers]
        for first in range(0, len(found), DROPPED_AT_ONCE):
            turn = found[first : first + DROPPED_AT_ONCE]
            await self._engine.wait_writable(frees_space=True)
            await self._engine.drop_prefix(*(prefix for prefix, _ in turn))
            for _, copy in turn:
                if copy is not None:
                    self._objects.drop_copy(copy)
            await asyncio.sleep(0)

    async def _copies(self, kind: Kind) -> AsyncIterator[Copy]:
        """The copies that have at least one key, by one seek each."""
        start, end = kind_prefix(kind), prefix_end(kind_prefix(kind))
        while start < end:
            await asyncio.sleep(0)  # a seek may never have to wait, and there are hundreds
            found = await first_key(self._engine, start, end)
            if found is None:
                return
            copy = parse_copy(found)
            yield copy
            prefix = copy_prefix(copy) if kind is Kind.OBJECT else registers_prefix(copy)
            start = prefix_end(prefix)
