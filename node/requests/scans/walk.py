"""The way of a scan over the partitions: which keys of which it is about, and where it stands.  Pure.

Partitions are visited in ring order, the keys of each in byte order.  A place on the way names the first key
that has not been returned, so a page may end anywhere (rule L3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.ring.hashing import hash_tag, partition_of, position
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, decode_cursor, encode_cursor
from ringmill.node.replica.stored_key import prefix_end
from ringmill.node.requests.scans.owner_ranges import KeyRange
from ringmill.node.requests.scans.scan_values import ScanRequest

__all__ = ["Step", "Walk", "walk_of"]


class Step(NamedTuple):
    """A place on the way: the next key is `key` or the first one after it in `partition`."""

    partition: PartitionId
    key: bytes


class Walk:
    """All places of one scan in their order."""

    def __init__(
        self, keyspace: KeyspaceId, bounds: ScanBounds, partitions: int, until: PartitionId | None = None
    ) -> None:
        """It ends with partition `until`, if that is said."""
        self._keyspace = keyspace
        self._bounds = bounds
        self._low = max(bounds.prefix, bounds.start)
        self._high = _high(bounds)
        self._first, self.last = PartitionId(0), PartitionId(partitions - 1)
        if hash_tag(bounds.prefix) is not None:  # all such keys have this tag, and lie in its partition
            self._first = self.last = partition_of(position(keyspace, bounds.prefix), partitions)
        if until is not None:
            self.last = min(self.last, until)

    def begin(self) -> Step | None:
        """None when no key can lie within the bounds."""
        return None if self._high and self._high <= self._low else Step(self._first, self._low)

    def resume(self, step: Step) -> Step | None:
        """Where a page begins whose cursor names `step`, which may be of other bounds: behind the end of
        these it is the next partition.  None at the end of the way."""
        if self.begin() is None:
            return None
        return self.after(step.partition) if self._high and step.key >= self._high else step

    def after(self, partition: PartitionId) -> Step | None:
        """Where the next partition begins; None after the last one."""
        return None if partition >= self.last else Step(PartitionId(partition + 1), self._low)

    def ahead(self, step: Step, most: int) -> Sequence[Step]:
        """This place, and where the next partitions begin: `most` in all, fewer at the end of the way."""
        last = min(step.partition + most - 1, self.last)
        later = range(step.partition + 1, last + 1)
        return [step, *(Step(PartitionId(partition), self._low) for partition in later)]

    def range_from(self, step: Step) -> KeyRange:
        """What is to be read there."""
        return KeyRange(step.partition, self._keyspace, max(step.key, self._low), self._high)

    def cursor(self, step: Step | None) -> bytes:
        """The place as clients are handed it; empty for none."""
        if step is None:
            return b""
        return encode_cursor(ScanCursor(self._keyspace, step.partition, step.key, self._bounds))


def walk_of(request: ScanRequest, keyspace: KeyspaceId, partitions: int) -> tuple[Walk, Step | None]:
    """The way of a request, and where its page begins.  Raises InvalidArgument."""
    if not request.cursor:
        for name, key in zip(ScanBounds._fields, request.bounds, strict=True):
            if len(key) > MAX_KEY_BYTES:
                raise InvalidArgument(f"{name} has {len(key)} bytes, the limit is {MAX_KEY_BYTES} bytes")
        walk = Walk(keyspace, request.bounds, partitions)
        return walk, walk.begin()
    if any(request.bounds):
        raise InvalidArgument("a cursor knows its prefix, start and end: give the cursor alone")
    cursor = decode_cursor(request.cursor)
    if cursor.keyspace != keyspace or cursor.partition >= partitions:
        raise InvalidArgument("the cursor is of another keyspace or cluster")
    walk = Walk(keyspace, cursor.bounds, partitions, request.until)
    return walk, walk.resume(Step(cursor.partition, cursor.key))


def _high(bounds: ScanBounds) -> bytes:
    """The first key behind both the prefix and the end; empty when there is none."""
    beyond = prefix_end(bounds.prefix) if bounds.prefix.rstrip(b"\xff") else b""
    if beyond and bounds.end:
        return min(beyond, bounds.end)
    return beyond or bounds.end
