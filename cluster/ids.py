"""Names that must not mix: each id of the system is a type of its own.

Rules I1 to I6: docs/protocol/identity.md.  Nothing here knows how an id is made; that is Entropy's work.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple, NewType

__all__ = [
    "Actor",
    "ClusterId",
    "DiskId",
    "FIRST_EPOCH",
    "Epoch",
    "KeyspaceId",
    "NodeId",
    "PartitionId",
    "Position",
    "Start",
    "keyspace_bytes",
]

NodeId = NewType("NodeId", str)
"""A node's name, e.g. "n1": one process with one data folder."""

DiskId = NewType("DiskId", str)
"""Random name of a data folder, 32 hexadecimal digits."""

ClusterId = NewType("ClusterId", str)
"""Hash of the first topology document with this field empty, 32 hexadecimal digits."""

PartitionId = NewType("PartitionId", int)
"""Index of one of Q equal slices of the hash space, 0 to Q - 1."""

Position = NewType("Position", int)
"""A place on the hash circle, unsigned 64 bits."""

Epoch = NewType("Epoch", int)
FIRST_EPOCH: Final = Epoch(1)
"""Number of a topology document; 0 means that no topology is known."""

Actor = NewType("Actor", str)
"""Name of one copy's writer in dots, of one start: "node#start.boot", e.g. "n1#7.9f31c0aa52"."""


class KeyspaceId(NamedTuple):
    """A keyspace, named by the epoch that made it and its ordinal there; never by its (reusable) name."""

    epoch: int
    ordinal: int


_KEYSPACE: Final = struct.Struct(">QI")


@lru_cache(1024)
def keyspace_bytes(keyspace: KeyspaceId) -> bytes:
    """Its 12 bytes in stored keys, and before a key that is hashed: epoch and ordinal, big endian."""
    return _KEYSPACE.pack(*keyspace)


class Start(NamedTuple):
    """One run of a node on its disk: a number raised and synced at every start, and a random boot id."""

    number: int
    boot: str
