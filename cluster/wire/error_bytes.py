"""An error as bytes: the msgpack array that crosses in frames, trailing metadata and job records.

The array is [code, message, detail, hint, outcome] (cluster/errors.py).  It is bounded, as it travels where
the carrier itself has a bound: gRPC metadata of 8 KiB, base64 included.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from ringmill.cluster.errors import ProtocolMismatch, RingmillError, from_wire, sound, to_wire

__all__ = ["ERROR_METADATA_KEY", "MAX_METADATA_ERROR_BYTES", "decode_error", "encode_error"]

ERROR_METADATA_KEY: Final = "ringmill-error-bin"
MAX_METADATA_ERROR_BYTES: Final = 4 * 1024

_MESSAGE_CHARACTERS: Final = 1024  # kept of a message when an error has to be cut


def encode_error(error: RingmillError, *, max_bytes: int | None = None) -> bytes:
    """The error as bytes, cut to `max_bytes`: the largest details give way first, each leaving a note.

    Nothing that an error holds makes this raise: details that are not msgpack are left out.
    """
    try:
        return _cut(to_wire(error), max_bytes)
    except Exception as cause:  # noqa: BLE001  whatever a detail is made of: its caller hears of the rest
        note = {"detail": f"left out: {type(cause).__name__}"}
        message, hint = sound(str(error.message)), sound(str(error.hint))
        return _cut([error.code, message, note, hint, error.outcome], max_bytes)


def _cut(fields: list[Any], max_bytes: int | None) -> bytes:
    code, message, detail, hint, outcome = fields
    packed = _pack([code, message, detail, hint, outcome])
    if max_bytes is None or len(packed) <= max_bytes:
        return packed
    kept: dict[str, Any] = dict(detail)
    for size, name in sorted(((len(_pack(value)), name) for name, value in kept.items()), reverse=True):
        kept[name] = f"({size} bytes left out)"
        packed = _pack([code, message[:_MESSAGE_CHARACTERS], kept, hint[:_MESSAGE_CHARACTERS], outcome])
        if len(packed) <= max_bytes:
            return packed
    return _pack([code, message[: max_bytes // 8], {}, "", outcome])


def decode_error(packed: bytes) -> RingmillError:
    """The error that `encode_error` wrote.  Raises ProtocolMismatch when the bytes are not an error."""
    try:
        fields = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException) as cause:
        raise ProtocolMismatch(f"an error of {len(packed)} bytes is not msgpack: {cause}") from cause
    match fields:
        case [str(), str(), dict(), str(), str(), *_]:
            return from_wire(fields)
        case _:
            raise ProtocolMismatch("an error came without its five fields")


def _pack(value: object) -> bytes:
    return bytes(msgpack.packb(value, default=str, unicode_errors="backslashreplace"))
