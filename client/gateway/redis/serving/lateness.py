"""How long a caller has said nothing, left a command without its end, or taken none of its answers."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios

from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits

__all__ = ["Lateness", "untaken_bytes"]


class Lateness:
    """How late one connection's answers are.  Times are seconds of its door's clock."""

    __slots__ = ("_full_since_s", "_limits", "_read_on_s", "_untaken", "active_s", "is_full")

    def __init__(self, limits: RedisLimits, now_s: float) -> None:
        self._limits = limits
        self.active_s = now_s
        """When bytes came last."""
        self.is_full = False
        """Whether answers wait that the caller does not take; nothing is begun meanwhile."""
        self._read_on_s = now_s
        self._full_since_s = now_s
        self._untaken = 0

    def reads_on(self, now_s: float) -> None:
        """What the caller sends is heard again: until now it could not end a command."""
        self._read_on_s = now_s

    def fills(self, now_s: float, untaken: int) -> None:
        """Note that this many bytes of answers are not taken, which is too much."""
        self.is_full, self._full_since_s, self._untaken = True, now_s, untaken

    def why(self, now_s: float, *, untaken: int, is_busy: bool, is_amid: bool) -> str:
        """Why the connection is to be closed now; "" when it is not.

        `untaken` are bytes of answers that are not taken.  `is_busy`: commands are under way.  `is_amid`: a
        command has come in part.
        """
        limits = self._limits
        if self.is_full:
            if untaken < self._untaken:  # it takes some of them, however slowly
                self._full_since_s = now_s
            self._untaken = untaken
            is_late = now_s - self._full_since_s > limits.unread_s
            return f"it has taken no answer for {limits.unread_s:g} s" if is_late else ""
        if is_busy:
            return ""
        if is_amid and now_s - max(self.active_s, self._read_on_s) > limits.command_s:
            return f"the end of a command has not come for {limits.command_s:g} s"
        return f"no command for {limits.idle_s:g} s" if now_s - self.active_s > limits.idle_s else ""


def untaken_bytes(transport: asyncio.Transport) -> int:
    """What was sent and the other side has not taken, in the socket too.

    The system takes more from a transport only when a third of the socket's buffer is free, which may be more
    than a MiB, so a transport's own figure may stand still for long while the other side takes.
    """
    size = transport.get_write_buffer_size()
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        (in_socket,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):  # a system that does not tell it, or a socket that is closed
        return size
    return size + int(in_socket)
