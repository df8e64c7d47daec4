"""The servicers' side of the error conversion: what a method raises becomes a gRPC status with metadata.

Servicers decorate their methods and raise RingmillErrors; nothing else in node/services converts errors.
The caller's side is cluster/adapters/network/grpc_errors.py; both speak cluster/wire/error_status.py.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import NoReturn, TypeVar

import grpc

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.error_status import status_details, status_of, trailing_metadata

__all__ = ["abort_with", "raises_status", "raises_status_in_stream"]

_log = logging.getLogger(__name__)

ServicerT = TypeVar("ServicerT")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_Unary = Callable[[ServicerT, RequestT, "grpc.aio.ServicerContext"], Awaitable[ResponseT]]
_Stream = Callable[[ServicerT, RequestT, "grpc.aio.ServicerContext"], AsyncIterator[ResponseT]]


async def abort_with(context: grpc.aio.ServicerContext, error: RingmillError) -> NoReturn:
    """End the call with the status of `error`; its whole content goes along as trailing metadata."""
    await context.abort(status_of(error), status_details(error), trailing_metadata(error))
    raise AssertionError("abort always raises")


def raises_status(method: _Unary[ServicerT, RequestT, ResponseT]) -> _Unary[ServicerT, RequestT, ResponseT]:
    """Decorate a servicer method with one answer.

    A RingmillError ends the call as itself; any other exception is logged with its trace and ends it as
    INTERNAL.
    """

    @wraps(method)
    async def converting(
        servicer: ServicerT, request: RequestT, context: grpc.aio.ServicerContext
    ) -> ResponseT:
        try:
            return await method(servicer, request, context)
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            await abort_with(context, _as_ours(error, method.__qualname__))

    return converting


def raises_status_in_stream(
    method: _Stream[ServicerT, RequestT, ResponseT],
) -> _Stream[ServicerT, RequestT, ResponseT]:
    """The same for a servicer method that yields its answers."""

    @wraps(method)
    async def converting(
        servicer: ServicerT, request: RequestT, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ResponseT]:
        try:
            async for response in method(servicer, request, context):
                yield response
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, the caller hears of it
            await abort_with(context, _as_ours(error, method.__qualname__))

    return converting


def _as_ours(error: Exception, method: str) -> RingmillError:
    if isinstance(error, grpc.aio.AbortError):
        raise error  # the method has ended the call by itself
    if isinstance(error, RingmillError):
        return error
    _log.error("%s failed", method, exc_info=error)
    return RingmillError(f"{method} failed: {type(error).__name__}: {error}", outcome="unknown")
