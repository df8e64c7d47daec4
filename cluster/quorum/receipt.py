"""The receipt of a write: what was written, and who held it how firmly when the answer was given (rule
W2)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import HybridTime

__all__ = ["Durability", "QuorumReceipt", "QuorumAck", "Role", "parse_durability"]


class Durability(StrEnum):
    """How durably a replica holds a write, from weak to strong."""

    MEMORY = "memory"  # in the replica's memory; a killed process forgets it
    BUFFERED = "buffered"  # handed to the operating system; a power cut forgets it
    SYNCED = "synced"  # on the disk


_ASKED: Final = {
    "": Durability.SYNCED,
    "synced": Durability.SYNCED,
    "sync": Durability.SYNCED,
    "buffered": Durability.BUFFERED,
    "memory": Durability.MEMORY,
}


def parse_durability(text: str) -> Durability:
    """The durability that a request asks for.  Raises InvalidArgument."""
    if text not in _ASKED:
        raise InvalidArgument(f"{text[:40]!r} is not a durability", hint="use synced, buffered or memory")
    return _ASKED[text]


class Role(StrEnum):
    """The role in which a node acked a write."""

    OWNER = "owner"
    HINTED = "hinted"  # the coordinator keeps a hint for this owner
    FALLBACK = "fallback"  # stands in for an owner, with a hint that counts (rule W7)


class QuorumAck(NamedTuple):
    node: NodeId
    role: Role
    durability: Durability
    stands_for: NodeId | str = ""  # the owner, of a fallback


class QuorumReceipt(NamedTuple):
    """`context` is a token, empty unless the written value is the only sibling left: a vector cannot say
    "mine, but not those before it".  `is_weak`: fewer owners than the keyspace's own W are known to hold
    it."""

    dot: Dot
    context: bytes
    time: HybridTime
    epoch: Epoch
    w: int
    replicas: tuple[QuorumAck, ...]
    is_weak: bool
