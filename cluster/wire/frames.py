"""Frames: many operations, or many answers, as one checked message.  docs/formats/frame.md tells the layout.

Pure: bytes in, values out.  How frames are paced and which carrier moves them is the adapters' business.
Everything a length can tell is checked before anything is allocated for it.  Rule: protocols 11 and 12.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import google_crc32c
import msgpack

from cluster.errors import ProtocolMismatch

__all__ = [
    "FRAME_TARGET_BYTES",
    "FRAME_VERSION",
    "MAX_FRAME_BYTES",
    "OPERATION_OVERHEAD_BYTES",
    "Answer",
    "Operation",
    "decode_answers",
    "decode_operations",
    "encode_answers",
    "encode_operations",
]

FRAME_VERSION: Final = 1
FRAME_TARGET_BYTES: Final = 256 * 1024  # a frame is closed when it reaches this; a larger item goes alone
MAX_FRAME_BYTES: Final = 5 * 1024 * 1024  # client message 4 MiB + value limit 1 MiB
OPERATION_OVERHEAD_BYTES: Final = 96  # upper bound of all that is in an operation beside its body

_OPERATIONS: Final = 1
_ANSWERS: Final = 2
_HEADER: Final = struct.Struct(">BBI")  # version, kind, crc32c of the body


Operation: TypeAlias = tuple[int, str, int, int, bytes]
"""One call: (id chosen by the side that asks and unique on its stream, method, remaining microseconds until
nobody waits for the answer any more, priority, body)."""

Answer: TypeAlias = tuple[int, bytes] | tuple[int, bytes, bytes]
"""What came of one call: (id, body), or (id, b"", the error as `error_bytes` writes it)."""

_OPERATION_SHAPE: Final = (int, str, int, int, bytes)
_ANSWER_SHAPE: Final = (int, bytes)
_FAILURE_SHAPE: Final = (int, bytes, bytes)


def encode_operations(operations: Sequence[Operation]) -> bytes:
    """A frame of calls."""
    return _seal(_OPERATIONS, msgpack.packb(operations))


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """A frame of answers."""
    return _seal(_ANSWERS, msgpack.packb(answers))


def decode_operations(frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> list[Operation]:
    """The calls of a frame.  Raises ProtocolMismatch: wrong version, kind, checksum, length or shape."""
    operations = _open(_OPERATIONS, frame, max_bytes)
    for operation in operations:
        if _shape(operation) != _OPERATION_SHAPE:
            raise ProtocolMismatch("a frame holds an operation that is none: expected 5 typed fields")
    return operations


def decode_answers(frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> list[Answer]:
    """The answers of a frame.  Raises ProtocolMismatch: wrong version, kind, checksum, length or shape."""
    answers = _open(_ANSWERS, frame, max_bytes)
    for answer in answers:
        if (shape := _shape(answer)) != _ANSWER_SHAPE and shape != _FAILURE_SHAPE:
            raise ProtocolMismatch("a frame holds an answer that is none: expected 2 or 3 typed fields")
    return answers


def _shape(entry: object) -> tuple[type, ...]:
    return tuple(map(type, entry)) if type(entry) is tuple else ()


def _seal(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(FRAME_VERSION, kind, google_crc32c.value(body)) + body


def _open(kind: int, frame: bytes, max_bytes: int) -> list[Any]:
    if len(frame) > max_bytes:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes is over the limit of {max_bytes}")
    if len(frame) < _HEADER.size:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes is shorter than its header")
    version, found_kind, crc = _HEADER.unpack_from(frame)
    if version != FRAME_VERSION:
        raise ProtocolMismatch(f"frame version {version} is not known here, only {FRAME_VERSION}")
    body = frame[_HEADER.size :]
    if google_crc32c.value(body) != crc:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes does not match its checksum")
    if found_kind != kind:
        raise ProtocolMismatch(f"frame kind {found_kind} came where {kind} was expected")
    try:  # msgpack bounds every length it meets by the bytes it was given
        entries = msgpack.unpackb(body, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"a frame's body is no msgpack: {error}") from error
    if not isinstance(entries, tuple):
        raise ProtocolMismatch(f"a frame's body is {type(entries).__name__}, not an array")
    return list(entries)
