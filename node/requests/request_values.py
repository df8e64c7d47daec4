"""Requests and results as the coordinator sees them: plain values, independent of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId, Position
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import LoneValue
from ringmill.cluster.versions.objects import OperationId, Sibling
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions

ANY_EPOCH: Final = Epoch(0)

__all__ = [
    "Located",
    "LocateRequest",
    "LoneResult",
    "OwnerAnswer",
    "ReadRequest",
    "ReadResult",
    "WatchRequest",
    "WriteRequest",
]


class WriteRequest(NamedTuple):
    """A put, with value None a delete, or a touch, whose value its coordinator finds.

    Of an `entry` of the value, or an `amount` to add, where the keyspace has such values
    (node/requests/updates.py).
    `epoch` is the topology by which the client routed, 0 when it knows none.  `left_s` is how long its caller
    still waits in seconds, None if unknown.  `encoded` is the message it came in; empty when there was none
    or the request was changed since.  `wanted` is the keyspace of that name that it is for; None: any.
    """

    keyspace: str
    key: bytes
    value: bytes | None
    options: WriteOptions = WriteOptions()
    operation: OperationId | None = None
    epoch: Epoch = ANY_EPOCH
    attempt: int = 0
    is_forwarded: bool = False
    left_s: float | None = None
    encoded: bytes = b""
    entry: bytes = b""
    amount: int = 0
    is_touch: bool = False
    wanted: KeyspaceId | None = None

    @property
    def verb(self) -> str:
        if self.is_touch:
            return "touch"
        return "delete" if self.value is None else "put"


class ReadRequest(NamedTuple):
    keyspace: str
    key: bytes
    options: ReadOptions = ReadOptions()
    epoch: Epoch = ANY_EPOCH
    left_s: float | None = None


class WatchRequest(NamedTuple):
    """`after` is the context token of what the caller has seen, b"" for nothing; `connection` is whose limit
    it counts for."""

    keyspace: str
    key: bytes
    after: bytes = b""
    options: ReadOptions = ReadOptions()
    epoch: Epoch = ANY_EPOCH
    left_s: float | None = None
    connection: str = ""


class ReadResult(NamedTuple):
    """`siblings` are newest first, empty when the key is not found; `context` is the token of all that was
    read; `judged_at_ms` is the cluster's time by which it was judged what has expired; reads of a key that
    `is_hot` are to be spread over its owners (rule G7)."""

    siblings: tuple[Sibling, ...]
    context: bytes
    answered: tuple[NodeId, ...]
    repaired: int
    is_weak: bool
    epoch: Epoch
    time: HybridTime
    judged_at_ms: int = 0  # 0: nothing of it expires
    is_hot: bool = False


class LoneResult(NamedTuple):
    """A ReadResult of one value that never expires and on which all agree, as nearly every read finds it.  No
    sibling is made of the value."""

    value: LoneValue
    context: bytes
    answered: tuple[NodeId, ...]
    is_weak: bool
    epoch: Epoch
    time: HybridTime
    is_hot: bool


@dataclass(frozen=True, slots=True)
class LocateRequest:
    keyspace: str
    key: bytes


@dataclass(frozen=True, slots=True)
class OwnerAnswer:
    """One owner's own copy of a key; `error` says why there is no answer."""

    node: NodeId
    state: str
    dots: tuple[str, ...] = ()
    is_same: bool = False
    error: str = ""
    tombstones: tuple[bool, ...] = ()  # of each dot
    expires_at_ms: tuple[int, ...] = ()  # of each dot; 0: never


@dataclass(frozen=True, slots=True)
class Located:
    position: Position
    partition: PartitionId
    epoch: Epoch
    owners: tuple[OwnerAnswer, ...]
    fallbacks: tuple[NodeId, ...]
