"""Converts a failed gRPC call back to an error of the error tree.

With our metadata it is the same error that was raised on the other side.  Without it the call met gRPC
itself (no listener, a broken connection, a limit), and the outcome is "failed" only when the caller knows
that nothing had been sent.
"""

from __future__ import annotations

from typing import Final

import grpc

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.wire.error_status import error_in_metadata

__all__ = ["error_from_rpc", "unreachable"]

_BY_STATUS: Final[dict[grpc.StatusCode, type[RingmillError]]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolMismatch,
}


_TOO_LARGE: Final = "message larger than max"  # gRPC's words, followed by "(size vs. limit)"


def error_from_rpc(error: grpc.aio.AioRpcError, address: str, *, was_sent: bool) -> RingmillError:
    """The error of a failed call to `address`.

    `was_sent` False means that certainly nothing left this process, so the outcome is "failed".
    """
    reported = error_in_metadata(error.trailing_metadata())
    if reported is not None:
        return reported
    if error.code() is grpc.StatusCode.UNAVAILABLE and not was_sent:
        return unreachable(address, (error.details() or "").rpartition(": ")[2])
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or ""):
        return _too_large(error, address, was_sent=was_sent)
    cls = _BY_STATUS.get(error.code(), RingmillError)
    return cls(
        f"{address}: {error.details() or 'no reason given'} (gRPC {error.code().name})",
        detail={"address": address, "grpc_status": error.code().name},
        outcome="unknown" if was_sent else "failed",
    )


def _too_large(error: grpc.aio.AioRpcError, address: str, *, was_sent: bool) -> RingmillError:
    """The error of a message above the limit.

    A request that is too large never reached a servicer; an answer that is too large came after the work was
    done.
    """
    reason = error.details() or ""
    is_answer = "CLIENT: Received" in reason or "SERVER: Sent" in reason
    cls = RingmillError if is_answer else InvalidArgument
    return cls(
        f"{address}: the {'answer' if is_answer else 'request'} is over the limit of a message: {reason}",
        detail={"address": address, "grpc_status": error.code().name},
        outcome="unknown" if is_answer and was_sent else "failed",
    )


def unreachable(address: str, reason: str = "") -> Unavailable:
    """No connection could be made, so nothing was sent."""
    return Unavailable(
        f"{address} cannot be reached" + (f": {reason}" if reason else ""),
        detail={"address": address},
        hint="is the node running? see `ringmill cluster status`",
        outcome="failed",
    )
