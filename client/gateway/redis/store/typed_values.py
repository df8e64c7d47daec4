"""What a key of a Redis database holds: a value of one of five types, and when it expires.

It is stored as the value of one register: a msgpack array of the type's letter, the expiry and the content.
Layout and limits: docs/redis.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import msgpack

from ringmill.client.gateway.redis.protocol.replies import RedisError

__all__ = ["Entry", "ForeignValue", "RedisValue", "SortedSet", "type_name"]


class SortedSet(dict[bytes, float]):
    """Members with their scores."""

    def __copy__(self) -> SortedSet:
        return SortedSet(self)

    def in_order(self) -> list[tuple[bytes, float]]:
        """The members by score, and by the member's bytes where scores are equal."""
        members = sorted(self)
        members.sort(key=self.__getitem__)  # those with one score stay in their order
        return list(zip(members, map(self.__getitem__, members), strict=True))


class ForeignValue(bytes):
    """What a register holds that no gateway for Redis has written.  It can be removed and replaced."""


RedisValue: TypeAlias = "bytes | dict[bytes, bytes] | set[bytes] | SortedSet | list[bytes]"
T = TypeVar("T", bytes, dict[bytes, bytes], set[bytes], SortedSet, list[bytes])

WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
FOREIGN: Final = (
    "WRONGTYPE no gateway for Redis has written what the key holds; DEL, UNLINK and a plain SET work on it"
)
_LETTERS: Final[dict[type, str]] = {
    bytes: "s", dict: "h", set: "t", SortedSet: "z", list: "l", ForeignValue: "?"
}  # fmt: skip
_NAMES: Final[dict[type, str]] = {
    bytes: "string", dict: "hash", set: "set", SortedSet: "zset", list: "list", ForeignValue: "foreign"
}  # fmt: skip


@dataclass(slots=True)
class Entry:
    """A key's value, None when it has none; `expires_at_ms` is since 1970, 0 when it does not expire.

    Handlers change it in place and set `is_changed`.  They raise before they change anything.
    """

    value: RedisValue | None = None
    expires_at_ms: int = 0
    is_changed: bool = False
    has_expired: bool = False

    @classmethod
    def decode(cls, stored: bytes | None, now_ms: int) -> Entry:
        """What a register holds at that moment: a ForeignValue when no gateway wrote it."""
        if stored is None:
            return cls()
        try:
            letter, expires_at_ms, content = msgpack.unpackb(stored, strict_map_key=False)
            value = _value_of(letter, content)
        except (ValueError, TypeError, msgpack.UnpackException):
            return cls(ForeignValue(stored))
        if type(expires_at_ms) is not int or expires_at_ms < 0:
            return cls(ForeignValue(stored))
        if expires_at_ms and expires_at_ms <= now_ms:
            return cls(has_expired=True)
        return cls(value, expires_at_ms)

    def encode(self) -> bytes | None:
        """The bytes for the register; None when the key has no value."""
        value = self.value
        if value is None:
            return None
        if type(value) is ForeignValue:
            return bytes(value)
        letter = _LETTERS[type(value)]
        content = list(value) if letter == "t" else value
        packed: bytes = msgpack.packb([letter, self.expires_at_ms, content])
        return packed

    def kept(self) -> Entry:
        """A copy of the entry, which changes of this one leave as it is."""
        return Entry(copy(self.value), self.expires_at_ms, self.is_changed, self.has_expired)

    def digest(self) -> bytes:
        """32 bytes that are the same for equal values of the same type and expiry, and for no others."""
        value: object = self.value
        if isinstance(value, SortedSet):
            value = sorted((member, score + 0.0) for member, score in value.items())  # -0.0 is equal to 0.0
        elif isinstance(value, dict):
            value = sorted(value.items())
        elif isinstance(value, set):
            value = sorted(value)
        letter = None if self.value is None else _LETTERS[type(self.value)]
        return hashlib.blake2b(msgpack.packb([letter, self.expires_at_ms, value]), digest_size=32).digest()

    def get(self, kind: type[T]) -> T | None:
        """The value if it is of this type; None when there is none.  Raises RedisError for another type."""
        value = self.value
        if value is None:
            return None
        if type(value) is not kind:
            raise RedisError(FOREIGN if type(value) is ForeignValue else WRONG_TYPE)
        return value

    def get_or_new(self, kind: type[T]) -> T:
        """The value, or an empty one of this type that is not in the entry yet.  Raises as `get`."""
        value = self.get(kind)
        return kind() if value is None else value

    def set(self, value: RedisValue | None) -> None:
        """Replace the value.  Raises RedisError for a foreign one, which few commands may write over."""
        self.check_own()
        self.replace(value)

    def replace(self, value: RedisValue | None) -> None:
        """Put a value there; one that is empty and no string removes the key, with its expiry."""
        if value is None or (not value and not isinstance(value, bytes)):
            value, self.expires_at_ms = None, 0
        self.value = value
        self.is_changed = True

    def check_own(self) -> None:
        """Raises RedisError for a foreign value, which few commands may replace or remove."""
        if type(self.value) is ForeignValue:
            raise RedisError(FOREIGN)

    def expire(self, at_ms: int) -> None:
        """Let the value expire at that time; 0: never.  Raises RedisError for a foreign value."""
        if at_ms:
            self.check_own()
        self.expires_at_ms = at_ms
        self.is_changed = True


def _are_all(members: Iterable[object], kind: type) -> bool:
    return set(map(type, members)) <= {kind}


def type_name(value: RedisValue | None) -> str:
    """What TYPE says of it."""
    return "none" if value is None else _NAMES[type(value)]


def _value_of(letter: str, content: object) -> RedisValue:
    """Raises ValueError for what no gateway has written: members are looked at, too."""
    if letter == "s" and isinstance(content, bytes):
        return content
    if letter == "h" and isinstance(content, dict):
        if _are_all(content, bytes) and _are_all(content.values(), bytes):
            return content
    elif letter == "z" and isinstance(content, dict):
        if _are_all(content, bytes) and _are_all(content.values(), float):
            return SortedSet(content)
    elif letter in ("t", "l") and isinstance(content, list) and _are_all(content, bytes):
        return set(content) if letter == "t" else content
    raise ValueError(f"no type {letter!r} with a content of type {type(content).__name__}")
