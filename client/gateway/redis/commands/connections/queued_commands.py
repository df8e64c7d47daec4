"""What a caller has queued between MULTI and EXEC: commands on one key, which become one change of it.

So they are done together or not at all, and nobody sees some of them done.  Commands on several keys could
not be: each key is a register of its own (docs/decisions/a-transaction-is-of-one-key.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Final

from ringmill.client.gateway.redis.commands.command_spec import Parts
from ringmill.client.gateway.redis.protocol.command_parser import MAX_COMMAND_BYTES
from ringmill.client.gateway.redis.protocol.replies import NullArray, RedisError, Reply
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.key_queues import Change, reply_of
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue

__all__ = ["NOT_QUEUED", "QueuedCommands", "WatchedKey"]

NOT_QUEUED: Final = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "QUIT", "RESET"})
"""They take effect at once, between MULTI and EXEC too."""

_OF_ARGUMENT: Final = 64
"""Bytes that an argument takes beside its own."""
_SEVERAL: Final = (
    "ERR MULTI on several keys is not offered: each key changes by itself here; "
    "send the commands without MULTI, in redis-py by pipeline(transaction=False)"
)


class WatchedKey:
    """A key of a WATCH, and what it held then."""

    def __init__(self, database: Database, key: bytes) -> None:
        self.database = database
        self.key = key
        self._value: RedisValue | None = None
        self._expires_at_ms = 0

    def note(self, entry: Entry, _now_ms: int) -> Reply:
        """Remember what the key holds."""
        self._value, self._expires_at_ms = copy(entry.value), entry.expires_at_ms
        return None

    def is_as_noted(self, entry: Entry) -> bool:
        """Whether the key holds the same, of the same type and with the same expiry."""
        value = entry.value
        same_type = type(value) is type(self._value)
        return same_type and value == self._value and entry.expires_at_ms == self._expires_at_ms


class QueuedCommands:
    """`is_refused` when one could not be queued: EXEC then does none of them."""

    def __init__(self, database: Database, watched: WatchedKey | None) -> None:
        """Raises RedisError when a key of another database is watched."""
        if watched is not None and watched.database is not database:
            raise RedisError("ERR WATCH in one database and MULTI in another is not offered")
        self.is_refused = False
        self.held_bytes = 0
        self.key = None if watched is None else watched.key
        self._watched = watched
        self._changes: list[Change] = []

    def grow(self, args: Sequence[bytes]) -> None:
        """Count the arguments of a command to be queued.  Raises RedisError when they are too many."""
        self.held_bytes += sum(len(each) + _OF_ARGUMENT for each in args)
        if self.held_bytes > MAX_COMMAND_BYTES:
            raise RedisError(f"ERR the commands since MULTI have more than {MAX_COMMAND_BYTES} bytes")

    def add(self, key: bytes, change: Change) -> None:
        """Queue a command on a key.  Raises RedisError when another key is there."""
        if self.key is not None and key != self.key:
            raise RedisError(_SEVERAL)
        self.key = key
        self._changes.append(change)

    def add_parts(self, parts: Parts) -> None:
        """The same of a command that names its key several times.  Raises RedisError when it names others."""
        keys = {key for key, _ in parts.changes}
        if len(keys) > 1:
            raise RedisError(_SEVERAL)

        def change(entry: Entry, now_ms: int) -> Reply:
            return parts.combine([part(entry, now_ms) for _, part in parts.changes])

        self.add(keys.pop(), change)

    def add_reply(self, reply: Reply) -> None:
        """Queue a command whose answer is known, as it is about no key."""
        self._changes.append(lambda _entry, _now_ms: reply)

    def change(self, entry: Entry, now_ms: int) -> Reply:
        """A Change: all of them in their order, unless the watched key holds something else by now."""
        if self._watched is not None and not self._watched.is_as_noted(entry):
            return NullArray()
        return [reply_of(change, entry, now_ms) for change in self._changes]
