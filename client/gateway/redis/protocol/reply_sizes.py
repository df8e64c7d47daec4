"""How much a reply takes, known before it is made into bytes."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet

from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply

__all__ = ["reply_size", "too_large"]

_OF_TEXT = 16
"""Most bytes beside those of a text, or of an array beside its items."""
_OF_NUMBER = 32
"""Most bytes of a number, a truth value or nothing."""


def reply_size(reply: Reply) -> int:
    """Bytes that it takes at most, in either version of the protocol."""
    if isinstance(reply, bytes):
        return len(reply) + _OF_TEXT
    if isinstance(reply, dict):
        return _size_of_all(reply) + _size_of_all(reply.values()) + _OF_TEXT
    if isinstance(reply, list | AbstractSet):
        return _size_of_all(reply) + _OF_TEXT
    if isinstance(reply, RedisError):
        return 4 * len(reply.text) + _OF_TEXT
    return _OF_NUMBER + (4 * len(reply) if isinstance(reply, str) else 0)


def _size_of_all(replies: Collection[Reply]) -> int:
    if set(map(type, replies)) <= {bytes}:  # most are, and then it is known sooner
        return sum(map(len, replies)) + _OF_TEXT * len(replies)  # type: ignore[arg-type]
    return sum(map(reply_size, replies))


def too_large(size: int, limit: int) -> RedisError:
    """What is answered in the place of a reply above the limit of one command."""
    return RedisError(
        f"ERR the answer would have {size} bytes or more, the limit of one command is {limit}: ask for less"
    )
