"""An error raised by a method is the same error at the caller, over a real server and a real link."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuorumNotReached,
    RingmillError,
)
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.stubs.jobs_pb2 import BundleChunk, JobStatus, PutBundleResponse, WatchRequest
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest, StatusResponse
from ringmill.node.services.grpc_calls import timed_uploads
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.grpc_calls.timed_uploads import TimedUploads
from ringmill.node.services.table import Call, Service, stream, unary, upload
from tests.log_records import own_records

STATUS = "/ringmill.v1.Membership/Status"
WATCH = "/ringmill.v1.Jobs/Watch"
PUT_BUNDLE = "/ringmill.v1.Jobs/PutBundle"


class Held:
    """Something large that a method has in hand when it refuses."""


class Raises:
    """Three methods that end with the error they were made with."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.held: list[weakref.ref[Held]] = []

    async def status(self, request: StatusRequest, call: Call) -> StatusResponse:
        held = self._hold()
        raise self.next_error() if held else AssertionError

    async def watch(self, request: WatchRequest, call: Call) -> AsyncIterator[JobStatus]:
        held = self._hold()
        yield JobStatus(job="a")
        raise self.next_error() if held else AssertionError

    async def put_bundle(self, chunks: AsyncIterator[BundleChunk], call: Call) -> PutBundleResponse:
        held = self._hold()
        async for _ in chunks:
            raise self.next_error() if held else AssertionError
        return PutBundleResponse()

    def next_error(self) -> Exception:
        return self.error

    def _hold(self) -> Held:
        held = Held()
        self.held.append(weakref.ref(held))
        return held


@asynccontextmanager
async def link_to_what_raises(error: Exception) -> AsyncIterator[tuple[ClientLink, str]]:
    async with link_to(Raises(error)) as found:
        yield found


@asynccontextmanager
async def link_to(methods: Raises) -> AsyncIterator[tuple[ClientLink, str]]:
    server = grpc.aio.server()
    tables = (
        Service("ringmill.v1.Membership", {"Status": unary(StatusRequest, methods.status)}),
        Service(
            "ringmill.v1.Jobs",
            {
                "Watch": stream(WatchRequest, methods.watch),
                "PutBundle": upload(BundleChunk, methods.put_bundle),
            },
        ),
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


async def test_an_error_with_a_path_that_is_not_utf8_arrives() -> None:
    async with link_to_what_raises(InvalidArgument("output /tmp/caf\udce9 exists")) as (link, _):
        with pytest.raises(InvalidArgument, match=r"output /tmp/caf\\udce9 exists"):
            await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
        with pytest.raises(InvalidArgument, match=r"output /tmp/caf\\udce9 exists"):
            async for _status in link.stream(WATCH, WatchRequest(), JobStatus, 5):
                pass


async def test_any_other_error_is_logged_once_and_is_internal(caplog: pytest.LogCaptureFixture) -> None:
    async with link_to_what_raises(ZeroDivisionError("by accident")) as (link, _):
        for _time in range(5):  # whoever causes it can do so as often as they like
            with caplog.at_level(logging.ERROR), pytest.raises(RingmillError, match="by accident") as caught:
                await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
    assert (caught.value.code, caught.value.outcome) == ("INTERNAL", "unknown")
    assert [record.levelname for record in own_records(caplog) if record.exc_info] == ["ERROR"]
    assert len(own_records(caplog)) == 1


async def test_what_a_refused_call_had_in_hand_is_freed_without_the_collector() -> None:
    """A node looks for cycles rarely, and a refused bundle has up to 16 MiB."""
    gc.disable()
    try:
        methods = RaisesAnew(InvalidArgument("too large"))
        async with link_to(methods) as (link, _):
            await _refused(link)
            for _ in range(200):  # until the server has let go of the calls
                await asyncio.sleep(0.01)
                if not any(each() for each in methods.held):
                    break
            assert [each() for each in methods.held] == [None, None, None]
    finally:
        gc.enable()


class Keeps(Raises):
    """Reads all that is sent, as a store of bundles does."""

    async def put_bundle(self, chunks: AsyncIterator[BundleChunk], call: Call) -> PutBundleResponse:
        return PutBundleResponse(size=len([each async for each in chunks]))


@pytest.mark.parametrize("limit", ["CHUNK_S", "UPLOAD_S"])
async def test_an_upload_of_which_no_more_comes_is_ended(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def chunks() -> AsyncIterator[BundleChunk]:
        yield BundleChunk(data=b"x")
        await rest.wait()

    rest = asyncio.Event()
    async with link_to(Keeps(ValueError())) as (link, _):
        monkeypatch.setattr(timed_uploads, limit, 0.05)
        with pytest.raises(DeadlineExceeded, match="an upload has"):
            await link.upload(PUT_BUNDLE, chunks(), PutBundleResponse, 20)
        monkeypatch.undo()
        rest.set()
        assert (await link.upload(PUT_BUNDLE, chunks(), PutBundleResponse, 20)).size == 1


async def test_of_too_many_uploads_the_oldest_that_is_slow_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_uploads, "MOST_UPLOADS", 2)

    async def two(rest: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"x"
        await rest.wait()
        yield b"y"

    rests, uploads = [asyncio.Event() for _ in range(4)], TimedUploads()
    sent = [uploads.of(two(rest)) for rest in rests]
    assert [await anext(each) for each in sent[:2]] == [b"x", b"x"]
    with pytest.raises(Overloaded, match="2 uploads are under way"):
        await anext(sent[2])
    reading = asyncio.create_task(anext(sent[0]))
    await asyncio.sleep(0)
    monkeypatch.setattr(timed_uploads, "SLOW_S", 0.0)
    assert await anext(sent[3]) == b"x"
    with pytest.raises(Overloaded, match="2 uploads are under way"):
        await reading
    rests[1].set()
    assert [each async for each in sent[1]] == [b"y"]
    sent[1].close()
    assert await anext(uploads.of(two(rests[2]))) == b"x", "its place is free"


class RaisesAnew(Raises):
    """Keeps no error, and with it no frames."""

    def next_error(self) -> Exception:
        return type(self.error)(str(self.error))


async def _refused(link: ClientLink) -> None:
    with pytest.raises(RingmillError):
        await link.unary(STATUS, StatusRequest(), StatusResponse, 5)
    with pytest.raises(RingmillError):
        async for _ in link.stream(WATCH, WatchRequest(), JobStatus, 5):
            pass

    async def chunks() -> AsyncIterator[BundleChunk]:
        yield BundleChunk(data=b"x")

    with pytest.raises(RingmillError):
        await link.upload(PUT_BUNDLE, chunks(), PutBundleResponse, 5)
