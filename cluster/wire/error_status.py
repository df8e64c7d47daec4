"""An error at the gRPC edge: its status code and the trailing metadata that carries all of it.

Both sides of every gRPC method convert here and nowhere else: servicers through
node/services/grpc_calls/grpc_refusals.py, callers through cluster/adapters/network/grpc_errors.py.  The table
error -> status is cluster/errors.py itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import grpc

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.error_bytes import (
    ERROR_METADATA_KEY,
    MAX_METADATA_ERROR_BYTES,
    decode_error,
    encode_error,
)

__all__ = ["end_with", "error_in_metadata", "status_details", "status_of", "trailing_metadata"]

_DETAILS_CHARACTERS: Final = 500  # of the message in the status itself; the whole one is in the metadata


def status_of(error: RingmillError) -> grpc.StatusCode:
    """The gRPC status code of an error."""
    return grpc.StatusCode[error.grpc_status]


def status_details(error: RingmillError) -> str:
    """What a client that knows only gRPC shows."""
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return text[:_DETAILS_CHARACTERS]


def trailing_metadata(error: RingmillError) -> tuple[tuple[str, bytes], ...]:
    """The error as metadata, cut to what the carrier takes."""
    return ((ERROR_METADATA_KEY, encode_error(error, max_bytes=MAX_METADATA_ERROR_BYTES)),)


def end_with(context: grpc.aio.ServicerContext, error: RingmillError) -> None:
    """Give a call the status that the caller sees as `error`, once its method returns.

    `context.abort` would keep the exception that it raises, and with it every frame that it passed and what
    they held, in a cycle that only the collector frees: of each refused call as much as it had sent.
    """
    context.set_trailing_metadata(trailing_metadata(error))
    context.set_details(status_details(error))
    context.set_code(status_of(error))


def error_in_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> RingmillError | None:
    """The error that `trailing_metadata` wrote, or None.  Raises ProtocolMismatch when it is broken."""
    for key, value in metadata or ():
        if key == ERROR_METADATA_KEY and isinstance(value, bytes):
            return decode_error(value)
    return None
