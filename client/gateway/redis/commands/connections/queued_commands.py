"""What a caller has queued between MULTI and EXEC: commands on one key, which become one change of it.

So they are done together or not at all, and nobody sees some of them done.  Commands on several keys could
not be: each key is a register of its own (docs/decisions/a-transaction-is-of-one-key.md).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from ringmill.client.gateway.redis.commands.command_spec import Parts
from ringmill.client.gateway.redis.protocol.command_parser import MAX_COMMAND_BYTES, command_size
from ringmill.client.gateway.redis.protocol.replies import NullArray, RedisError, Reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.key_queues import (
    MOST_AT_ONCE,
    Change,
    SteppedChange,
    reply_of,
)
from ringmill.client.gateway.redis.store.typed_values import Entry

__all__ = ["ABORTED", "NOT_QUEUED", "QueuedCommands", "WatchedKey"]

NOT_QUEUED: Final = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "QUIT", "RESET"})
"""They take effect at once, between MULTI and EXEC too."""

ABORTED: Final = "EXECABORT Transaction discarded because of previous errors."
_SEVERAL: Final = (
    "ERR MULTI on several keys is not offered: each key changes by itself here; "
    "send the commands without MULTI, in redis-py by pipeline(transaction=False)"
)


class WatchedKey:
    """A key of a WATCH, and what it held then."""

    def __init__(self, database: Database, key: bytes) -> None:
        self.database_name = database.name
        self.key = key
        self._digest = b""

    def note(self, entry: Entry, _now_ms: int) -> Reply:
        """Remember what the key holds."""
        self._digest = entry.digest()
        return None

    def is_as_noted(self, entry: Entry) -> bool:
        """Whether the key holds the same, of the same type and with the same expiry."""
        return entry.digest() == self._digest


class QueuedCommands(SteppedChange):
    """`refused` when one could not be queued: EXEC then does none of them, and tells it."""

    def __init__(self, database: Database, watched: WatchedKey | None, room: AnswerRoom) -> None:
        """Commands are refused when a key of another database is watched: if MULTI itself failed, what
        follows it would be done without it."""
        self.refused = ""
        if watched is not None and watched.database_name != database.name:
            self.refused = "EXECABORT WATCH in one database and MULTI in another is not offered"
        self.key = None if watched is None else watched.key
        self._watched = watched
        self._room = room
        self._command_bytes = self._answer_bytes = 0
        self._changes: list[tuple[Change, bool]] = []  # with whether it only reads

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def held_bytes(self) -> int:
        """The bytes of the commands, and of their answers once they are done."""
        return self._command_bytes + self._answer_bytes

    def grow(self, command: Sequence[bytes]) -> None:
        """Count a command to be queued.  Raises RedisError when there are too many, or they are too large."""
        size = command_size(command)
        if len(self._changes) >= MOST_AT_ONCE:
            raise RedisError(f"ERR there are {MOST_AT_ONCE} commands since MULTI, and no more may be queued")
        if self._command_bytes + size > MAX_COMMAND_BYTES:
            raise RedisError(f"ERR the commands since MULTI have more than {MAX_COMMAND_BYTES} bytes")
        self._command_bytes += size

    def add(self, key: bytes, change: Change, *, only_reads: bool = False) -> None:
        """Queue a command on a key.  Raises RedisError when another key is there."""
        if self.key is not None and key != self.key:
            raise RedisError(_SEVERAL)
        self.key = key
        self._changes.append((change, only_reads))

    def add_parts(self, parts: Parts, *, only_reads: bool = False) -> None:
        """Queue a command that names its key several times.

        Raises RedisError when it names others, or its own too often.
        """
        keys = {key for key, _ in parts.changes}
        if len(keys) > 1:
            raise RedisError(_SEVERAL)
        self._room.gather(len(parts.changes))

        def change(entry: Entry, now_ms: int) -> Reply:
            gathered = self._room.gather(len(parts.changes))
            try:
                replies = [gathered.bounded(part)(entry, now_ms) for _, part in parts.changes]
            finally:
                gathered.close()
            errors = [one for one in replies if isinstance(one, RedisError)]
            return errors[0] if errors else parts.combine(replies)

        self.add(keys.pop(), change, only_reads=only_reads)

    def add_reply(self, reply: Reply) -> None:
        """Queue a command whose answer is known, as it is about no key."""
        self._changes.append((lambda _entry, _now_ms: reply, False))

    def drop(self) -> None:
        """Do none of them, and hold them no longer."""
        self._changes.clear()
        self._command_bytes = self._answer_bytes = 0

    def steps(self, entry: Entry, now_ms: int) -> Generator[None, None, Reply]:
        """All of them in their order, unless the watched key holds something else by now.

        Answers that are too large together are left out one by one, as all of the commands are done.
        """
        if self._watched is not None and not self._watched.is_as_noted(entry):
            return NullArray()
        most = self._room.most_bytes
        left_out = RedisError(
            "ERR the transaction was done, and this answer is left out: its answers may have"
            f" {most} bytes together"
        )
        short = reply_size(left_out)
        free = most - short * (len(self._changes) + 1)
        replies: list[Reply] = []
        self._answer_bytes = 0
        is_full = False
        # What has begun is ended, though it is dropped amid it.
        for change, only_reads in tuple(self._changes):
            reply = left_out if is_full and only_reads else reply_of(change, entry, now_ms)
            size = reply_size(reply)
            if size > short:
                is_full = is_full or self._answer_bytes + size > free
                if is_full:
                    reply = left_out
                else:
                    self._answer_bytes += size
            replies.append(reply)
            yield
        return replies
