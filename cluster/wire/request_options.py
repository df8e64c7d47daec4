"""The options of a request as one value, and the fields of messages that carry them.

An option is a field here and in proto/kv.proto, an argument of the client and a flag.  All code between these
and the place that acts on it passes the whole value on.  See: docs/development.md, "A new option".
"""

from __future__ import annotations

from typing import NamedTuple, Self, TypeAlias

from ringmill.cluster.wire.stubs.kv_pb2 import DeleteRequest, GetRequest, PutRequest

__all__ = ["ReadOptions", "WriteMessage", "WriteOptions"]

WriteMessage: TypeAlias = PutRequest | DeleteRequest


class WriteOptions(NamedTuple):
    """Of a put or a delete.  An empty text, 0 and False mean the default."""

    level: str = ""  # owners that must ack: a number, "one", "quorum", "all"; default: the keyspace's W
    durability: str = ""  # how firmly they hold it then: "memory", "buffered", "sync" (default)
    context: bytes = b""  # token of what the writer has read
    is_blind: bool = False  # one more sibling beside whatever there is
    ttl_ms: int = 0  # default: the keyspace's
    timeout_s: float = 0.0  # how long the caller waits

    @classmethod
    def of(cls, message: WriteMessage) -> Self:
        return cls(
            message.w,
            message.durability,
            message.context,
            message.no_context,
            message.ttl_ms if isinstance(message, PutRequest) else 0,
            message.timeout_ms / 1000,
        )

    def fill(self, message: WriteMessage) -> None:
        """Set the fields of a message.  A delete has no ttl."""
        message.w = self.level
        message.durability = self.durability
        message.context = self.context
        message.no_context = self.is_blind
        message.timeout_ms = round(self.timeout_s * 1000)
        if isinstance(message, PutRequest):
            message.ttl_ms = self.ttl_ms


class ReadOptions(NamedTuple):
    """Of a get."""

    level: str = ""  # owners whose answers are merged; default: the keyspace's R
    timeout_s: float = 0.0  # how long the caller waits

    @classmethod
    def of(cls, message: GetRequest) -> Self:
        return cls(message.r, message.timeout_ms / 1000)

    def fill(self, message: GetRequest) -> None:
        message.r = self.level
        message.timeout_ms = round(self.timeout_s * 1000)
