"""The keys of a node's engine: the first byte of a stored key is its kind.

An object's key carries the copy that holds it (partition, and the epoch of the move that brought the data),
so that a copy is one key range: scanned, transferred and dropped as a whole, and never mixed with an
earlier copy of the same partition (rule M3).  Layout: docs/formats/stored_key.md.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId, keyspace_bytes

__all__ = [
    "COPY_PREFIX_BYTES",
    "KEYSPACE_PREFIX_BYTES",
    "Copy",
    "HintKey",
    "Kind",
    "Place",
    "copy_prefix",
    "hint_key",
    "hints_prefix",
    "keyspace_prefix",
    "kind_prefix",
    "meta_key",
    "parse_copy",
    "parse_hint_key",
    "parse_keyspace",
    "parse_object_key",
    "partition_prefix",
    "prefix_end",
    "registers_prefix",
]

_OBJECT: Final = struct.Struct(">BHQQI")  # kind, partition, copy epoch, keyspace epoch, keyspace ordinal
_REGISTER: Final = _OBJECT
_HINT: Final = struct.Struct(">BHQI")  # kind, partition, keyspace epoch, keyspace ordinal
_PARTITION: Final = struct.Struct(">BH")  # kind, partition
_COPY: Final = struct.Struct(">BHQ")  # kind, partition, copy epoch
_KEYSPACE: Final = struct.Struct(">QI")  # epoch, ordinal
COPY_PREFIX_BYTES: Final = _COPY.size
KEYSPACE_PREFIX_BYTES: Final = _KEYSPACE.size


class Kind(IntEnum):
    """First byte of a stored key."""

    META = 0x01
    OBJECT = 0x10
    REGISTER = 0x18
    HINT = 0x20


class Copy(NamedTuple):
    """One node's data of one partition, from the move that brought it to its drop."""

    partition: PartitionId
    copy_epoch: Epoch


class Place(NamedTuple):
    """Where one object lies on a node."""

    copy: Copy
    keyspace: KeyspaceId
    key: bytes

    @property
    def stored_key(self) -> bytes:
        return _objects_prefix(self.copy, self.keyspace) + self.key

    @property
    def register_key(self) -> bytes:
        """Where a register of this key lies, apart from the objects of its copy."""
        return _REGISTER.pack(Kind.REGISTER, *self.copy, *self.keyspace) + self.key


class HintKey(NamedTuple):
    """What a hint is about: it belongs to a key of a partition, not to a copy or a node."""

    partition: PartitionId
    keyspace: KeyspaceId
    key: bytes


@lru_cache(8192)
def _objects_prefix(copy: Copy, keyspace: KeyspaceId) -> bytes:
    """The prefix of the objects of a keyspace in a copy; cached, as every request needs one of a few."""
    return _OBJECT.pack(Kind.OBJECT, *copy, *keyspace)


def copy_prefix(copy: Copy) -> bytes:
    """The common prefix of all object keys of a copy."""
    return _COPY.pack(Kind.OBJECT, *copy)


def partition_prefix(partition: int) -> bytes:
    """The common prefix of all object keys of a partition's copies."""
    return _PARTITION.pack(Kind.OBJECT, partition)


def keyspace_prefix(keyspace: KeyspaceId) -> bytes:
    """What follows in the keys of all objects of a keyspace on the prefix of their copy."""
    return keyspace_bytes(keyspace)


def parse_keyspace(key: bytes) -> KeyspaceId:
    """The keyspace of a stored key without its copy's prefix."""
    return KeyspaceId(*_KEYSPACE.unpack_from(key))


def registers_prefix(copy: Copy) -> bytes:
    """The common prefix of all register keys of a copy."""
    return _COPY.pack(Kind.REGISTER, *copy)


def kind_prefix(kind: Kind) -> bytes:
    return bytes([kind])


def meta_key(name: str) -> bytes:
    """The key of one piece of the node's own state."""
    return kind_prefix(Kind.META) + name.encode()


def hint_key(hint: HintKey) -> bytes:
    return _HINT.pack(Kind.HINT, hint.partition, *hint.keyspace) + hint.key


def hints_prefix(partition: PartitionId) -> bytes:
    """The common prefix of all hints about keys of a partition."""
    return _PARTITION.pack(Kind.HINT, partition)


def parse_hint_key(stored: bytes) -> HintKey:
    _, partition, epoch, ordinal = _HINT.unpack_from(stored)
    return HintKey(PartitionId(partition), KeyspaceId(epoch, ordinal), stored[_HINT.size :])


def parse_copy(stored: bytes) -> Copy:
    """The copy of an object's key, or of the beginning of one."""
    _, partition, copy_epoch = _COPY.unpack_from(stored)
    return Copy(PartitionId(partition), Epoch(copy_epoch))


def parse_object_key(stored: bytes) -> Place:
    _, partition, copy_epoch, epoch, ordinal = _OBJECT.unpack_from(stored)
    copy = Copy(PartitionId(partition), Epoch(copy_epoch))
    return Place(copy, KeyspaceId(epoch, ordinal), stored[_OBJECT.size :])


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, whose last byte must not be 0xff alone."""
    trimmed = prefix.rstrip(b"\xff")
    assert trimmed, "a prefix of 0xff bytes has no end"
    return trimmed[:-1] + bytes([trimmed[-1] + 1])
