"""The message to a fallback, a member that stands in for an owner: keep this object as its hint.

What a fallback holds of a key is asked for by a Read and told by a ReadAnswer (replica_messages.py).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.replica.packing import pack, unpack

__all__ = ["KEEP_HINT", "READ_HINT", "KeepHint", "KeepHintAnswer"]

KEEP_HINT: Final = "hint.keep"
READ_HINT: Final = "hint.read"

_KEEP: Final = (int, int, int, bytes, str, bytes)
_KEEP_ANSWER: Final = (int, int)


class KeepHint(NamedTuple):
    """Asks a member that is no owner to keep an object for this owner, on its disk."""

    epoch: Epoch
    keyspace: KeyspaceId
    key: bytes
    owner: NodeId
    encoded: bytes  # docs/formats/object.md

    def encode(self) -> bytes:
        return pack([self.epoch, *self.keyspace, self.key, self.owner, self.encoded])

    @classmethod
    def decode(cls, body: bytes) -> KeepHint:
        epoch, made, ordinal, key, owner, encoded = unpack(body, _KEEP)
        return cls(epoch, KeyspaceId(made, ordinal), key, NodeId(owner), encoded)


class KeepHintAnswer(NamedTuple):
    """The hint is on the disk; `time` is the fallback's hybrid time."""

    row_epoch: Epoch
    time: HybridTime

    def encode(self) -> bytes:
        return pack([self.row_epoch, self.time])

    @classmethod
    def decode(cls, body: bytes) -> KeepHintAnswer:
        row_epoch, time = unpack(body, _KEEP_ANSWER)
        return cls(row_epoch, time)
