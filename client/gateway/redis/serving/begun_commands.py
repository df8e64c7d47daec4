"""A command that is under way, until its answer goes out; what it does may be dropped when its caller has
gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply, encode_reply
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom, GatheredParts
from ringmill.client.gateway.redis.serving.command_meter import CommandMeter
from ringmill.client.gateway.redis.serving.reply_mode import ReplyMode
from ringmill.client.gateway.redis.store.key_queues import Change, Droppable
from ringmill.client.gateway.redis.store.redis_errors import GATEWAY_FAILED

__all__ = ["BegunCommand", "ConnectionOfCommand", "combined_reply"]

_log = logging.getLogger(__name__)


class ConnectionOfCommand(Protocol):
    """What a command asks of its connection."""

    version: int
    reply_mode: ReplyMode
    metered: CommandMeter
    room: AnswerRoom
    is_gone: bool

    def note_answered(self, one: BegunCommand) -> None:
        """The answer of a command is there."""
        ...


class BegunCommand:
    """A command that is under way: its answer goes out once those before it are there."""

    __slots__ = (
        "asked", "asked_s", "changes", "connection", "gathered", "is_silent", "reply", "size", "version"
    )  # fmt: skip

    def __init__(self, connection: ConnectionOfCommand, size: int) -> None:
        """`size` is that of the command, in bytes."""
        self.connection = connection
        self.asked, self.asked_s = connection.metered.asked, connection.metered.asked_s
        self.size = size
        self.changes: list[Droppable] = []
        self.gathered: GatheredParts | None = None  # when it is on several keys
        self.reply: bytes | None = None
        self.version = connection.version
        self.is_silent = connection.reply_mode.is_silent

    def __call__(self, reply: Reply) -> None:
        try:
            is_heard = not self.is_silent and not self.connection.is_gone
            self.reply = self.connection.room.encoded(reply, self.version) if is_heard else b""
        except Exception:  # noqa: BLE001 - a bug in one answer must leave no other caller of the key waiting
            _log.exception("an answer could not be encoded")
            self.reply = encode_reply(GATEWAY_FAILED, self.version)
        self.changes.clear()  # and with them the arguments, which nobody counts any more
        if self.connection.is_gone:
            self.connection.metered.gone(self.asked)
        else:
            self.connection.metered.answered(self.asked, self.asked_s, reply)
        self.connection.note_answered(self)

    def droppable(self, change: Change) -> Change:
        """The change, which is dropped with this command."""
        self.changes.append(Droppable(change))
        return self.changes[-1]

    def forget_answer(self) -> None:
        """Hold nothing of the answer, which nobody will hear."""
        if self.reply is not None:
            self.reply = b""
        if self.gathered is not None:
            self.gathered.drop()

    def drop(self) -> int:
        """Do nothing more of it.  Returns the bytes that it no longer holds."""
        for change in self.changes:
            change.drop()
        size, self.size = self.size, 0
        return size


def combined_reply(combine: Callable[[Sequence[Any]], Reply], replies: Sequence[Reply]) -> Reply:
    """What the replies of several keys make together; the first error, if there is one."""
    if errors := [one for one in replies if isinstance(one, RedisError)]:
        return errors[0]
    try:
        return combine(replies)
    except Exception:  # noqa: BLE001 - a bug in one command must not leave its caller waiting
        _log.exception("replies could not be combined")
        return GATEWAY_FAILED
