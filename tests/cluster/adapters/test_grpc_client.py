"""What a client's link tells of a node that is there, not there, going, or not answering."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, NotFound, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.requests.forward import FORWARDS

CHECK = "/grpc.health.v1.Health/Check"
IDENTIFY = "/ringmill.v1.Topology/Identify"
N1 = NodeId("n1")


def echo(incoming: Incoming) -> bytes:
    assert incoming.sender == ""
    return incoming.body


async def test_a_session_carries_calls_of_clients_into_the_handlers(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with ClientLink(nodes.addresses[N1]) as link:
        bodies = [bytes([number]) for number in range(200)]
        assert await asyncio.gather(*(link.session_call("kv.get", body, 5) for body in bodies)) == bodies


async def test_a_session_takes_no_methods_of_peers(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("replica.apply", echo)
    async with ClientLink(nodes.addresses[N1]) as link:
        with pytest.raises(ProtocolMismatch, match=r"'replica\.apply' on this stream"):
            await link.session_call("replica.apply", b"", 5)


async def test_a_session_hands_no_write_on_for_a_node(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve(FORWARDS["put"], echo)
    async with ClientLink(nodes.addresses[N1]) as link:
        with pytest.raises(ProtocolMismatch, match="on this stream"):
            await link.session_call(FORWARDS["put"], b"", 5)


async def test_a_session_takes_no_control_class(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with ClientLink(nodes.addresses[N1]) as link:
        with pytest.raises(ProtocolMismatch, match="class 0"):
            await link.session_call("kv.get", b"", 5, priority=Priority.CONTROL)


async def test_a_handlers_error_is_the_sessions_error(nodes: Any) -> None:
    n1 = await nodes.start("n1")

    def missing(_: Incoming) -> bytes:
        raise NotFound("no such key")

    n1.serve("kv.get", missing)
    async with ClientLink(nodes.addresses[N1]) as link:
        with pytest.raises(NotFound, match="no such key"):
            await link.session_call("kv.get", b"", 5)


async def test_a_unary_call_is_answered(nodes: Any) -> None:
    await nodes.start("n1")
    async with ClientLink(nodes.addresses[N1]) as link:
        answer = await link.unary(CHECK, HealthCheckRequest(service="liveness"), HealthCheckResponse, 5)
    assert answer.status == HealthCheckResponse.SERVING


async def test_a_method_nobody_serves_is_a_protocol_mismatch(nodes: Any) -> None:
    await nodes.start("n1")
    async with ClientLink(nodes.addresses[N1]) as link:
        with pytest.raises(ProtocolMismatch):
            await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)


async def test_nobody_listening_is_a_certain_failure_for_both_kinds_of_calls() -> None:
    async with ClientLink("127.0.0.1:9") as link:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 cannot be reached") as unary:
            await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 30)
        with pytest.raises(
            Unavailable, match=r"127\.0\.0\.1:9 cannot be reached: Connection refused"
        ) as session:
            await link.session_call("kv.get", b"", 30)
    assert (unary.value.outcome, session.value.outcome) == ("failed", "failed")


async def test_a_listener_that_never_speaks_costs_the_deadline_and_is_a_certain_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with ClientLink(f"127.0.0.1:{silent.getsockname()[1]}") as link:
            with pytest.raises(DeadlineExceeded) as unary:
                await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 0.2)
            with pytest.raises(DeadlineExceeded) as session:
                await link.session_call("kv.get", b"", 0.2)
    assert (unary.value.outcome, session.value.outcome) == ("failed", "failed")


@pytest.mark.parametrize("own_limit_mib", [5, 16])
async def test_a_request_over_the_limit_of_either_side_is_the_caller_s_mistake(
    nodes: Any, own_limit_mib: int
) -> None:
    await nodes.start("n1")
    async with ClientLink(nodes.addresses[N1], max_frame_bytes=own_limit_mib << 20) as link:
        with pytest.raises(
            InvalidArgument, match=r"request is over the limit .*\(62914\d\d vs\. 5\d{6}\)"
        ) as told:
            await link.unary(CHECK, HealthCheckRequest(service="x" * (6 << 20)), HealthCheckResponse, 20)
    assert told.value.outcome == "failed"


@pytest.mark.parametrize(
    "details",
    [
        "SERVER: Sent message larger than max (6 vs. 5)",
        "Stream removed (CLIENT: Received message larger than max (6 vs. 5))",
    ],
)
def test_an_answer_over_the_limit_leaves_open_what_was_done(details: str) -> None:
    lost = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), grpc.aio.Metadata(), details
    )
    told = error_from_rpc(lost, "127.0.0.1:1", was_sent=True)
    assert (told.code, told.outcome) == ("INTERNAL", "unknown")


async def test_a_session_that_broke_is_dialled_again(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with ClientLink(nodes.addresses[N1]) as link:
        assert await link.session_call("kv.get", b"1", 5) == b"1"
        await nodes.servers[N1].stop(grace_s=0)
        await nodes.start("n1", at=nodes.addresses[N1], handlers={"kv.get": echo})
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await link.session_call("kv.get", b"2", 5) == b"2"
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)
