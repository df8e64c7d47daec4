"""The server's side of the error conversion: turns what a method raises into a gRPC status with metadata.

Nothing else in node/services converts errors.  The caller's side is
cluster/adapters/network/grpc_errors.py; both speak cluster/wire/error_status.py.
"""

from __future__ import annotations

import logging

import grpc

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.error_status import end_with

__all__ = ["refuse"]

_log = logging.getLogger(__name__)


def refuse(context: grpc.aio.ServicerContext, error: Exception, method: str) -> None:
    """Give the call the status of what `method` raised; the metadata carries the whole error.

    An unexpected error is logged with its trace and ends the call as INTERNAL.
    """
    end_with(context, error if isinstance(error, RingmillError) else _unexpected(error, method))


def _unexpected(error: Exception, method: str) -> RingmillError:
    _log.error("%s failed", method, exc_info=error)
    return RingmillError(f"{method} failed: {type(error).__name__}: {error}", outcome="unknown")
