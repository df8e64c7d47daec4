"""Commands out of the bytes that a caller sends: arrays of bulk strings, or lines of words.

Pure: bytes go in as they arrive, whole commands come out, and nothing is read twice.  Lengths are checked
before anything is kept.  The texts of the errors are those of Redis, which callers know.  An argument that is
too large is dropped as it arrives, up to the length that Redis takes: most callers send all of a command
before they read, and would not see the error if the connection ended amid it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringmill.client.gateway.redis.protocol.inline_words import is_foreign, words_of
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["CommandParser", "ForeignProtocol", "ProtocolFault", "TooLargeCommand", "command_size"]

MOST_ARGUMENTS: Final = 64 * 1024
MAX_COMMAND_BYTES: Final = 8 * MAX_VALUE_BYTES
MAX_LINE_BYTES: Final = 64 * 1024
MAX_DROPPED_BYTES: Final = 512 * 1024 * 1024
_OF_ARGUMENT: Final = 64
"""Bytes that an argument takes beside its own."""
_LONGEST_NUMBER: Final = 32
_DROP_AT: Final = 1 << 16
_SHORT: Final = {b"$%d" % length: length for length in range(1024)}
"""Lengths of most arguments, by their lines."""
_FEW: Final = {b"*%d" % count: count for count in range(1, 64)}
"""How many arguments most commands have, by their lines."""


class ProtocolFault(Exception):
    """What a caller sent is not a command; nothing that follows on its connection can be read."""


class ForeignProtocol(ProtocolFault):
    """What came is HTTP or TLS, such as a browser sends to any port of this machine for any page."""


class TooLargeCommand(list[bytes]):
    """A command without its arguments: `length` is that of one which is above the limit."""

    def __init__(self, name: bytes, length: int) -> None:
        super().__init__([name])
        self.length = length


class CommandParser:
    """Give it bytes by `feed`, take commands by `next_command` until it returns None.

    What was fed is read where it lies.  It is moved only when a command has not come whole.
    """

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._at = 0
        self._missing = 0  # arguments that are still to come; 0 between commands
        self._arguments: list[bytes] = []
        self._taken = 0  # bytes of `_arguments`
        self._left_to_drop = 0  # bytes of an argument that is too large, and of its end
        self._too_large = 0  # the length of that argument; 0: none is

    @property
    def is_amid_command(self) -> bool:
        """Whether part of a command has arrived, and its end has not."""
        return bool(self._missing or self._left_to_drop) or self._at < len(self._data)

    @property
    def held_bytes(self) -> int:
        """Bytes of commands that were not taken yet."""
        return len(self._data) + self._taken + _OF_ARGUMENT * len(self._arguments)

    def feed(self, data: bytes) -> None:
        if self._at >= len(self._data):
            self._data, self._at = data, 0
            return
        if isinstance(self._data, bytes):
            self._data, self._at = bytearray(memoryview(self._data)[self._at :]), 0
        self._data += data

    def next_command(self) -> list[bytes] | None:
        """The next whole command; None when more bytes have to come.  Raises ProtocolFault."""
        while True:
            if not self._missing and not self._left_to_drop:
                if self._at >= len(self._data):
                    self._drop_taken(at_least=1)
                    return None
                if self._data[self._at] != 0x2A:  # "*"
                    words = self._inline()
                    if words or words is None:
                        return words
                    continue
                if not self._begin():
                    self._drop_taken(at_least=_DROP_AT)
                    return None
                continue
            if not self._take_arguments():
                self._drop_taken(at_least=_DROP_AT)
                return None
            return self._whole_command()

    def _whole_command(self) -> list[bytes]:
        arguments, self._arguments, self._taken = self._arguments, [], 0
        length, self._too_large = self._too_large, 0
        return TooLargeCommand(arguments[0], length) if length else arguments

    def _begin(self) -> bool:
        """Read how many arguments a command has; False when that has not arrived."""
        line = self._number_line("too big mbulk count string")
        if line is None:
            return False
        count = _FEW.get(line)
        if count is None:
            count = _number(line[1:])
        if count is None or count > MOST_ARGUMENTS:
            raise ProtocolFault("Protocol error: invalid multibulk length")
        self._missing = max(0, count)  # an empty array is skipped, as Redis does
        return True

    def _take_short(self, data: bytes) -> bool:
        """Take the arguments if all of them are short and have arrived; else nothing is taken.

        Most commands are like that, and no step more than needed is made for them.
        """
        at, arguments, taken = self._at, list[bytes](), 0
        for _ in range(self._missing):
            end = data.find(b"\r\n", at, at + 7)
            length = _SHORT.get(data[at:end]) if end > 0 else None
            if length is None:
                return False
            at = end + 2 + length
            if data[at : at + 2] != b"\r\n":
                return False
            arguments.append(data[end + 2 : at])
            at += 2
            taken += length
        if taken > MAX_COMMAND_BYTES:
            return False
        self._arguments, self._taken, self._at, self._missing = arguments, taken, at, 0
        return True

    def _take_arguments(self) -> bool:
        """Take what has arrived; False when some of the command has not."""
        data = self._data
        if isinstance(data, bytes) and not (self._arguments or self._left_to_drop) and self._take_short(data):
            return True
        while self._missing or self._left_to_drop:
            if self._left_to_drop:
                if not self._drop():
                    return False
                continue
            start = self._at
            line = self._number_line("too big bulk count string")
            if line is None:
                return False
            length = _SHORT.get(line)
            if length is None:
                length = _bulk_length(line)
                if length > MAX_VALUE_BYTES:
                    self._begin_to_drop(length)
                    continue
            if self._taken + length > MAX_COMMAND_BYTES:
                raise ProtocolFault(f"Protocol error: a command has more than {MAX_COMMAND_BYTES} bytes")
            end = self._at + length
            if len(data) < end + 2:
                self._at = start
                return False
            if data[end : end + 2] != b"\r\n":
                raise ProtocolFault("Protocol error: a bulk string is longer than its length says")
            self._arguments.append(bytes(data[self._at : end]))
            self._taken += length
            self._at = end + 2
            self._missing -= 1
        return True

    def _begin_to_drop(self, length: int) -> None:
        self._too_large, self._left_to_drop = length, length + 2
        self._arguments.append(b"")
        self._missing -= 1

    def _drop(self) -> bool:
        """Drop what has arrived of an argument; False when more of it has to come."""
        dropped = min(self._left_to_drop, len(self._data) - self._at)
        self._at += dropped
        self._left_to_drop -= dropped
        return not self._left_to_drop

    def _number_line(self, too_long: str) -> bytes | None:
        end = self._data.find(b"\r\n", self._at, self._at + _LONGEST_NUMBER + 2)
        if end < 0:
            if len(self._data) - self._at > _LONGEST_NUMBER + 1:
                raise ProtocolFault(f"Protocol error: {too_long}")
            return None
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _inline(self) -> list[bytes] | None:
        """The words of a line; None when its end has not arrived."""
        end = self._data.find(b"\n", self._at, self._at + MAX_LINE_BYTES + 1)
        if end < 0:
            if len(self._data) - self._at > MAX_LINE_BYTES:
                raise ProtocolFault("Protocol error: too big inline request")
            self._drop_taken(at_least=_DROP_AT)
            return None
        line = bytes(self._data[self._at : end])
        self._at = end + 1
        words = words_of(line.rstrip(b"\r"))
        if words is None:
            raise ProtocolFault("Protocol error: unbalanced quotes in request")
        if words and is_foreign(words):
            raise ForeignProtocol("Protocol error: this is not an HTTP server")
        return words

    def _drop_taken(self, at_least: int) -> None:
        """Forget what was taken, once it is enough to be worth the move of the rest."""
        if self._at < at_least:
            return
        if isinstance(self._data, bytearray):
            del self._data[: self._at]
        else:
            self._data = self._data[self._at :]
        self._at = 0


def command_size(command: Sequence[bytes]) -> int:
    """Bytes that a command takes, its name included."""
    return sum(map(len, command)) + _OF_ARGUMENT * len(command)


def _bulk_length(line: bytes) -> int:
    """The length in a line such as "$100".  Raises ProtocolFault."""
    if line[:1] != b"$":
        got = chr(line[0]) if line and 32 <= line[0] < 127 else " "
        raise ProtocolFault(f"Protocol error: expected '$', got '{got}'")
    length = _number(line[1:])
    if length is None or not 0 <= length <= MAX_DROPPED_BYTES:
        raise ProtocolFault("Protocol error: invalid bulk length")
    return length


def _number(text: bytes) -> int | None:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit():
        return None
    return int(text)
