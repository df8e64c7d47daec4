"""Counts the commands of a connection: what each is, how it ended, and how long it took."""

from __future__ import annotations

from typing import Final

from ringmill.client.gateway.meters.door_meter import NO_ROUTE, DoorMeter
from ringmill.client.gateway.redis.commands.command_spec import CommandSpec
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply

__all__ = ["QUEUED", "CommandMeter"]

QUEUED: Final = "QUEUED"
"""The reply to a command within MULTI, of which EXEC says how it ends."""
_DONE, _QUEUED, _GONE = "ok", "queued", "gone"


class CommandMeter:
    """`asked` and `asked_s` are of the command that was begun last: its name, and when that was; None for one
    that is answered at once."""

    __slots__ = ("_meter", "asked", "asked_s")

    def __init__(self, meter: DoorMeter) -> None:
        self._meter = meter
        self.asked = NO_ROUTE
        self.asked_s: float | None = None

    def begin(self, spec: CommandSpec) -> None:
        """A command of this kind begins."""
        self.asked = spec.name
        self.asked_s = self._meter.now() if spec.for_connection is None else None

    def begin_unknown(self) -> None:
        """Something begins that may be no command."""
        self.asked, self.asked_s = NO_ROUTE, None

    def answered(self, asked: str, asked_s: float | None, reply: Reply) -> None:
        """A command has this reply; an error is counted by its first word, which is none of the caller's."""
        ended = _QUEUED if reply is QUEUED else _DONE
        if isinstance(reply, RedisError):
            ended = reply.text.partition(" ")[0]
        self._meter.answered(asked, ended, None if asked_s is None else self._meter.now() - asked_s)

    def gone(self, asked: str) -> None:
        """The caller has left before the reply of this command: it was done, or dropped."""
        self._meter.answered(asked, _GONE, None)
