"""Which keyspaces were dropped, by the newest document that this node holds, and where some may be left.

Ids of keyspaces are never given twice, and each names the epoch that made it, so a node that is behind takes
none for dropped that a later document has made.  A keyspace counts as dropped from the step on in which the
document without it is taken up: nothing more of it is stored here from then on, and what is stored may be
removed (node/repair/dropped).

A document that is taken up may lack a keyspace that this node has never heard of: it was made and dropped
between two of its documents.  Comparing and healing bring keys of it all the same, as they take what a peer
holds.  So after a gap the copies are looked through for all that the epochs of the gap may have made.

Rule P6: docs/protocol/deletes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.topology import Topology
from ringmill.node.replica.stored_key import (
    KEYSPACE_PREFIX_BYTES,
    Copy,
    keyspace_prefix,
    parse_keyspace,
    prefix_end,
)

__all__ = ["GoneKeyspaces", "Sought"]

MOST_SOUGHT: Final = 32
"""Ranges that a copy is looked through for; with more of them it is looked through as a whole."""


class Sought(NamedTuple):
    """Where in a copy something of dropped keyspaces may be left: keys without the copy's prefix."""

    document: int  # the number of the document that asked for it
    start: bytes
    end: bytes  # empty: no bound


class GoneKeyspaces:
    """`take` each document in the step in which it is adopted."""

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._topology: Topology | None = None
        self._own: dict[PartitionId, Copy] = {}  # whole ones
        self._unswept: dict[Copy, frozenset[Sought]] = {}
        self._taken = 0
        self.hints_unswept = 0
        """Not 0 while hints of dropped keyspaces may be left: what `note_hints_swept` wants."""
        self.found = asyncio.Event()
        """Set when there is something to look through; clear it before."""

    def take(self, topology: Topology) -> None:
        """This document is held from now on."""
        before, self._topology = self._topology, topology
        self._taken += 1
        fresh = self._take_rows(before, topology)
        whole = frozenset([Sought(self._taken, b"", b"")])
        lost = frozenset[Sought]() if before is None else self._lost(before, topology)
        if lost:
            for copy in self._own.values():
                sought = self._unswept.get(copy, frozenset()) | lost
                self._unswept[copy] = sought if len(sought) <= MOST_SOUGHT else whole
        if before is None or lost:
            self.hints_unswept = self._taken
        self._unswept |= dict.fromkeys(fresh, whole)
        if fresh or self.hints_unswept:
            self.found.set()

    def _lost(self, before: Topology, topology: Topology) -> frozenset[Sought]:
        """Where keys are of keyspaces that this document lacks, and those that may be of such."""
        prefixes = [keyspace_prefix(each.id) for each in before.keyspaces if self.has(each.id)]
        lost = {Sought(self._taken, prefix, prefix_end(prefix)) for prefix in prefixes}
        if topology.epoch > before.epoch + 1:
            unseen = (before.epoch + 1, topology.epoch + 1)
            start, end = (keyspace_prefix(KeyspaceId(Epoch(each), 0)) for each in unseen)
            lost.add(Sought(self._taken, start, end))
        return frozenset(lost)

    def _take_rows(self, before: Topology | None, topology: Topology) -> list[Copy]:
        """Note this node's whole copies.  Returns those that were none before."""
        fresh = []
        former = (None,) * len(topology.rows) if before is None else before.rows
        for number, (row_before, row) in enumerate(zip(former, topology.rows, strict=True)):
            if row is row_before:
                continue  # as nearly all are
            partition = PartitionId(number)
            known = self._own.get(partition)
            copy = Copy(partition, row.copy_epoch_of(self._node))
            if known is not None and known != copy:
                self._unswept.pop(known, None)
            if self._node not in row.whole:
                self._own.pop(partition, None)
                self._unswept.pop(copy, None)
                continue
            self._own[partition] = copy
            if known != copy:
                fresh.append(copy)
        return fresh

    def has(self, keyspace: KeyspaceId) -> bool:
        """Whether a keyspace was dropped; not one of a document that this node has yet to get."""
        return self._topology is not None and self._topology.has_dropped(keyspace)

    def has_key(self, key: bytes) -> bool:
        """Whether the keyspace of a stored key, without its copy's prefix, was dropped."""
        return self.has(parse_keyspace(key))

    def covers(self, start: bytes, end: bytes) -> bool:
        """Whether all keys from `start` to before `end`, without their copy's prefix, are of one dropped
        keyspace; an empty end has no bound."""
        if not end or len(start) < KEYSPACE_PREFIX_BYTES:
            return False
        prefix = start[:KEYSPACE_PREFIX_BYTES]
        return (end.startswith(prefix) or end == prefix_end(prefix)) and self.has_key(start)

    def refuses(self, keyspace: KeyspaceId) -> bool:
        """Whether a write under way comes too late: as `has`, and asked at each place that stores one."""
        return self.has(keyspace)

    def check(self, keyspace: KeyspaceId) -> None:
        """Raise InvalidArgument for a keyspace that was dropped after a write of it had begun here."""
        if self.refuses(keyspace):
            raise InvalidArgument(
                f"keyspace {keyspace.epoch}.{keyspace.ordinal} was dropped before the write was made",
                outcome="failed",
            )

    @property
    def unswept(self) -> Mapping[Copy, frozenset[Sought]]:
        """The copies that may hold something of a dropped keyspace, each with where."""
        return self._unswept

    def note_hints_swept(self, asked: int) -> None:
        """No hint is left of what was dropped by the document that `hints_unswept` told of."""
        if self.hints_unswept == asked:
            self.hints_unswept = 0

    def note_swept(self, copy: Copy, sought: frozenset[Sought]) -> None:
        """Nothing is left there of what was dropped by the documents that `unswept` told with it."""
        if left := self._unswept.get(copy, frozenset()) - sought:
            self._unswept[copy] = left
        else:
            self._unswept.pop(copy, None)
