"""The values that reads and writes return: items, receipts, locations, contexts.

Plain values without a connection.  `receipt_from`, `item_of` and `location_of` make them from answers;
loading this module does not load protobuf.  Each value has a `to_dict()` with JSON values.  Words:
docs/glossary.md ("context", "receipt", "sibling").
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ringmill.cluster.errors import InvalidArgument, UnresolvedSiblings
from ringmill.cluster.wire.token_text import parsed_token, token_text

if TYPE_CHECKING:
    from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse, LocateResponse, WriteReceipt

__all__ = [
    "EMPTY",
    "CausalContext",
    "KeyChange",
    "Item",
    "Location",
    "OwnerCopy",
    "PrefixChange",
    "Receipt",
    "ReplicaAck",
    "item_of",
    "json_bytes",
    "location_of",
    "receipt_from",
    "ttl_left_s",
]


SMALL_BYTES: Final = 1024
"""The longest answer that an item keeps until somebody looks at more than its values."""


@dataclass(frozen=True, slots=True)
class CausalContext:
    """The causal context of a read: pass it to the write that replaces what was read.

    With `EMPTY` a write replaces nothing and adds a sibling.  Without any context a write overwrites what its
    coordinator knows.
    """

    token: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.token, bytes):
            raise InvalidArgument(
                f"the token of a context is of type {type(self.token).__name__}; it must be bytes",
                hint="CausalContext.parse accepts its text",
            )

    @property
    def text(self) -> str:
        """The token as text: base64url without padding."""
        return token_text(self.token)

    @classmethod
    def parse(cls, text: str) -> CausalContext:
        """The context with this `text`.  Raises InvalidArgument when it is empty or not base64url."""
        try:
            token = parsed_token(text)
        except InvalidArgument as error:
            raise InvalidArgument(f"context {text!r} is {error.message}") from error
        if not token:
            raise InvalidArgument(
                "the context is empty",
                hint="use --no-context (context=EMPTY) to add a sibling without reading",
            )
        return cls(token)

    def to_dict(self) -> dict[str, str]:
        """{"context": text}; `parse` accepts the text."""
        return {"context": self.text}

    def __repr__(self) -> str:
        return f"CausalContext({self.text!r})" if self.token else "EMPTY"


EMPTY = CausalContext(b"")
"""The empty context: `put(key, value, context=EMPTY)` adds a sibling and replaces nothing."""


class _Unread:
    """What came in an answer that nobody has looked into yet.

    Its fields are made together when the first of them is looked at, by any thread, but for those that nearly
    everybody looks at.  Until then it keeps the bytes of the answer, which are smaller than a message.
    Comparing, hashing, printing, copying and pickling look at fields, so they tell no difference.
    """

    __slots__ = ("_encoded",)

    if not TYPE_CHECKING:  # it would let a type checker take any name

        def __getattr__(self, name: str) -> object:
            """Called for a field that is not made yet, and for names that are no fields."""
            if name not in self.__match_args__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if (encoded := self._encoded) is not None:  # another thread may have been first
                _set_fields(self, self._fields_in(encoded))
                object.__setattr__(self, "_encoded", None)
            return object.__getattribute__(self, name)


@dataclass(frozen=True, slots=True)
class Item(_Unread):
    """The content of a key: one value, or several unresolved siblings.

    `siblings`, `dots` and `expiries` have the same order, newest write first by hybrid time.  A write with
    `context` replaces all of them.  An expiry is in seconds since 1970, or None for a value that does not
    expire.  `ttls` are the seconds that each had left when it was read, by the clock of the cluster, which
    may differ from this machine's.
    """

    siblings: tuple[bytes, ...]
    context: CausalContext
    dots: tuple[str, ...]
    answered: tuple[str, ...] = ()
    repaired: int = 0
    weak: bool = False
    epoch: int = 0
    expiries: tuple[float | None, ...] = ()
    ttls: tuple[float | None, ...] = ()

    @staticmethod
    def _fields_in(encoded: bytes) -> tuple[object, ...]:
        """What the bytes of an answer hold, in the order of the fields."""
        return _item_fields(_answer_types()[0].FromString(encoded))

    @property
    def conflict(self) -> bool:
        """Whether there are several values."""
        return len(self.siblings) > 1

    @property
    def value(self) -> bytes:
        """The one value.  Raises UnresolvedSiblings when there are several."""
        return self.one()

    @property
    def newest(self) -> bytes:
        """The value with the newest hybrid time, even if it has siblings."""
        return self.siblings[0]

    @property
    def expires_at(self) -> float | None:
        """When the newest value expires, in seconds since 1970 like time.time(); None for never."""
        return self.expiries[0] if self.expiries else None

    @property
    def ttl(self) -> float | None:
        """The seconds that the newest value had left when it was read; None when it never expires."""
        return self.ttls[0] if self.ttls else None

    def one(self, merge: Callable[[Sequence[bytes]], bytes] | None = None) -> bytes:
        """The one value; if there are several, the result of `merge`, which gets them newest first.

        This writes nothing: put the result with this item's `context` to resolve the siblings.  Raises
        UnresolvedSiblings when there are several values and no `merge`.
        """
        if len(self.siblings) == 1:
            return self.siblings[0]
        if merge is not None:
            return merge(self.siblings)
        raise UnresolvedSiblings(
            f"the key holds {len(self.siblings)} values: concurrent writes that nobody has resolved",
            detail={"siblings": len(self.siblings), "dots": list(self.dots)},
            hint="item.siblings has all of them, item.newest the newest; "
            "put the merged value with context=item.context to leave one",
        )

    def to_dict(self) -> dict[str, object]:
        """The item as JSON values.

        `value` is None when there are several; bytes that are not UTF-8 are base64 under `value_b64`.
        """
        value: dict[str, object] = {"value": None} if self.conflict else {**json_bytes("value", self.value)}
        return {
            **value,
            "conflict": self.conflict,
            "siblings": [json_bytes("value", each) for each in self.siblings],
            "context": self.context.text,
            "dots": list(self.dots),
            "expires_at": self.expires_at,
            "ttl": self.ttl,
            "answered": list(self.answered),
            "repaired": self.repaired,
            "weak": self.weak,
            "epoch": self.epoch,
        }


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a watch has found a key to hold: `item` is None when the key was deleted, or has expired.

    `context` is the cursor: a watch `after` it goes on with what comes next.
    """

    key: bytes
    item: Item | None
    context: CausalContext

    @property
    def is_deleted(self) -> bool:
        """Whether the key has no value any more."""
        return self.item is None

    def to_dict(self) -> dict[str, object]:
        """JSON values: what `Item.to_dict` has, and the key, and whether it was deleted."""
        shown = {} if self.item is None else self.item.to_dict()
        return {
            **json_bytes("key", self.key),
            "deleted": self.is_deleted,
            **shown,
            "context": self.context.text,
        }


@dataclass(frozen=True, slots=True)
class PrefixChange(KeyChange):
    """A change of one key of a prefix, by `watch_prefix`.

    `cursor` is where another watch goes on (`after=`): it tells again what had not been told by then.
    `context` is that of the key.
    """

    cursor: str = ""

    def to_dict(self) -> dict[str, object]:
        """JSON values: what `KeyChange.to_dict` has, and the cursor."""
        return {**KeyChange.to_dict(self), "cursor": self.cursor}


@dataclass(frozen=True, slots=True)
class ReplicaAck:
    """One node's ack of a write: role owner, hinted or fallback; durability memory, buffered or synced.

    A fallback `stands_for` an owner that could not be reached, and brings it the write.
    """

    node: str
    role: str
    durability: str
    stands_for: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON values; `stands_for` of a fallback only."""
        document = {
            "node": self.node,
            "role": self.role,
            "durability": self.durability,
            "stands_for": self.stands_for,
        }
        return {name: text for name, text in document.items() if text}


@dataclass(frozen=True, slots=True)
class Receipt(_Unread):
    """The answer to a write.

    `context` is None while other siblings remain: read the key and resolve them.
    """

    dot: str
    context: CausalContext | None
    epoch: int
    w: int
    replicas: tuple[ReplicaAck, ...]
    weak: bool = False
    hybrid_time: int = 0

    @staticmethod
    def _fields_in(encoded: bytes) -> tuple[object, ...]:
        """What the bytes of an answer hold, in the order of the fields."""
        message = _answer_types()[1].FromString(encoded)
        acks = [_ack(ack.node, ack.role, ack.durability, ack.stands_for) for ack in message.replicas]
        return (
            message.dot,
            CausalContext(message.context) if message.context else None,
            message.epoch,
            message.w,
            tuple(acks),
            message.weak,
            message.hybrid_time,
        )

    def to_dict(self) -> dict[str, object]:
        """The receipt as JSON values; `context` is its text."""
        return {
            "dot": self.dot,
            "context": self.context.text if self.context else None,
            "epoch": self.epoch,
            "w": self.w,
            "weak": self.weak,
            "replicas": [ack.to_dict() for ack in self.replicas],
            "hybrid_time": self.hybrid_time,
        }


@dataclass(frozen=True, slots=True)
class OwnerCopy:
    """One owner's copy of a key, newest write first; `same` says that it equals the merge of all answers.

    Each dot comes with a tombstone flag and an expiry in milliseconds since 1970 (0: never).
    """

    node: str
    state: str
    dots: tuple[str, ...]
    same: bool
    answered: bool
    error: str = ""
    tombstones: tuple[bool, ...] = ()
    expires_at_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a key: its position on the hash circle, its owners in ring order, the fallbacks after
    them."""

    position: int
    partition: int
    epoch: int
    owners: tuple[OwnerCopy, ...]
    fallbacks: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "position": self.position,
            "partition": self.partition,
            "epoch": self.epoch,
            "owners": [_with_lists(asdict(owner)) for owner in self.owners],
            "fallbacks": list(self.fallbacks),
        }


@lru_cache(1)
def _answer_types() -> tuple[type[GetResponse], type[WriteReceipt]]:
    from ringmill.cluster.wire.stubs import kv_pb2  # noqa: PLC0415 - whoever has an answer has loaded it

    return kv_pb2.GetResponse, kv_pb2.WriteReceipt


def _set_fields(value: object, fields: tuple[object, ...]) -> None:
    for name, field in zip(type(value).__match_args__, fields, strict=True):  # type: ignore[attr-defined]
        object.__setattr__(value, name, field)


@lru_cache(256)
def _ack(node: str, role: str, durability: str, stands_for: str) -> ReplicaAck:
    """An ack; nearly all receipts share the same few."""
    return ReplicaAck(node, role, durability, stands_for)


def receipt_from(message: WriteReceipt) -> Receipt:
    """The receipt of an answer.  Many programs look at none of its fields: they are made when one does."""
    receipt = object.__new__(Receipt)
    object.__setattr__(receipt, "_encoded", message.SerializeToString())
    return receipt


def item_of(message: GetResponse) -> Item | None:
    """The item of an answer; None when the key has no value.

    Of a small one only the values are made; those of a larger one would be kept twice.
    """
    if not message.siblings:
        return None
    item = object.__new__(Item)
    if message.ByteSize() > SMALL_BYTES:
        _set_fields(item, _item_fields(message))
    else:
        object.__setattr__(item, "siblings", tuple([sibling.value for sibling in message.siblings]))
        object.__setattr__(item, "_encoded", message.SerializeToString())
    return item


def _item_fields(message: GetResponse) -> tuple[object, ...]:
    """What an answer holds, in the order of the fields of Item."""
    siblings = tuple(message.siblings)
    return (
        tuple([sibling.value for sibling in siblings]),
        CausalContext(message.context),
        tuple([sibling.dot for sibling in siblings]),
        tuple(message.answered),
        message.repaired,
        message.weak,
        message.epoch,
        tuple([sibling.expires_at_ms / 1000 or None for sibling in siblings]),
        tuple([ttl_left_s(sibling.expires_at_ms, message.judged_at_ms) for sibling in siblings]),
    )


def ttl_left_s(expires_at_ms: int, judged_at_ms: int) -> float | None:
    """Seconds from the judging of an answer until a value of it expires; None when it never does, or when a
    node of an older release did not tell."""
    if not expires_at_ms or not judged_at_ms:
        return None
    return max(0, expires_at_ms - judged_at_ms) / 1000


def location_of(message: LocateResponse) -> Location:
    owners = (
        OwnerCopy(
            one.node,
            one.state,
            tuple(one.dots),
            one.same,
            one.answered,
            one.error,
            tuple(one.tombstone),
            tuple(one.expires_at_ms),
        )
        for one in message.owners
    )
    return Location(
        position=message.position,
        partition=message.partition,
        epoch=message.epoch,
        owners=tuple(owners),
        fallbacks=tuple(message.fallbacks),
    )


def _with_lists(fields: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def json_bytes(name: str, data: bytes) -> dict[str, str]:
    """Bytes in JSON: `name` when valid UTF-8, else `name_b64`."""
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(data).decode("ascii")}
