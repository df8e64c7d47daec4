"""One port, all services: health, reflection, limits, and a node that rubbish does not harm."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator

import google_crc32c
import grpc
import msgpack
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.ports import Incoming
from ringmill.cluster.wire.error_status import error_in_metadata
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES, encode_operations
from ringmill.cluster.wire.stubs.kv_pb2 import Frame, GetRequest, GetResponse
from ringmill.node.services import server as of_server
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Call, Service, unary

CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SESSION = "/ringmill.v1.Kv/Session"


def node_transport(name: str) -> FrameTransport:
    clock = SystemClock()
    return FrameTransport(NodeId(name), GrpcCarrier(LINK, clock=clock), clock=clock, entropy=OsEntropy())


@pytest.fixture
async def server() -> AsyncIterator[NodeServer]:
    transport = node_transport("n1")
    transport.serve("kv.get", lambda incoming: incoming.body)
    async with transport:
        services = Services(GrpcAcceptor(transport))
        async with NodeServer("127.0.0.1:0", services) as server:
            yield server


async def health(address: str, service: str) -> str:
    async with ClientLink(address) as link:
        answer = await link.unary(CHECK, HealthCheckRequest(service=service), HealthCheckResponse, 5)
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


async def refusal_of(address: str, path: str, body: bytes) -> grpc.aio.AioRpcError:
    """What a stream that sends one frame of `body` ends with."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(path, Frame.SerializeToString, Frame.FromString)(
            metadata=(("ringmill-node", "n9"),)
        )
        await call.write(Frame(body=body))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        return caught.value


async def assert_unharmed(server: NodeServer) -> None:
    async with ClientLink(server.address) as link:
        assert await link.session_call("kv.get", b"alive", 5) == b"alive"


async def test_health_has_three_services_that_change_by_themselves(server: NodeServer) -> None:
    names = ("liveness", "startup", "readiness", "")
    seen = [[await health(server.address, name) for name in names]]
    await server.set_started()
    seen.append([await health(server.address, name) for name in names])
    await server.set_ready(True)
    seen.append([await health(server.address, name) for name in names])
    yes, no = "SERVING", "NOT_SERVING"
    assert seen == [[yes, no, no, no], [yes, yes, no, no], [yes, yes, yes, yes]]


async def test_reflection_names_every_service(server: NodeServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            REFLECTION, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString
        )()
        await call.write(ServerReflectionRequest(list_services=""))
        answer = await call.read()
        await call.write(ServerReflectionRequest(file_containing_symbol="ringmill.v1.Kv"))
        described = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {f"ringmill.v1.{name}" for name in ("Kv", "Peer", "Topology", "Membership", "Jobs")}
    assert described.file_descriptor_response.file_descriptor_proto


async def test_a_taken_port_is_an_error_that_names_it(server: NodeServer) -> None:
    transport = node_transport("n2")
    second = NodeServer(server.address, Services(GrpcAcceptor(transport)))
    with pytest.raises(InvalidArgument, match=f"cannot listen on {server.address}"):
        async with second:
            pass


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 4096,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
        os.urandom(65536),
    ],
    ids=["http1", "zeroes", "http2 preface and then rubbish", "random"],
)
async def test_rubbish_bytes_on_the_port_leave_the_node_unharmed(server: NodeServer, rubbish: bytes) -> None:
    host, _, port = server.address.rpartition(":")
    for _ in range(3):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(rubbish)
            async with asyncio.timeout(20):
                while await reader.read(65536):
                    pass  # gRPC may say goodbye in its own words before it hangs up
        except ConnectionError:
            pass
        finally:
            writer.close()
    await assert_unharmed(server)


async def test_connections_that_say_nothing_leave_the_node_unharmed(server: NodeServer) -> None:
    host, _, port = server.address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    try:
        await assert_unharmed(server)
    finally:
        for connection in silent:
            connection.close()


async def outcome_once_the_end_is_read(link: ClientLink) -> str:
    """A call that went out before the link has read the end of its stream is `unknown`: ask again."""
    while True:
        with pytest.raises(Unavailable) as gone:
            await link.session_call("kv.put", b"", 30)
        if gone.value.outcome != "unknown":
            return gone.value.outcome


async def test_a_node_that_stops_answers_its_sessions_and_then_goes_at_once() -> None:
    transport = node_transport("n1")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(incoming: Incoming) -> bytes:
        begun.set()
        await go_on.wait()
        return incoming.body

    transport.serve("kv.put", slow)
    async with transport:
        services = Services(GrpcAcceptor(transport))
        async with NodeServer("127.0.0.1:0", services) as server, ClientLink(server.address) as link:
            call = asyncio.create_task(link.session_call("kv.put", b"kept", 30))
            await begun.wait()
            draining = asyncio.create_task(transport.drain(20))
            await asyncio.sleep(0)
            async with ClientLink(server.address) as late:
                with pytest.raises(Unavailable, match="n1 is stopping") as caught:
                    await late.session_call("kv.put", b"", 30)
            assert caught.value.outcome == "failed"
            go_on.set()
            assert await call == b"kept"
            await draining
            async with asyncio.timeout(20):
                await server.stop(grace_s=300)
                assert await outcome_once_the_end_is_read(link) == "failed"


async def epoch_seven(request: GetRequest, call: Call) -> GetResponse:
    return GetResponse(epoch=7)


async def test_one_service_has_unary_methods_and_the_transports_session() -> None:
    transport = node_transport("n1")
    transport.serve("kv.get", lambda incoming: incoming.body)
    async with transport:
        table = Service("ringmill.v1.Kv", {"Get": unary(GetRequest, epoch_seven)})
        methods = grpc_handlers([table], SystemClock())
        services = Services(GrpcAcceptor(transport), methods)
        async with NodeServer("127.0.0.1:0", services) as server, ClientLink(server.address) as link:
            assert await link.session_call("kv.get", b"framed", 20) == b"framed"
            assert (await link.unary("/ringmill.v1.Kv/Get", GetRequest(), GetResponse, 20)).epoch == 7


def sealed(body: bytes, *, version: int = 1, kind: int = 1) -> bytes:
    return struct.pack(">BBI", version, kind, google_crc32c.value(body)) + body


BROKEN = {
    "rubbish": (b"\xff" * 100, "version 255"),
    "a wrong version": (sealed(b"\x90", version=7), "frame version 7"),
    "a wrong checksum": (encode_operations([])[:-1] + b"\x91", "checksum"),
    "answers where calls belong": (sealed(b"\x90", kind=2), "frame kind 2"),
    "a wrong shape": (sealed(msgpack.packb([["x"]])), "an invalid operation"),
    "an empty message": (b"", "shorter than its header"),
}


@pytest.mark.parametrize("path", [SESSION, LINK])
@pytest.mark.parametrize(("frame", "reason"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_frame_ends_its_stream_as_a_mismatch(
    server: NodeServer, path: str, frame: bytes, reason: str
) -> None:
    refusal = await refusal_of(server.address, path, frame)
    assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION
    error = error_in_metadata(refusal.trailing_metadata())
    assert isinstance(error, ProtocolMismatch)
    assert reason in error.message
    await assert_unharmed(server)


@pytest.mark.parametrize(("path", "limit"), [(SESSION, MAX_CLIENT_MESSAGE_BYTES), (LINK, MAX_FRAME_BYTES)])
async def test_an_over_long_frame_is_refused_by_its_length(server: NodeServer, path: str, limit: int) -> None:
    refusal = await refusal_of(server.address, path, bytes(limit + 1))
    error = error_in_metadata(refusal.trailing_metadata())
    assert isinstance(error, ProtocolMismatch)
    assert f"{limit + 1} bytes is over the limit of {limit}" in error.message
    await assert_unharmed(server)


@pytest.mark.parametrize("path", [SESSION, LINK])
async def test_a_message_beyond_every_limit_is_refused_by_the_carrier(server: NodeServer, path: str) -> None:
    refusal = await refusal_of(server.address, path, bytes(33 * 1024 * 1024))
    assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await assert_unharmed(server)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and empty SETTINGS: it speaks gRPC


async def test_a_connection_that_asks_nothing_is_closed_and_one_with_a_stream_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_server, "IDLE_S", 0.3)
    watch = "/grpc.health.v1.Health/Watch"
    async with (
        node_transport("n1") as transport,
        NodeServer("127.0.0.1:0", Services(GrpcAcceptor(transport))) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        asking = channel.unary_stream(
            watch, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )(HealthCheckRequest(service=""))
        await asking.read()
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE)
        async with asyncio.timeout(20):
            assert b"connection idle" in await reader.read()
        writer.close()
        assert not asking.done()
        asking.cancel()
