"""The options of a request as one value, and the fields of messages that carry them.

An option is a field here and in proto/kv.proto, an argument of the client and a flag.  All code between these
and the place that acts on it passes the whole value on.  See: docs/development.md, "A new option".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple, Self, TypeAlias

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_SEEN_DOTS
from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, GetRequest, PutRequest, TouchRequest

__all__ = ["NOTHING_SEEN", "ReadOptions", "Seen", "WriteMessage", "WriteOptions"]

WriteMessage: TypeAlias = PutRequest | DeleteRequest | TouchRequest


class Seen(NamedTuple):
    """What the session of a request has seen of its key (cluster/versions/seen.py)."""

    context: bytes = b""  # token of what it has read, or of a receipt
    dots: tuple[str, ...] = ()  # of its writes whose receipts had no context
    forgotten: int = 0  # it may have seen more and forgotten it
    times: tuple[int, ...] = ()  # the hybrid times of these writes, in the order of the dots; 0: not known

    @classmethod
    def of(cls, message: WriteMessage | GetRequest) -> Seen | None:
        """None without a session.  Raises InvalidArgument for more than any session holds."""
        if not message.HasField("seen"):
            return None
        seen = message.seen
        count = max(len(seen.dots), len(seen.times))
        if count > MAX_SEEN_DOTS:
            raise InvalidArgument(
                f"the session has seen {count} writes of this key, the limit is {MAX_SEEN_DOTS}",
                hint="begin a new session",
            )
        return cls(seen.context, tuple(seen.dots), seen.forgotten, tuple(seen.times))

    def fill(self, message: WriteMessage | GetRequest) -> None:
        seen = message.seen
        seen.SetInParent()
        seen.context, seen.forgotten = self.context, self.forgotten
        seen.dots.extend(self.dots)
        seen.times.extend(self.times)


NOTHING_SEEN: Final = Seen()


class WriteOptions(NamedTuple):
    """The options of a put, a delete or a touch.  An empty text, 0 and False mean the default."""

    level: str = ""  # owners that must ack: a number, "one", "quorum", "all"; default: the keyspace's W
    durability: str = ""  # how firmly they hold it then: "memory", "buffered", "sync" (default)
    context: bytes = b""  # token of what the writer has read
    is_blind: bool = False  # one more sibling beside whatever there is
    ttl_ms: int = 0  # default: the keyspace's; of a touch: never expires
    timeout_s: float = 0.0  # how long the caller waits
    seen: Seen | None = None  # by the session that the writer has

    @classmethod
    def of(cls, message: WriteMessage) -> Self:
        context, is_blind = b"", False
        if not isinstance(message, TouchRequest):
            context, is_blind = message.context, message.no_context
        return cls(
            message.w,
            message.durability,
            context,
            is_blind,
            0 if isinstance(message, DeleteRequest) else message.ttl_ms,
            message.timeout_ms / 1000,
            Seen.of(message),
        )

    def fill(self, message: WriteMessage) -> None:
        """Set the fields of a new message that are not the default, in nearly all writes none.  A delete has
        no ttl, and a touch no context."""
        level, durability, context, is_blind, ttl_ms, timeout_s, seen = self
        if level:
            message.w = level
        if durability:
            message.durability = durability
        if (context or is_blind) and not isinstance(message, TouchRequest):
            message.context = context
            message.no_context = is_blind
        if timeout_s:
            message.timeout_ms = round(timeout_s * 1000)
        if ttl_ms and not isinstance(message, DeleteRequest):
            message.ttl_ms = ttl_ms
        if seen is not None:
            seen.fill(message)


class ReadOptions(NamedTuple):
    """The options of a get."""

    level: str = ""  # owners whose answers are merged; default: the keyspace's R
    timeout_s: float = 0.0  # how long the caller waits
    seen: Seen | None = None  # by the session that the reader has

    @classmethod
    def of(cls, message: GetRequest) -> Self:
        if message.r or message.HasField("seen"):
            return cls(message.r, message.timeout_ms / 1000, Seen.of(message))
        return cls._by_default(message.timeout_ms)

    @classmethod
    @lru_cache(1024)
    def _by_default(cls, timeout_ms: int) -> Self:
        """The options of nearly all gets.

        A level is not remembered: a client may send a text of any length.
        """
        return cls(timeout_s=timeout_ms / 1000)

    def fill(self, message: GetRequest) -> None:
        """Set the fields of a new message that are not the default."""
        level, timeout_s, seen = self
        if level:
            message.r = level
        if timeout_s:
            message.timeout_ms = round(timeout_s * 1000)
        if seen is not None:
            seen.fill(message)
