"""What a client's link tells of a node that is there, not there, going, or not answering."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_errors import error_from_rpc
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.services.table import Method, Service, Stream, Unary, Upload

CHECK = "/grpc.health.v1.Health/Check"
IDENTIFY = "/ringmill.v1.Topology/Identify"
N1 = NodeId("n1")


@pytest.fixture
def carrier() -> CarrierName:
    """Plain calls go over gRPC."""
    return "grpc"


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


async def test_an_answer_that_is_not_a_message_of_its_method_is_a_protocol_mismatch(
    nodes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def garbage(*_: Any) -> bytes:
        return b"\xff"

    async def much_garbage(*_: Any) -> AsyncIterator[bytes]:
        yield b"\xff"

    async def requests() -> AsyncIterator[IdentifyRequest]:
        yield IdentifyRequest()

    methods: dict[str, Method] = {
        "Identify": Unary(garbage),
        "Up": Upload(garbage),
        "Down": Stream(much_garbage),
    }
    nodes.secret, nodes.tables = "", (Service("ringmill.v1.Topology", methods),)
    await nodes.start("n1")
    async with ClientLink(nodes.addresses[N1]) as link:
        asked = IDENTIFY.replace
        for told in (
            link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5),
            link.upload(asked("Identify", "Up"), requests(), IdentifyResponse, 5),
            anext(aiter(link.stream(asked("Identify", "Down"), IdentifyRequest(), IdentifyResponse, 5))),
        ):
            with pytest.raises(ProtocolMismatch, match="the answer cannot be read") as unread:
                await told
            assert unread.value.outcome == "unknown"
    assert "Traceback" not in caplog.text


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


@pytest.mark.parametrize("own_limit_mib", [5, 64])
async def test_a_request_over_the_limit_of_either_side_is_the_caller_s_mistake(
    nodes: Any, own_limit_mib: int
) -> None:
    await nodes.start("n1")
    async with ClientLink(nodes.addresses[N1], max_frame_bytes=own_limit_mib << 20) as link:
        with pytest.raises(
            InvalidArgument, match=r"request is over the limit .*\(34603\d{3} vs\. (5\d{6}|33555\d{3})\)"
        ) as told:
            await link.unary(CHECK, HealthCheckRequest(service="x" * (33 << 20)), HealthCheckResponse, 20)
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
