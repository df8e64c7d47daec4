"""Frames: many operations, or many answers, as one checked message.  docs/formats/frame.md tells the layout.

Pure: bytes in, values out.  How frames are paced and which carrier moves them is the adapters' business.
Everything a length can tell is checked before anything is allocated for it.  A frame carries one stamp, a
reading of the answering side's clock (cluster/wire/sending_time.py); frames of the former version have none.
Beside its operations it may say of which traces some of them are (cluster/traces/trace_context.py), and
beside its answers how much the node has under way (cluster/overload/told_loads.py).
Rules F3 and T10: docs/protocol/requests.md, docs/protocol/topology.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import google_crc32c
import msgpack

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.traces.trace_context import TRACE_BYTES

__all__ = [
    "FRAME_TARGET_BYTES",
    "FRAME_VERSION",
    "MAX_FRAME_BYTES",
    "NOTICE",
    "OPERATION_OVERHEAD_BYTES",
    "Answer",
    "Operation",
    "decode_answers",
    "decode_loaded",
    "decode_operations",
    "decode_proof",
    "decode_traced",
    "encode_answers",
    "encode_operations",
    "encode_proof",
]

FRAME_VERSION: Final = 2
FRAME_TARGET_BYTES: Final = 256 * 1024  # a frame is closed when it reaches this; a larger item goes alone
MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
"""Room for one object: clients make it no larger than MAX_OBJECT_BYTES at each owner, of which there are at
most seven, and merging adds these up.  Rule V5: docs/protocol/versions.md."""
OPERATION_OVERHEAD_BYTES: Final = 96  # upper bound of all that is in an operation beside its body

NOTICE: Final = 0
"""The id of an answer that nobody asked for: the side that answers is about to stop (rule T10)."""

_UNSTAMPED_VERSION: Final = 1
_OPERATIONS: Final = 1
_ANSWERS: Final = 2
_PROOF: Final = 3
_HEADER: Final = struct.Struct(">BBI")  # version, kind, crc32c of the body


Operation: TypeAlias = tuple[int, str, int, int, bytes]
"""One call: (id chosen by the side that asks and unique on its stream, method, remaining microseconds until
nobody waits for the answer any more, priority, body)."""

Answer: TypeAlias = tuple[int, bytes] | tuple[int, bytes, bytes] | tuple[int, bytes, bytes, int]
"""What came of one call: (id, body), or (id, b"", the error as `error_bytes` writes it).  With a fourth field
the error is that of all calls from the id on up to that id, which are refused together."""

_OPERATION_SHAPE: Final = (int, str, int, int, bytes)
_ANSWER_SHAPES: Final = ((int, bytes), (int, bytes, bytes), (int, bytes, bytes, int))
_STAMPED_SHAPE: Final = (int, tuple)
_TRACED_SHAPE: Final = (int, tuple, tuple)
_LOADED_SHAPE: Final = (int, tuple, int)
_MOST_LOAD: Final = 255
_TRACE_SHAPE: Final = (int, bytes)
_NO_TRACES: Final[Mapping[int, bytes]] = MappingProxyType({})


def encode_operations(
    operations: Sequence[Operation],
    sent_us: int | None = None,
    traces: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A frame of calls.  `sent_us` is what the receiver's clock reads now, as far as the sender knows;
    None makes a frame of the former version, which has no `traces`.

    These are for a receiver that has said that it takes them: the ids of calls that are traced, each with
    TRACE_BYTES.
    """
    return _seal(_OPERATIONS, operations, sent_us, traces or None)


def encode_answers(answers: Sequence[Answer], clock_us: int | None = None, load: int | None = None) -> bytes:
    """A frame of answers.  `clock_us` is the reading of the sender's clock; None makes a frame of the former
    version, which has no `load`.

    That is for a receiver that has said that it takes it: 0 to 255, how much the sender has under way.
    """
    return _seal(_ANSWERS, answers, clock_us, load)


def decode_operations(
    frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES
) -> tuple[list[Operation], int | None]:
    """The calls of a frame, and its stamp.

    Raises ProtocolMismatch: wrong version, kind, checksum, length or shape.
    """
    operations, sent_us, _ = decode_traced(frame, max_bytes=max_bytes)
    return operations, sent_us


def decode_traced(
    frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES
) -> tuple[list[Operation], int | None, Mapping[int, bytes]]:
    """The calls of a frame, its stamp, and by their ids the traces of calls that have one.

    Raises as `decode_operations`.
    """
    operations, sent_us, traces = _open(_OPERATIONS, frame, max_bytes)
    if operations and not _are_all(operations, _OPERATION_SHAPE):
        raise ProtocolMismatch("a frame holds an invalid operation: expected 5 typed fields")
    if not traces:
        return operations, sent_us, _NO_TRACES
    if not _are_all(traces, _TRACE_SHAPE) or any(len(trace) != TRACE_BYTES for _, trace in traces):
        raise ProtocolMismatch(f"a frame holds an invalid trace: expected an id and {TRACE_BYTES} bytes")
    return operations, sent_us, dict(traces)


def decode_answers(frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> tuple[list[Answer], int | None]:
    """The answers of a frame, and its stamp.  Raises as `decode_operations`."""
    answers, clock_us, _ = decode_loaded(frame, max_bytes=max_bytes)
    return answers, clock_us


def decode_loaded(
    frame: bytes, *, max_bytes: int = MAX_FRAME_BYTES
) -> tuple[list[Answer], int | None, int | None]:
    """The answers of a frame, its stamp, and how much the node has under way, 0 to 255; None when it does
    not say.  Raises as `decode_operations`."""
    answers, clock_us, load = _open(_ANSWERS, frame, max_bytes)
    if load is not None and not 0 <= load <= _MOST_LOAD:
        raise ProtocolMismatch(f"a frame tells a load of {load}: expected 0 to {_MOST_LOAD}")
    if answers and _are_all(answers, _ANSWER_SHAPES[0]):  # none of them an error, as nearly always
        return answers, clock_us, load
    for answer in answers:
        if type(answer) is not tuple or tuple(map(type, answer)) not in _ANSWER_SHAPES:
            raise ProtocolMismatch("a frame holds an invalid answer: expected 2 to 4 typed fields")
    return answers, clock_us, load


def encode_proof(proof: bytes) -> bytes:
    """The first frame of a node that dialled: that it knows the cluster's secret."""
    return _HEADER.pack(FRAME_VERSION, _PROOF, google_crc32c.value(proof)) + proof


def decode_proof(frame: bytes) -> bytes:
    """Raises ProtocolMismatch: wrong version, kind or checksum."""
    return _checked(_PROOF, frame, FRAME_TARGET_BYTES)[1]


def _are_all(entries: Sequence[Any], shape: tuple[type, ...]) -> bool:
    """Whether each is a tuple of this shape.  A column at a time: what is refused costs mostly this."""
    if set(map(type, entries)) != {tuple}:
        return False
    try:
        columns = tuple(zip(*entries, strict=True))
    except ValueError:  # not of one length
        return False
    return len(columns) == len(shape) and all(
        set(map(type, column)) == {kind} for column, kind in zip(columns, shape, strict=True)
    )


def _shape(entry: object) -> tuple[type, ...]:
    return tuple(map(type, entry)) if type(entry) is tuple else ()


def _seal(kind: int, entries: Sequence[Any], stamp_us: int | None, more: object = None) -> bytes:
    """`more` is what stands behind the entries, in a frame with a stamp."""
    version = _UNSTAMPED_VERSION if stamp_us is None else FRAME_VERSION
    stamped = [stamp_us, entries] if more is None else [stamp_us, entries, more]
    body: bytes = msgpack.packb(entries if stamp_us is None else stamped)
    return _HEADER.pack(version, kind, google_crc32c.value(body)) + body


def _open(kind: int, frame: bytes, max_bytes: int) -> tuple[list[Any], int | None, Any]:
    """The entries of a frame, its stamp, and what stands behind them: of traces, or the load, or None."""
    version, body = _checked(kind, frame, max_bytes)
    try:  # msgpack bounds every length it meets by the bytes it was given
        fields = msgpack.unpackb(
            body, use_list=False, object_pairs_hook=_refuse, ext_hook=_refuse, max_ext_len=0
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"a frame's body is not msgpack: {error}") from error
    if not isinstance(fields, tuple):
        raise ProtocolMismatch(f"a frame's body is {type(fields).__name__}, not an array")
    if version == _UNSTAMPED_VERSION:
        return list(fields), None, None
    shape = _shape(fields)
    has_more = shape == (_TRACED_SHAPE if kind == _OPERATIONS else _LOADED_SHAPE)
    if not (has_more or shape == _STAMPED_SHAPE) or fields[0] < 0:
        raise ProtocolMismatch("a frame's body is not a stamp and an array")
    return list(fields[1]), fields[0], fields[2] if has_more else None


def _refuse(*_: object) -> None:
    """A frame has neither maps nor what msgpack calls extensions: a byte of the one takes 64 in memory."""
    raise ValueError("a map or an extension")


def _checked(kind: int, frame: bytes, max_bytes: int) -> tuple[int, bytes]:
    """The version and the body of a frame that is whole and of this kind."""
    if len(frame) > max_bytes:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes is over the limit of {max_bytes}")
    if len(frame) < _HEADER.size:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes is shorter than its header")
    version, found_kind, crc = _HEADER.unpack_from(frame)
    if version not in (_UNSTAMPED_VERSION, FRAME_VERSION):
        raise ProtocolMismatch(f"frame version {version} is not known here, only 1 to {FRAME_VERSION}")
    body = frame[_HEADER.size :]
    if google_crc32c.value(body) != crc:
        raise ProtocolMismatch(f"a frame of {len(frame)} bytes does not match its checksum")
    if found_kind != kind:
        raise ProtocolMismatch(f"frame kind {found_kind} came where {kind} was expected")
    return version, body
