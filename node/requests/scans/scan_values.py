"""Requests and results of scans as the coordinator sees them: plain values, independent of the protocol."""

from __future__ import annotations

from typing import NamedTuple

from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import Sibling
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.scan_cursor import ScanBounds
from ringmill.node.requests.request_values import ANY_EPOCH

__all__ = ["HeldAt", "ScanRequest", "ScanResult", "ScannedKey"]


class HeldAt(NamedTuple):
    """A snapshot that owners hold for a job, and when it was taken: expiry is judged as of then."""

    name: str
    at_ms: int


class ScanRequest(NamedTuple):
    """One page, also of keys without a value where `deleted_too`.

    With a `cursor` it goes on there, and `bounds` are those of the cursor.  A `limit` of 0 is the largest
    there is.
    """

    keyspace: str
    bounds: ScanBounds = ScanBounds()
    cursor: bytes = b""
    limit: int = 0
    keys_only: bool = False
    deleted_too: bool = False
    options: ReadOptions = ReadOptions()
    epoch: Epoch = ANY_EPOCH
    left_s: float | None = None
    until: PartitionId | None = None  # the last partition; only with a cursor
    snapshot: HeldAt | None = None  # what is read in place of what owners hold now


class ScannedKey(NamedTuple):
    """As the result of a read: siblings newest first, `context` is the token of all that was read."""

    key: bytes
    siblings: tuple[Sibling, ...]
    context: bytes


class ScanResult(NamedTuple):
    """`cursor` is empty when this was the last page; `partition` is where it stands."""

    items: tuple[ScannedKey, ...]
    cursor: bytes
    is_weak: bool
    epoch: Epoch
    time: HybridTime
    partition: PartitionId
    partitions: int
    judged_at_ms: int = 0  # 0: nothing of it expires
