"""How much the answers of one connection take until they are sent, and how much they may take.

An answer is measured before it is made.  One that is too large, or for which no room is left, is not made: an
error is sent in its place, and the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply, encode_reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size, too_large
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["AnswerRoom", "GatheredParts"]

_FADES: Final = 7 / 8
"""What an answer leaves of the size that is expected, unless it is larger itself."""
_SHORT: Final = 1024
"""Bytes of an answer that is sent in any case, as an error in its place would not be shorter by much."""


class AnswerRoom:
    """The room for answers of one connection.

    `ready` are bytes of answers that wait for former ones, `parts` those of replies about single keys whose
    answers are not whole.
    """

    __slots__ = ("_expected", "_limits", "_unsent", "parts", "ready")

    def __init__(self, limits: RedisLimits, unsent: Callable[[], int]) -> None:
        """`unsent` tells how many bytes were sent that the caller has not taken."""
        self._limits = limits
        self._unsent = unsent
        self._expected = float(MAX_VALUE_BYTES)  # until the first answers show what is asked for
        self.ready = 0
        self.parts = 0

    @property
    def most_bytes(self) -> int:
        """The most bytes of the answer of one command."""
        return self._limits.most_answer_bytes

    @property
    def used(self) -> int:
        """Bytes that wait."""
        return self.ready + self.parts + self._unsent()

    def may_begin(self, under_way: int) -> bool:
        """Whether there will be room for the answer of one more command, if it is like the last ones."""
        if not under_way:
            return True
        return self.used + (under_way + 1) * self._expected <= self._limits.most_unread_bytes

    def encoded(self, reply: Reply, version: int) -> bytes:
        """The bytes of an answer, or of the error in its place."""
        if isinstance(reply, list | dict | set | frozenset):
            size = reply_size(reply)
            if size > self.most_bytes:
                reply = too_large(size, self.most_bytes)
        data = encode_reply(reply, version)
        if len(data) > _SHORT and self.used + len(data) > self._limits.most_unread_bytes:
            data = encode_reply(self._left_out(len(data)), version)
        self._expected = max(self._expected * _FADES, len(data))
        return data

    def gather(self, keys: int) -> GatheredParts:
        """For a command on this number of keys.  Raises RedisError when they are too many."""
        if keys > self._limits.most_keys:
            raise RedisError(f"ERR the command has {keys} keys, the limit is {self._limits.most_keys}")
        return GatheredParts(self, keys)

    def _left_out(self, size: int) -> RedisError:
        return RedisError(
            f"ERR the command was done, and its answer of {size} bytes is left out: {self.used} bytes of"
            f" answers wait, and a connection may have {self._limits.most_unread_bytes}"
        )

    def left_out_of(self, size: int) -> RedisError | None:
        """Why an answer whose parts have this size so far is not made; None when there is room."""
        return self._left_out(size) if self.used > self._limits.most_unread_bytes else None


class GatheredParts:
    """The replies about the keys of one command, until they make one answer."""

    __slots__ = ("_bytes", "_excess", "_is_dropped", "_replies", "_room")

    def __init__(self, room: AnswerRoom, keys: int) -> None:
        self._room = room
        self._replies: list[Reply] = [None] * keys
        self._bytes = 0
        self._excess: RedisError | None = None
        self._is_dropped = False

    def put(self, place: int, reply: Reply) -> None:
        """One of them is there."""
        if not self._is_dropped:
            self._replies[place] = reply

    def bounded(self, change: Change) -> Change:
        """The change, with its reply counted; above the limits it is left out."""
        size = 0

        def counted(entry: Entry, now_ms: int) -> Reply:
            nonlocal size
            if self._excess is not None:  # of a command that reads: others have short replies
                return self._excess
            reply = change(entry, now_ms)
            if isinstance(reply, int) or self._is_dropped:
                return reply
            self._grow(-size)  # a change may be done over
            size = reply_size(reply)
            self._grow(size)
            if self._bytes > self._room.most_bytes:
                self._excess = too_large(self._bytes, self._room.most_bytes)
            return self._excess or self._room.left_out_of(self._bytes) or reply

        return counted

    def hold(self, size: int) -> None:
        """Count what is held beside the replies."""
        self._grow(size)

    def close(self) -> list[Reply]:
        """All are there, and become one answer; nothing is counted any more."""
        self._grow(-self._bytes)
        return self._replies

    def drop(self) -> None:
        """Hold none of them, nor what is still to come: nobody will hear the answer."""
        self._is_dropped = True
        self._replies = [None] * len(self._replies)
        self._grow(-self._bytes)

    def _grow(self, size: int) -> None:
        self._bytes += size
        self._room.parts += size
