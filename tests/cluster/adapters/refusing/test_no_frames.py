"""What comes on a gRPC stream of frames and is none ends that stream with one typed error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest

from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from tests.cluster.adapters.conftest import Nodes


@pytest.fixture
async def over_grpc() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(stack, "grpc", secret="")


async def echo(incoming: Incoming) -> bytes:
    return incoming.body


async def test_what_is_not_a_frame_is_refused_and_not_logged_with_a_traceback(
    over_grpc: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    await over_grpc.start("n1")
    async with grpc.aio.insecure_channel(over_grpc.addresses[NodeId("n1")]) as channel:
        for _ in range(3):
            call = channel.stream_stream("/ringmill.v1.Kv/Session")()
            await call.write(b"\xff\xff\xff")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


async def test_what_is_not_a_frame_ends_the_stream_of_its_dialler_and_nothing_else(
    over_grpc: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    """gRPC hands such a message over as None, and does not raise."""

    async def rubbish(_: object, call: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await call.send_initial_metadata(tuple(Introduction(node="n9").texts().items()))
        await call.write(b"\xff\xff\xff")
        await asyncio.sleep(5)

    server = grpc.aio.server()
    link = {"Link": grpc.stream_stream_rpc_method_handler(rubbish)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ringmill.v1.Peer", link),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        over_grpc.addresses[NodeId("n9")] = f"127.0.0.1:{port}"
        ours = await over_grpc.start("n1")
        await over_grpc.start("n2", handlers={"echo": echo})
        for _ in range(2):
            with pytest.raises(ProtocolMismatch, match="is not a frame"):
                await ours.call(NodeId("n9"), "echo", b"x", timeout_s=5, priority=Priority.READ)
        assert await ours.call(NodeId("n2"), "echo", b"x", timeout_s=5, priority=Priority.READ) == b"x"
    finally:
        await server.stop(None)
    assert not [record for record in caplog.records if record.name.startswith("ringmill") and record.exc_info]
