"""What comes on a gRPC stream of frames and is none ends that stream with one typed error."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest

from ringmill.cluster.ids import NodeId
from tests.cluster.adapters.conftest import Nodes


@pytest.fixture
async def over_grpc() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(stack, "grpc", secret="")


async def test_what_is_no_frame_is_refused_and_not_logged_with_a_trace(
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
