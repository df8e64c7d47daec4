"""Where a key lies on the hash circle, and which partition that is.

Pure.  The result must never change, because stored data would become unreachable.
See: docs/architecture.md, "Placement"; docs/formats/topology.md, "Positions".
"""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_64_intdigest

from ringmill.cluster.ids import KeyspaceId, PartitionId, Position, keyspace_bytes

__all__ = [
    "MAX_PARTITIONS",
    "MIN_PARTITIONS",
    "bits_below",
    "hash_tag",
    "partition_of",
    "partition_start",
    "position",
]

MIN_PARTITIONS: Final = 16
MAX_PARTITIONS: Final = 4096


def position(keyspace: KeyspaceId, key: bytes) -> Position:
    """The place of a key: xxh3_64 of keyspace id (12 bytes, big-endian) and key.

    A key that contains `{tag}` has the position of its tag in every keyspace, so that related keys of several
    keyspaces share a partition.
    """
    if b"{" in key and (tag := hash_tag(key)) is not None:
        return Position(xxh3_64_intdigest(tag))
    return Position(xxh3_64_intdigest(keyspace_bytes(keyspace) + key))


def hash_tag(key: bytes) -> bytes | None:
    """The text between the first `{` and the next `}`; None when there is no such pair or it is empty."""
    start = key.find(b"{")
    if start < 0:
        return None
    end = key.find(b"}", start + 1)
    return key[start + 1 : end] if end > start + 1 else None


def partition_of(position: Position, partitions: int) -> PartitionId:
    """The slice of the circle that holds `position`: its top bits, as `partitions` is a power of two."""
    return PartitionId(position >> bits_below(partitions))


def bits_below(partitions: int) -> int:
    """How many bits of a position tell where in its partition it is."""
    return 65 - partitions.bit_length()


def partition_start(partition: PartitionId, partitions: int) -> Position:
    """The first position of a partition."""
    return Position(partition << bits_below(partitions))
