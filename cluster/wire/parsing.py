"""Protobuf messages out of bytes that anybody may have sent, and back."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ringmill.cluster.errors import ProtocolMismatch

__all__ = ["parsed", "serialized"]

MessageT = TypeVar("MessageT", bound=Message)


def parsed(kind: type[MessageT], body: bytes) -> MessageT:
    """Raises ProtocolMismatch when `body` is not a message of this kind."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise ProtocolMismatch(f"the body of {len(body)} bytes is not a {kind.__name__}") from error


def serialized(message: Message) -> bytes:
    """The bytes of a message, equal for equal messages.

    Protobuf leaves the order of maps to chance unless told not to.
    """
    return message.SerializeToString(deterministic=True)
