"""The bytes around frames on a plain socket: a greeting from either side, then frames by their lengths.

gRPC brings all of this itself; TCP and Unix sockets do not.  A greeting begins with a magic, so that who
dialled the wrong port is told so at once.  An answering side that ends a stream because of an error says it
in a farewell.  Pure: bytes in, frames out.  Everything a length can tell is checked before anything is
allocated for it (rule F3: docs/protocol/requests.md).

Layout: docs/formats/frame.md, "Sockets".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import ProtocolMismatch, RingmillError
from ringmill.cluster.wire.error_bytes import decode_error, encode_error

__all__ = ["SocketParser", "farewell", "frame_length", "greeting"]

MAX_GREETING_BYTES: Final = 8 * 1024
MAX_FAREWELL_BYTES: Final = 4 * 1024

_GREETING_HEAD: Final = struct.Struct(">4sBBH")  # magic, version, kind, length of the body
_LENGTH: Final = struct.Struct(">I")
_MAGIC: Final = b"RMFR"
_VERSION: Final = 1
_DIALLING: Final = 1
_ANSWERING: Final = 2
_FAREWELL_BIT: Final = 1 << 31


def greeting(texts: Mapping[str, str], *, is_dialling: bool) -> bytes:
    """The first bytes of either side."""
    body: bytes = msgpack.packb(dict(texts))
    return _GREETING_HEAD.pack(_MAGIC, _VERSION, _DIALLING if is_dialling else _ANSWERING, len(body)) + body


def frame_length(frame: bytes) -> bytes:
    """What stands before a frame."""
    return _LENGTH.pack(len(frame))


def farewell(error: RingmillError) -> bytes:
    """The last bytes of an answering side that refuses a stream, or ends it, because of `error`.

    They may come instead of its greeting: no greeting begins with a byte above 127.
    """
    packed = encode_error(error, max_bytes=MAX_FAREWELL_BYTES)
    return _LENGTH.pack(len(packed) | _FAREWELL_BIT) + packed


class SocketParser:
    """What one side of a connection hears.

    `texts` is the other side's greeting once it has come; `failure` why there will be no more frames: a
    ProtocolMismatch, or what a farewell said.  At most one frame and its length are kept in part.
    """

    def __init__(self, *, is_dialled: bool, max_frame_bytes: int) -> None:
        self._is_dialled = is_dialled
        self.max_frame_bytes = max_frame_bytes
        """May be changed before the first frame: what is allowed depends on who dials."""
        self._rest = bytearray()
        self.texts: dict[str, str] | None = None
        self.failure: RingmillError | None = None

    @property
    def is_within(self) -> bool:
        """Whether the last bytes were the beginning of something."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now, in order."""
        if self.failure is not None:
            return []
        frames: list[bytes] = []
        rest = self._rest
        if rest:
            rest += data
            with memoryview(rest) as view:
                used = self._take(view, frames)
            del rest[:used]
        else:
            view = memoryview(data)
            used = self._take(view, frames)
            if used < len(data):
                rest += view[used:]
        return frames

    def _take(self, view: memoryview, frames: list[bytes]) -> int:
        """Take what is whole; how many bytes that was."""
        size, position = len(view), 0
        try:
            if self.texts is None:
                position = self._take_greeting(view)
            while self.texts is not None and size - position >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, position)
                if length > self.max_frame_bytes:
                    last = position + _LENGTH.size + MAX_FAREWELL_BYTES
                    self._take_farewell(bytes(view[position:last]))
                    break
                end = position + _LENGTH.size + length
                if end > size:
                    break
                frames.append(bytes(view[position + _LENGTH.size : end]))
                position = end
        except ProtocolMismatch as error:
            self.failure = error
        return size if self.failure is not None else position

    def _take_greeting(self, view: memoryview) -> int:
        """How many bytes it has; 0 while it has not come whole."""
        if self._is_dialled and view[0] & 0x80:
            if len(view) >= _LENGTH.size:
                self._take_farewell(bytes(view[: _LENGTH.size + MAX_FAREWELL_BYTES]))
            return 0
        length = _greeting_length(bytes(view[: _GREETING_HEAD.size]), is_dialling=not self._is_dialled)
        whole = _GREETING_HEAD.size + length
        if length < 0 or len(view) < whole:
            return 0
        self.texts = _texts(bytes(view[_GREETING_HEAD.size : whole]))
        return whole

    def _take_farewell(self, farewell: bytes) -> None:
        """Note what the other side said last, once it has come whole.

        It takes a copy: a failure that is kept keeps what its frames held, and a view of what has come would
        not let that be dropped.  Raises ProtocolMismatch.
        """
        (length,) = _LENGTH.unpack_from(farewell)
        size = length & ~_FAREWELL_BIT
        if size == length or size > MAX_FAREWELL_BYTES:
            raise ProtocolMismatch(f"a frame of {length} bytes is over the limit of {self.max_frame_bytes}")
        if len(farewell) >= _LENGTH.size + size:
            self.failure = decode_error(farewell[_LENGTH.size : _LENGTH.size + size])


def _greeting_length(head: bytes, *, is_dialling: bool) -> int:
    """How long the body of a greeting is, from as much of its head as has come; -1 while that does not tell.

    Raises ProtocolMismatch as soon as it cannot be a greeting.
    """
    if head[: len(_MAGIC)] != _MAGIC[: len(head)]:
        raise ProtocolMismatch(f"no greeting of Ringmill begins with {head[:16]!r}")
    if len(head) < _GREETING_HEAD.size:
        return -1
    _, version, kind, length = _GREETING_HEAD.unpack_from(head)
    if version != _VERSION:
        raise ProtocolMismatch(f"greeting version {version} is not known here, only {_VERSION}")
    if kind != (_DIALLING if is_dialling else _ANSWERING):
        raise ProtocolMismatch(f"a greeting of kind {kind} came from the wrong side")
    if length > MAX_GREETING_BYTES:
        raise ProtocolMismatch(f"a greeting of {length} bytes is over the limit of {MAX_GREETING_BYTES}")
    return int(length)


def _texts(body: bytes) -> dict[str, str]:
    """What a greeting says.  Raises ProtocolMismatch."""
    try:
        texts: Any = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"a greeting of {len(body)} bytes is not msgpack: {error}") from error
    if not isinstance(texts, dict):
        raise ProtocolMismatch(f"a greeting is {type(texts).__name__}, not a map")
    if not all(isinstance(text, str) for pair in texts.items() for text in pair):
        raise ProtocolMismatch("a greeting holds something else than texts")
    if not all(text.isascii() and text.isprintable() for pair in texts.items() for text in pair):
        raise ProtocolMismatch("a greeting holds a text that is not printable ASCII")  # it may be logged
    return texts
