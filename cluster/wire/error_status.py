"""An error at the gRPC edge: its status code and the trailing metadata that carries all of it.

Both sides of every gRPC method convert here and nowhere else: servicers through
node/services/grpc_calls/grpc_refusals.py, callers through cluster/adapters/network/grpc_errors.py.  The table
error -> status is cluster/errors.py itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import grpc

from ringmill.cluster.errors import RingmillError, sound
from ringmill.cluster.wire.error_bytes import (
    ERROR_METADATA_KEY,
    MAX_METADATA_ERROR_BYTES,
    decode_error,
    encode_error,
)

__all__ = [
    "WholeStatus",
    "end_with",
    "error_in_metadata",
    "status_details",
    "status_of",
    "trailing_metadata",
    "whole_status",
]

WholeStatus: TypeAlias = tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]

_DETAILS_CHARACTERS: Final = 500  # of the message in the status itself; the whole one is in the metadata


def status_of(error: RingmillError) -> grpc.StatusCode:
    """The gRPC status code of an error."""
    return grpc.StatusCode[error.grpc_status]


def status_details(error: RingmillError) -> str:
    """What a client that knows only gRPC shows."""
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return sound(text)[:_DETAILS_CHARACTERS]


def trailing_metadata(error: RingmillError) -> tuple[tuple[str, bytes], ...]:
    """The error as metadata, cut to what the carrier takes."""
    return ((ERROR_METADATA_KEY, encode_error(error, max_bytes=MAX_METADATA_ERROR_BYTES)),)


def whole_status(error: RingmillError) -> WholeStatus:
    """What a call ends with whose caller sees `error`: code, details and metadata."""
    return status_of(error), status_details(error), trailing_metadata(error)


def end_with(context: grpc.aio.ServicerContext, error: RingmillError) -> None:
    """Give a stream the status that its caller sees as `error`, once its method returns."""
    code, details, metadata = whole_status(error)
    context.set_trailing_metadata(metadata)
    context.set_details(details)
    context.set_code(code)


def error_in_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> RingmillError | None:
    """The error that `trailing_metadata` wrote, or None.  Raises ProtocolMismatch when it is broken."""
    for key, value in metadata or ():
        if key == ERROR_METADATA_KEY and isinstance(value, bytes):
            return decode_error(value)
    return None
