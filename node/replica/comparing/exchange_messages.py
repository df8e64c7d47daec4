"""What two owners of a partition tell each other to find and mend what differs between their copies.

Roots first, for many partitions at a time; sums of a partition whose roots differ; then, for the leaves that
differ, the names of one side's objects in a key range.  The other answers with the objects of keys that are
not among them, and with the contexts of those that are there with another object: only who has to merge gets
the object.  Those are read like a client's, and what the second lacks is delivered like hints (rule H10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.object_codec import decode_vector
from ringmill.node.replica.comparing.copy_sums import GROUPS, LEAVES, SUM_BYTES
from ringmill.node.replica.packing import check_fields, pack, unpack

__all__ = [
    "DIFFER",
    "DIFFERENCE",
    "EQUAL",
    "HASH_BYTES",
    "NAME_BYTES",
    "ROOTS",
    "SUMS",
    "UNTOLD",
    "AskDifference",
    "AskRoots",
    "AskSums",
    "Difference",
    "RootOf",
    "Verdicts",
    "Sums",
]

ROOTS: Final = "replica.roots"
SUMS: Final = "replica.sums"
DIFFERENCE: Final = "replica.difference"
HASH_BYTES: Final = 8
NAME_BYTES: Final = 12
"""The name of an object in a unit: its hash, and four bytes of the hash of its key, to know another object of
that key."""

UNTOLD: Final = 0  # the owner cannot tell now: not counted yet, damaged, or no owner under this row
EQUAL: Final = 1
DIFFER: Final = 2


@dataclass(frozen=True, slots=True)
class RootOf:
    """The root of one partition's copy, durable where it comes from."""

    partition: PartitionId
    row_epoch: Epoch
    root: bytes


@dataclass(frozen=True, slots=True)
class AskRoots:
    epoch: Epoch
    roots: tuple[RootOf, ...]

    def encode(self) -> bytes:
        return pack([self.epoch, [[one.partition, one.row_epoch, one.root] for one in self.roots]])

    @classmethod
    def decode(cls, body: bytes) -> AskRoots:
        epoch, rows = unpack(body, (int, list))
        fields = [check_fields(row, (int, int, bytes)) for row in rows]
        roots = tuple(RootOf(PartitionId(number), Epoch(made), root) for number, made, root in fields)
        return cls(Epoch(epoch), roots)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One of EQUAL, DIFFER and UNTOLD for each root, in order."""

    each: bytes

    def encode(self) -> bytes:
        return pack([self.each])

    @classmethod
    def decode(cls, body: bytes, roots: int) -> Verdicts:
        (each,) = unpack(body, (bytes,))
        return cls(_sized(each, roots))


@dataclass(frozen=True, slots=True)
class AskSums:
    """Asks for the sums of the leaves of some groups; of no groups: for one sum of each group."""

    epoch: Epoch
    partition: PartitionId
    groups: bytes = b""

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.groups])

    @classmethod
    def decode(cls, body: bytes) -> AskSums:
        epoch, partition, groups = unpack(body, (int, int, bytes))
        if len(groups) > GROUPS or any(group >= GROUPS for group in groups):
            raise ProtocolMismatch(f"sums of {len(groups)} groups are asked for, there are {GROUPS}")
        return cls(Epoch(epoch), PartitionId(partition), groups)


@dataclass(frozen=True, slots=True)
class Sums:
    row_epoch: Epoch
    sums: bytes

    def encode(self) -> bytes:
        return pack([self.row_epoch, self.sums])

    @classmethod
    def decode(cls, body: bytes, sums: int) -> Sums:
        row_epoch, each = unpack(body, (int, bytes))
        return cls(Epoch(row_epoch), _sized(each, sums * SUM_BYTES))


@dataclass(frozen=True, slots=True)
class AskDifference:
    """The names of all objects that the asker holds in these leaves, with keys in [start, end).

    Keys are stored keys without their copy's prefix; an empty end has no bound.
    """

    epoch: Epoch
    partition: PartitionId
    leaves: bytes  # a bit for each leaf, the lowest of a byte first
    start: bytes
    end: bytes
    names: bytes

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.leaves, self.start, self.end, self.names])

    @classmethod
    def decode(cls, body: bytes) -> AskDifference:
        fields = unpack(body, (int, int, bytes, bytes, bytes, bytes))
        epoch, partition, leaves, start, end, names = fields
        if len(names) % NAME_BYTES:
            raise ProtocolMismatch(f"{len(names)} bytes of names of {NAME_BYTES} bytes")
        _sized(leaves, LEAVES // 8)
        return cls(Epoch(epoch), PartitionId(partition), leaves, start, end, names)


@dataclass(frozen=True, slots=True)
class Difference:
    """What stands beside the asker's names, of keys from its start up to `covered_to`, empty for its end."""

    row_epoch: Epoch
    items: tuple[tuple[bytes, bytes], ...]  # objects of keys that it did not name
    contexts: tuple[tuple[bytes, VersionVector], ...]  # of other objects under keys that it named
    lacking: bytes  # a bit for each name that stands for no object here
    covered_to: bytes

    def encode(self) -> bytes:
        items = [list(item) for item in self.items]
        contexts = [[key, context.entries] for key, context in self.contexts]
        return pack([self.row_epoch, items, contexts, self.lacking, self.covered_to])

    @classmethod
    def decode(cls, body: bytes, names: int) -> Difference:
        row_epoch, items, contexts, lacking, covered_to = unpack(body, (int, list, list, bytes, bytes))
        objects = [check_fields(row, (bytes, bytes)) for row in items]
        seen = [check_fields(row, (bytes, list)) for row in contexts]
        _sized(lacking, (names + 7) // 8)
        try:
            vectors = tuple((key, decode_vector(pairs)) for key, pairs in seen)
        except (ValueError, TypeError) as error:
            raise ProtocolMismatch(f"a context of a message does not decode: {error}") from error
        return cls(
            Epoch(row_epoch), tuple((key, encoded) for key, encoded in objects), vectors, lacking, covered_to
        )


def _sized(data: bytes, size_bytes: int) -> bytes:
    """Raises ProtocolMismatch."""
    if len(data) != size_bytes:
        raise ProtocolMismatch(f"a message has {len(data)} bytes where {size_bytes} belong")
    return data
