"""An error raised by a method is the same error at the caller, over a real server and a real link."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Conflict, NotFound, QuorumNotReached, RingmillError
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.stubs.jobs_pb2 import JobStatus, WatchRequest
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest, StatusResponse
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.table import Call, Service, stream, unary
from tests.log_records import own_records

STATUS = "/ringmill.v1.Membership/Status"
WATCH = "/ringmill.v1.Jobs/Watch"


class Raises:
    """Two methods that end with the error they were made with."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def status(self, request: StatusRequest, call: Call) -> StatusResponse:
        raise self.error

    async def watch(self, request: WatchRequest, call: Call) -> AsyncIterator[JobStatus]:
        yield JobStatus(job="a")
        raise self.error


@asynccontextmanager
async def link_to_what_raises(error: Exception) -> AsyncIterator[tuple[ClientLink, str]]:
    methods, server = Raises(error), grpc.aio.server()
    tables = (
        Service("ringmill.v1.Membership", {"Status": unary(StatusRequest, methods.status)}),
        Service("ringmill.v1.Jobs", {"Watch": stream(WatchRequest, methods.watch)}),
    )
    for service, handlers in grpc_handlers(tables, SystemClock()).items():
        server.add_registered_method_handlers(service, handlers)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with ClientLink(address) as link:
            yield link, address
    finally:
        await server.stop(0)


async def test_a_unary_method_raises_the_same_error_at_the_caller() -> None:
    error = QuorumNotReached.of("put", 3, ["n1"], {"n2": "refused"}, outcome="unknown")
    async with link_to_what_raises(error) as (link, _):
        with pytest.raises(QuorumNotReached) as caught:
            await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
    assert (caught.value.need, caught.value.acked, caught.value.failed) == (3, ["n1"], {"n2": "refused"})
    assert (caught.value.hint, caught.value.outcome) == (error.hint, "unknown")


async def test_a_stream_yields_what_it_had_and_then_raises_the_same_error() -> None:
    got = []
    async with link_to_what_raises(NotFound("no such job")) as (link, _):
        with pytest.raises(NotFound, match="no such job"):
            async for status in link.stream(WATCH, WatchRequest(), JobStatus, 5):
                got.append(status.job)  # noqa: PERF401
    assert got == ["a"]


async def test_a_plain_grpc_client_sees_status_and_message() -> None:
    async with (
        link_to_what_raises(Conflict("is 2", hint="read again")) as (_, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        method = channel.unary_unary(STATUS, StatusRequest.SerializeToString, StatusResponse.FromString)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(StatusRequest())
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "is 2 (read again)"
    assert isinstance(error_in_metadata(caught.value.trailing_metadata()), Conflict)


async def test_an_error_with_a_large_detail_still_arrives() -> None:
    async with link_to_what_raises(Conflict("is large", detail={"current": bytes(1_000_000)})) as (link, _):
        with pytest.raises(Conflict, match="is large") as caught:
            await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
    assert caught.value.detail == {"current": "(1000005 bytes left out)"}


async def test_any_other_error_is_logged_once_and_is_internal(caplog: pytest.LogCaptureFixture) -> None:
    async with link_to_what_raises(ZeroDivisionError("by accident")) as (link, _):
        with caplog.at_level(logging.ERROR), pytest.raises(RingmillError, match="by accident") as caught:
            await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
    assert (caught.value.code, caught.value.outcome) == ("INTERNAL", "unknown")
    assert len([record for record in own_records(caplog) if record.exc_info]) == 1
