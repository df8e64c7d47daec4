"""Divides a node's key space into parts that are healed in different ways.

Pure.  The parts cover the whole space of stored keys without a gap: control state, the objects and the
registers of each partition that this node owns, hints, and between them keys that belong to nobody
(docs/formats/stored_key.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.node.replica.stored_key import (
    Copy,
    Kind,
    copy_prefix,
    kind_prefix,
    prefix_end,
    registers_prefix,
)

__all__ = ["Layout", "Part", "PartKind", "layout_of"]


class PartKind(Enum):
    CONTROL = "control state"
    HINTS = "hints"
    ORPHANED = "keys that this node does not own"
    COPY = "partition"
    REGISTERS = "registers of partition"


@dataclass(frozen=True, slots=True)
class Part:
    """Stored keys in [start, end); an end of None has no bound.  Of a copy: its partition and its row."""

    start: bytes
    end: bytes | None
    kind: PartKind
    partition: PartitionId | None = None
    row: Row | None = None

    def __str__(self) -> str:
        return self.kind.value if self.partition is None else f"{self.kind.value} {self.partition}"


class Layout:
    """All parts in key order."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self._starts = [part.start for part in parts]

    def within(self, start: bytes, end: bytes | None) -> Iterator[Part]:
        """The parts of [start, end), cut to it, in key order."""
        for part in self.parts[max(0, bisect_right(self._starts, start) - 1) :]:
            if end is not None and part.start >= end:
                return
            low = max(part.start, start)
            high = part.end if end is None or (part.end is not None and part.end <= end) else end
            if high is None or low < high:
                yield replace(part, start=low, end=high)


def layout_of(topology: Topology | None, node: NodeId) -> Layout:
    """The parts of a node under a topology.

    Without a topology the copies are unknown, so there are only control state and hints; all other keys are
    left out, because they may belong to a copy.
    """
    named = [_whole(kind_prefix(Kind.META), PartKind.CONTROL)]
    if topology is not None:
        for prefix_of, kind in ((copy_prefix, PartKind.COPY), (registers_prefix, PartKind.REGISTERS)):
            for number, row in enumerate(topology.rows):
                if node in row.nodes:
                    partition = PartitionId(number)
                    prefix = prefix_of(Copy(partition, row.copy_epoch_of(node)))
                    named.append(Part(prefix, prefix_end(prefix), kind, partition, row))
    named.append(_whole(kind_prefix(Kind.HINT), PartKind.HINTS))
    return Layout(named if topology is None else list(_without_gaps(named)))


def _whole(prefix: bytes, kind: PartKind) -> Part:
    return Part(prefix, prefix_end(prefix), kind)


def _without_gaps(named: list[Part]) -> Iterator[Part]:
    """In key order, with what lies between them as parts of nobody."""
    edge: bytes | None = b""
    for part in sorted(named, key=lambda each: each.start):
        if edge is not None and edge < part.start:
            yield Part(edge, part.start, PartKind.ORPHANED)
        yield part
        edge = part.end
    if edge is not None:
        yield Part(edge, None, PartKind.ORPHANED)
