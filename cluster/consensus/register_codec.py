"""The bytes of a register's value and of an acceptor's state.  Layout: docs/formats/register.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.consensus.ballots import ballot_of
from ringmill.cluster.consensus.register import EMPTY_REGISTER, AppliedChange, Register
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId

__all__ = ["FORMAT_VERSION", "decode_acceptor", "decode_register", "encode_acceptor", "encode_register"]

FORMAT_VERSION: Final = 1
_pack: Callable[[object], bytes] = msgpack.packb
_HEAD: Final = bytes([FORMAT_VERSION])
_MAX_U64: Final = (1 << 64) - 1


def encode_register(register: Register) -> bytes:
    """Version byte and msgpack body."""
    applied = [
        [*each.operation, each.version, each.time, each.is_retry, each.number] for each in register.applied
    ]
    return _HEAD + _pack(
        [register.version, register.value, applied, register.forgotten_version, register.forgotten]
    )


def decode_register(data: bytes) -> Register:
    """The register of no bytes is the empty one.  Raises ProtocolMismatch, CorruptData."""
    if not data:
        return EMPTY_REGISTER
    try:
        version, value, applied, forgotten_version, forgotten = _body(data)
        register = Register(
            _u64(version),
            _bytes_or_none(value),
            tuple([_applied(fields) for fields in applied]),
            _u64(forgotten_version),
            HybridTime(_u64(forgotten)),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"a register of {len(data)} bytes does not decode: {error}") from error
    return register


def encode_acceptor(state: AcceptorState) -> bytes:
    """Version byte and msgpack body."""
    return _HEAD + _pack([list(state.promised), list(state.accepted), state.value])


def decode_acceptor(data: bytes | None) -> AcceptorState:
    """The state of no bytes is the untouched one.  Raises ProtocolMismatch, CorruptData."""
    if not data:
        return UNTOUCHED
    try:
        promised, accepted, value = _body(data)
        if type(value) is not bytes:
            raise TypeError(f"a value of type {type(value).__name__}")
        return AcceptorState(ballot_of(promised), ballot_of(accepted), value)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"an acceptor of {len(data)} bytes does not decode: {error}") from error


def _body(data: bytes) -> Any:
    if data[0] != FORMAT_VERSION:
        raise ProtocolMismatch(f"a register of format {data[0]}, this release reads {FORMAT_VERSION}")
    return msgpack.unpackb(data[1:])


def _applied(fields: Any) -> AppliedChange:
    session, sequence, birth, version, time, is_retry, number = fields
    if type(is_retry) is not bool or not (number is None or type(number) is int):
        raise TypeError("a flag or a number of another type")
    operation = OperationId(_u64(session), _u64(sequence), HybridTime(_u64(birth)))
    return AppliedChange(operation, _u64(version), HybridTime(_u64(time)), is_retry, number)


def _u64(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_U64:
        raise ValueError(f"{value!r} is not an unsigned 64-bit number")
    return value


def _bytes_or_none(value: Any) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    raise TypeError(f"a value of type {type(value).__name__}")
