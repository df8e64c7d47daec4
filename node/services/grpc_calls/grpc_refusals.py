"""The server's side of the error conversion: turns what a method raises into a gRPC status with metadata.

Nothing else in node/services converts errors.  The caller's side is
cluster/adapters/network/grpc_errors.py; both speak cluster/wire/error_status.py.
"""

from __future__ import annotations

from typing import NoReturn

import grpc

from ringmill.cluster.complaints import Complaints
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.error_status import WholeStatus

__all__ = ["abort", "told_error_of"]


def told_error_of(error: Exception, method: str, complaints: Complaints) -> RingmillError:
    """What the caller of a method is told that raised this.

    An unexpected error is logged, the first of a kind with its trace, and becomes INTERNAL.
    """
    if isinstance(error, RingmillError):
        return error
    complaints.add(method, error)
    return RingmillError(f"{method} failed: {type(error).__name__}: {error}", outcome="unknown")


async def abort(context: grpc.aio.ServicerContext, status: WholeStatus) -> NoReturn:
    """End a call that has one answer.  It ends with its status alone: after an answer, though an empty one,
    clients in other languages would not ask again by themselves.

    gRPC keeps the exception that this raises with its call, and the exception keeps the frames that it
    passes, in a cycle that only the collector frees.  So it is not raised where an error is handled, which
    would be kept too, with all that its method had in hand.
    """
    await context.abort(*status)
    raise AssertionError("abort always raises")
