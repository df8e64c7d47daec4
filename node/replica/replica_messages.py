"""The messages between replicas about objects: apply or read one or many, read a digest, deliver hints.

Frozen values, encoded once as msgpack arrays; the frame around them carries version and checksum.  Every
request carries the epoch it was made under and the keyspace's id, every answer the row epoch it was given
under.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Final, NamedTuple

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.node.replica.packing import check_column, check_fields, pack, unpack

__all__ = [
    "APPLY", "APPLY_MANY", "DELIVER", "DIGEST", "MOST_TOGETHER", "READ", "READ_MANY", "Apply", "ApplyAnswer",
    "ApplyMany", "ApplyManyAnswer", "Deliver", "DeliverAnswer", "DigestAnswer", "HintItem", "Read",
    "ReadAnswer", "ReadMany", "ReadManyAnswer",
]  # fmt: skip

APPLY: Final = "replica.apply"
APPLY_MANY: Final = "replica.apply_many"
"""APPLY for many objects; what has to wait for something is to be sent alone."""
READ: Final = "replica.read"
DIGEST: Final = "replica.digest"
"""Asks for an object; a large one is answered by its digest."""
READ_MANY: Final = "replica.read_many"
"""READ for many keys; what is large or has to wait for something is to be asked for alone."""
MOST_TOGETHER: Final = 16
"""Keys of a READ_MANY or APPLY_MANY: more would save little, and make a frame of them a long turn."""
DELIVER: Final = "hint.deliver"

_APPLY: Final = (int, int, int, bytes, str, bytes)
_APPLY_ANSWER: Final = (int, str, int)
_APPLY_MANY: Final = (int, int, int, str, list, list)
_APPLY_MANY_ANSWER: Final = (list, str, int)
_READ: Final = (int, int, int, bytes)
_READ_ANSWER: Final = (int, bytes)
_READ_MANY: Final = (int, int, int, list)
_READ_MANY_ANSWER: Final = (list, list, list)
_DIGEST_ANSWER: Final = (int, bytes, int, int)
_FOUR_FIELDS: Final = b"\x94"
_READ_ANSWER_WITH_MARK: Final = (int, bytes, int)
_THREE_FIELDS: Final = b"\x93"
_DURABILITIES: Final = {durability.value: durability for durability in Durability}


class Apply(NamedTuple):
    """Asks an owner to merge this object into its copy and to hold it with this durability."""

    epoch: Epoch
    keyspace: KeyspaceId
    key: bytes
    durability: Durability
    encoded: bytes  # docs/formats/object.md

    def encode(self) -> bytes:
        return pack((self.epoch, *self.keyspace, self.key, self.durability, self.encoded))

    @classmethod
    def decode(cls, body: bytes) -> Apply:
        epoch, made, ordinal, key, durability, encoded = unpack(body, _APPLY)
        return cls(epoch, KeyspaceId(made, ordinal), key, _durability(durability), encoded)


class ApplyAnswer(NamedTuple):
    """The object is held with this durability; `time` is the replica's hybrid time."""

    row_epoch: Epoch
    durability: Durability
    time: HybridTime

    def encode(self) -> bytes:
        return pack([self.row_epoch, self.durability.value, self.time])

    @classmethod
    def decode(cls, body: bytes) -> ApplyAnswer:
        row_epoch, durability, time = unpack(body, _APPLY_ANSWER)
        return cls(row_epoch, _durability(durability), time)


class ApplyMany(NamedTuple):
    """Asks for the same of each of these objects."""

    epoch: Epoch
    keyspace: KeyspaceId
    durability: Durability
    keys: list[bytes]
    encoded: list[bytes]

    def encode(self) -> bytes:
        return pack((self.epoch, *self.keyspace, self.durability, self.keys, self.encoded))

    @classmethod
    def decode(cls, body: bytes) -> ApplyMany:
        epoch, made, ordinal, durability, keys, encoded = unpack(body, _APPLY_MANY)
        _check_keys(keys)
        check_column(encoded, bytes)
        if len(encoded) != len(keys):
            raise ProtocolMismatch(f"a message about {len(keys)} keys has {len(encoded)} objects")
        return cls(epoch, KeyspaceId(made, ordinal), _durability(durability), keys, encoded)


class ApplyManyAnswer(NamedTuple):
    """The objects are held with this durability, but for those whose row epoch is 0: they are to be sent
    alone.  `time` is the replica's hybrid time."""

    row_epochs: list[Epoch]
    durability: Durability
    time: HybridTime

    def encode(self) -> bytes:
        return pack((self.row_epochs, self.durability, self.time))

    @classmethod
    def decode(cls, body: bytes, keys: int) -> ApplyManyAnswer:
        """Decode the answer to a message with this number of keys."""
        row_epochs, durability, time = unpack(body, _APPLY_MANY_ANSWER)
        check_column(row_epochs, int)
        if len(row_epochs) != keys:
            raise ProtocolMismatch(f"an answer about {keys} keys tells of {len(row_epochs)}")
        return cls(row_epochs, _durability(durability), time)


class Read(NamedTuple):
    """Asks an owner what it holds of a key."""

    epoch: Epoch
    keyspace: KeyspaceId
    key: bytes

    def encode(self) -> bytes:
        return pack([self.epoch, *self.keyspace, self.key])

    @classmethod
    def decode(cls, body: bytes) -> Read:
        epoch, made, ordinal, key = unpack(body, _READ)
        return cls(epoch, KeyspaceId(made, ordinal), key)


class ReadAnswer(NamedTuple):
    """The bytes of the object, durable on the replica; empty when nothing was ever written there, or all of
    it was deleted and forgotten: at or below `watermark` that may be so (rule P3).  0 is not in
    the message."""

    row_epoch: Epoch
    encoded: bytes
    watermark: HybridTime = ZERO

    def encode(self) -> bytes:
        if self.watermark:
            return pack([self.row_epoch, self.encoded, self.watermark])
        return pack([self.row_epoch, self.encoded])

    @classmethod
    def decode(cls, body: bytes) -> ReadAnswer:
        types = _READ_ANSWER_WITH_MARK if body[:1] == _THREE_FIELDS else _READ_ANSWER
        row_epoch, encoded, *watermark = unpack(body, types)
        return cls(row_epoch, encoded, *watermark)


class ReadMany(NamedTuple):
    """Asks an owner what it holds of each of these keys."""

    epoch: Epoch
    keyspace: KeyspaceId
    keys: list[bytes]

    def encode(self) -> bytes:
        return pack([self.epoch, *self.keyspace, self.keys])

    @classmethod
    def decode(cls, body: bytes) -> ReadMany:
        epoch, made, ordinal, keys = unpack(body, _READ_MANY)
        _check_keys(keys)
        return cls(epoch, KeyspaceId(made, ordinal), keys)


class ReadManyAnswer(NamedTuple):
    """What a ReadAnswer tells, a list of each field, in the order of the keys.  `encoded` None: this one has
    to be asked for alone."""

    row_epochs: list[Epoch]
    encoded: list[bytes | None]
    watermarks: list[HybridTime]

    @classmethod
    def alone(cls, keys: int) -> ReadManyAnswer:
        """Each is to be asked for alone."""
        return cls([Epoch(0)] * keys, [None] * keys, [ZERO] * keys)

    def encode(self) -> bytes:
        return pack(self)

    @classmethod
    def decode(cls, body: bytes, keys: int) -> ReadManyAnswer:
        """Decode the answer to a message with this number of keys."""
        answer = cls(*unpack(body, _READ_MANY_ANSWER))
        row_epochs, encoded, watermarks = answer
        if not len(row_epochs) == len(encoded) == len(watermarks) == keys:
            raise ProtocolMismatch(f"an answer about {keys} keys has {len(encoded)} objects")
        check_column(row_epochs, int)
        check_column(encoded, bytes, NoneType)
        check_column(watermarks, int)
        return answer


class DigestAnswer(NamedTuple):
    """The digest of an object (cluster/versions/digests.py) and its size, durable on the replica."""

    row_epoch: Epoch
    digest: bytes
    size_bytes: int
    watermark: HybridTime = ZERO  # as in a ReadAnswer

    def encode(self) -> bytes:
        return pack([self.row_epoch, self.digest, self.size_bytes, self.watermark])

    @classmethod
    def is_one(cls, body: bytes) -> bool:
        """Whether an answer is this and not a ReadAnswer."""
        return body[:1] == _FOUR_FIELDS

    @classmethod
    def decode(cls, body: bytes) -> DigestAnswer:
        row_epoch, digest, size_bytes, watermark = unpack(body, _DIGEST_ANSWER)
        return cls(row_epoch, digest, size_bytes, HybridTime(watermark))


@dataclass(frozen=True, slots=True)
class HintItem:
    keyspace: KeyspaceId
    key: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """Delivers hints to their target, or what comparing has found that it lacks.

    `attempt` is the one to prove a watermark whose exchange it belongs to (rule P2); "", as of a hint, is not
    in the message.
    """

    epoch: Epoch
    items: tuple[HintItem, ...]
    attempt: str = ""

    def encode(self) -> bytes:
        items = [[*item.keyspace, item.key, item.encoded] for item in self.items]
        return pack([self.epoch, items, self.attempt] if self.attempt else [self.epoch, items])

    @classmethod
    def decode(cls, body: bytes) -> Deliver:
        has_attempt = body[:1] == _THREE_FIELDS
        epoch, rows, *attempt = unpack(body, (int, list, str) if has_attempt else (int, list))
        items = [check_fields(row, (int, int, bytes, bytes)) for row in rows]
        return cls(
            Epoch(epoch),
            tuple(HintItem(KeyspaceId(made, ordinal), key, encoded) for made, ordinal, key, encoded in items),
            *attempt,
        )


@dataclass(frozen=True, slots=True)
class DeliverAnswer:
    """For each item in order: "" when it is now on the disk, else why it was refused."""

    refusals: tuple[str, ...]

    def encode(self) -> bytes:
        return pack(list(self.refusals))

    @classmethod
    def decode(cls, body: bytes, items: int) -> DeliverAnswer:
        """Decode the answer to a message with this number of items."""
        return cls(tuple(unpack(body, (str,) * items)))


def _check_keys(keys: list[bytes]) -> None:
    if not 0 < len(keys) <= MOST_TOGETHER:
        raise ProtocolMismatch(f"a message has {len(keys)} keys, the limit is {MOST_TOGETHER}")
    check_column(keys, bytes)


def _durability(text: str) -> Durability:
    """Raises ProtocolMismatch."""
    durability = _DURABILITIES.get(text)
    if durability is None:
        raise ProtocolMismatch(f"{text[:40]!r} is not a durability")
    return durability
