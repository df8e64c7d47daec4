"""Requests that come by half keep the room that gRPC makes for them for a time, and are bounded together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import MOST_OF_A_CONNECTION, GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.stubs.kv_pb2 import Frame, GetRequest, GetResponse
from ringmill.node.services.grpc_calls import timed_bodies
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.grpc_calls.timed_bodies import TimedBodies
from ringmill.node.services.server import MOST_STREAMS, NodeServer, Services
from ringmill.node.services.table import Call, Service, stream, unary
from tests.node.services.raw_http2 import MAX_STREAMS, RawHttp2

GET = "/ringmill.v1.Kv/Get"
SESSION = "/ringmill.v1.Kv/Session"
LONG = 30 << 20
PATHS = [
    GET,
    "/ringmill.v1.Kv/Watch",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


async def epoch_seven(request: GetRequest, call: Call) -> GetResponse:
    return GetResponse(epoch=7)


async def epochs(request: GetRequest, call: Call) -> AsyncIterator[GetResponse]:
    yield GetResponse(epoch=7)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    clock = SystemClock()
    transport = FrameTransport(NodeId("n1"), GrpcCarrier(LINK, clock=clock), clock=clock, entropy=OsEntropy())
    table = Service(
        "ringmill.v1.Kv", {"Get": unary(GetRequest, epoch_seven), "Watch": stream(GetRequest, epochs)}
    )
    async with transport:
        services = Services(GrpcAcceptor(transport), grpc_handlers([table], clock))
        async with NodeServer("127.0.0.1:0", services) as server:
            yield server.address


@pytest.fixture
async def caller(address: str) -> AsyncIterator[RawHttp2]:
    caller = await RawHttp2().open(address)
    yield caller
    await caller.close()


async def assert_answers(address: str) -> None:
    async with ClientLink(address) as link:
        assert (await link.unary(GET, GetRequest(), GetResponse, 20)).epoch == 7


async def test_a_call_whose_request_does_not_come_whole_is_ended(address: str, caller: RawHttp2) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timed_bodies, "BODY_S", 0.05)
        async with asyncio.timeout(20):
            for ended in [caller.begin(path, LONG, b"beginning") for path in PATHS]:
                await ended.wait()
    await assert_answers(address)


async def test_the_oldest_of_too_many_slow_requests_are_ended_though_no_other_begins(
    address: str, caller: RawHttp2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_bodies, "MOST_SLOW", 2)
    monkeypatch.setattr(timed_bodies, "SLOW_S", 0.05)
    begun = [caller.begin(GET, LONG, b"") for _ in range(5)]
    async with asyncio.timeout(20):
        for each in begun[:3]:
            await each.wait()
    await assert_answers(address)
    assert not any(each.is_set() for each in begun[3:])
    another = caller.begin(GET, LONG, b"")
    async with asyncio.timeout(20):
        await begun[3].wait()
    assert not begun[4].is_set() and not another.is_set()


async def test_requests_that_have_just_begun_give_way_to_none(
    address: str, caller: RawHttp2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_bodies, "MOST_SLOW", 2)
    monkeypatch.setattr(timed_bodies, "SLOW_S", 60.0)
    begun = [caller.begin(GET, LONG, b"") for _ in range(5)]
    await assert_answers(address)
    assert not any(each.is_set() for each in begun)


class HalfRequest:
    """A call whose request comes when the test says so, or never."""

    def __init__(self) -> None:
        self._has_come: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.status: tuple[grpc.StatusCode, str, object] | None = None

    async def read(self) -> object:
        await self._has_come
        if self.status is not None:
            raise grpc.aio.AbortError
        return GetRequest()

    async def abort(self, *status: Any) -> None:
        self.status = status
        self.come()
        raise grpc.aio.AbortError

    def come(self) -> None:
        """Its last byte is there, or it will never be."""
        if not self._has_come.done():
            self._has_come.set_result(None)

    @property
    def error(self) -> str:
        """What its caller is told."""
        assert self.status is not None
        return type(error_in_metadata(cast("Any", self.status[2]))).__name__


def begin_call(bodies: TimedBodies) -> tuple[HalfRequest, asyncio.Task[Any]]:
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: asyncio.sleep(0, "answer"))
    method = bodies.handlers({"Get": handler})["Get"].stream_unary
    call = HalfRequest()
    return call, asyncio.create_task(method(None, call))


async def test_quick_requests_beside_slow_ones_end_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_bodies, "MOST_SLOW", 2)
    monkeypatch.setattr(timed_bodies, "SLOW_S", 0.05)
    bodies = TimedBodies()
    slow = [begin_call(bodies) for _ in range(2)]
    await asyncio.sleep(0.06)
    quick = [begin_call(bodies) for _ in range(5)]
    for call, _ in quick:
        call.come()
    await asyncio.sleep(0.3)
    for call, _ in slow:
        call.come()
    assert [await answered for _, answered in slow + quick] == ["answer"] * 7


async def test_a_request_that_is_ended_is_told_why_and_its_read_is_not_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timed_bodies, "MOST_SLOW", 2)
    monkeypatch.setattr(timed_bodies, "SLOW_S", 0.05)
    bodies = TimedBodies()
    calls = [begin_call(bodies) for _ in range(3)]
    with pytest.raises(grpc.aio.AbortError):  # which the read has raised
        await calls[0][1]
    assert calls[0][0].error == "Overloaded"
    monkeypatch.setattr(timed_bodies, "BODY_S", 0.1)
    calls.append(begin_call(bodies))
    with pytest.raises(grpc.aio.AbortError):
        await calls[3][1]
    assert {each.error for each, _ in calls[1:]} <= {"Overloaded", "DeadlineExceeded"}
    assert calls[3][0].error == "DeadlineExceeded"


async def test_a_connection_has_a_bounded_number_of_streams(caller: RawHttp2) -> None:
    assert caller.settings[MAX_STREAMS] == MOST_STREAMS


async def test_a_connection_has_few_streams_of_frames(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        session = channel.stream_stream(SESSION, Frame.SerializeToString, Frame.FromString)
        sessions = [session() for _ in range(MOST_OF_A_CONNECTION)]
        for each in sessions:
            await each.initial_metadata()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await session().read()
        assert isinstance(error_in_metadata(caught.value.trailing_metadata()), Overloaded)
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=own_connection) as other:
            another = other.stream_stream(SESSION, Frame.SerializeToString, Frame.FromString)
            assert dict(await another().initial_metadata()), "another connection has room"
        sessions.pop().cancel()
        async with asyncio.timeout(20):
            again = session()
            while not dict(await again.initial_metadata()):  # its place is free once the node has heard of it
                again = session()
