"""How long a caller has said nothing, left a command without its end, or taken none of its answers."""

from __future__ import annotations

from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits

__all__ = ["Lateness"]


class Lateness:
    """Of one connection.  Times are seconds of its door's clock."""

    __slots__ = ("_full_since_s", "_limits", "_read_on_s", "_unsent", "active_s", "is_full")

    def __init__(self, limits: RedisLimits, now_s: float) -> None:
        self._limits = limits
        self.active_s = now_s
        """When bytes came last."""
        self.is_full = False
        """Whether answers wait that the caller does not take; nothing is begun meanwhile."""
        self._read_on_s = now_s
        self._full_since_s = now_s
        self._unsent = 0

    def reads_on(self, now_s: float) -> None:
        """What the caller sends is heard again: until now it could not end a command."""
        self._read_on_s = now_s

    def fills(self, now_s: float, unsent: int) -> None:
        """That many bytes of answers are not taken, which is too much."""
        self.is_full, self._full_since_s, self._unsent = True, now_s, unsent

    def why(self, now_s: float, *, unsent: int, is_busy: bool, is_amid: bool) -> str:
        """Why the connection is to be closed now; "" when it is not.

        `unsent` are bytes of answers that are not taken.  `is_busy`: commands are under way.  `is_amid`: a
        command has come in part.
        """
        limits = self._limits
        if self.is_full:
            if unsent < self._unsent:  # it takes some of them, however slowly
                self._full_since_s = now_s
            self._unsent = unsent
            is_late = now_s - self._full_since_s > limits.unread_s
            return f"it has taken no answer for {limits.unread_s:g} s" if is_late else ""
        if is_busy:
            return ""
        if is_amid and now_s - max(self.active_s, self._read_on_s) > limits.command_s:
            return f"the end of a command has not come for {limits.command_s:g} s"
        return f"no command for {limits.idle_s:g} s" if now_s - self.active_s > limits.idle_s else ""
