"""Which commands of a connection are answered: CLIENT REPLY."""

from __future__ import annotations

__all__ = ["ReplyMode"]


class ReplyMode:
    """`is_silent` of the command that was begun last."""

    def __init__(self) -> None:
        self.is_silent = False
        self._is_off = False
        self._skips_next = False

    def begin(self) -> None:
        """A command begins."""
        self.is_silent = self._is_off or self._skips_next
        self._skips_next = False

    def put_back(self) -> None:
        """The command that was begun last will begin later."""
        self._skips_next = self.is_silent and not self._is_off

    def choose(self, mode: bytes) -> None:
        """b"ON", b"OFF" or b"SKIP".  OFF and SKIP are not answered themselves; SKIP changes nothing while it
        is OFF."""
        if mode == b"SKIP" and not self._is_off:
            self._skips_next = self.is_silent = True
        elif mode != b"SKIP":
            self._is_off = self.is_silent = mode == b"OFF"
