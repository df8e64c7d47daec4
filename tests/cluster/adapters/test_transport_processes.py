"""A peer in a process of its own that is stopped, resumed and killed: what that costs the others."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Priority

N2, N3 = NodeId("n2"), NodeId("n3")
WRITE = Priority.WRITE

PEER = """
import asyncio, sys
from contextlib import AsyncExitStack
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.wire.offers import offer_text
from ringmill.node.services.server import NodeServer, Services

async def main():
    clock = SystemClock()
    carrier = carrier_named("grpc", LINK, clock=clock)
    secret = "open sesame"
    transport = FrameTransport(
        "n2", carrier, clock=clock, entropy=OsEntropy(), cluster="c1", secret=secret
    )
    transport.serve("echo", lambda incoming: incoming.body)
    done = []
    transport.serve("do", lambda incoming: done.append(incoming.body) or b"")
    transport.serve("done", lambda incoming: b",".join(done))
    async with transport, AsyncExitStack() as stack:
        listener = SocketListener("n2", transport, clock=clock)
        if sys.argv[1] == "tcp":
            place = await stack.enter_async_context(listener.tcp("127.0.0.1:0"))
            transport.offer(peers=offer_text(place), clients="")
        if sys.argv[1] == "unix":
            place = await stack.enter_async_context(listener.unix(sys.argv[2] + "/frames"))
            transport.offer(peers=offer_text(place), clients="")
        server = NodeServer("127.0.0.1:0", Services(GrpcAcceptor(transport)))
        await stack.enter_async_context(server)
        print(server.address, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def peer_process(carrier: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PEER, carrier, folder), stdout=asyncio.subprocess.PIPE, env=environment
        )
        try:
            assert process.stdout is not None
            yield process, (await process.stdout.readline()).decode().strip()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_a_stopped_peer_costs_its_callers_their_deadline_and_nobody_else_anything(nodes: Any) -> None:
    n1, n3 = await nodes.start("n1"), await nodes.start("n3")
    n3.serve("echo", lambda incoming: incoming.body)
    async with peer_process(nodes.carrier) as (process, address):
        n1.set_peers({**nodes.addresses, N2: address})
        assert await n1.call(N2, "echo", b"1", timeout_s=20, priority=WRITE) == b"1"
        process.send_signal(signal.SIGSTOP)
        patient = [
            asyncio.create_task(n1.call(N2, "echo", bytes(200_000), timeout_s=600, priority=priority))
            for priority in (*Priority, *([WRITE] * 50))
        ]
        with pytest.raises(DeadlineExceeded):
            await n1.call(N2, "echo", b"2", timeout_s=0.2, priority=WRITE)
        for number in range(100):
            body = bytes([number])
            assert await n1.call(N3, "echo", body, timeout_s=20, priority=WRITE) == body
        assert not any(call.done() for call in patient)
        process.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*patient) == [bytes(200_000)] * len(patient)


async def test_what_a_stopped_peer_was_asked_is_not_done_after_its_deadline(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    async with peer_process(nodes.carrier) as (process, address):
        n1.set_peers({N2: address})
        assert await n1.call(N2, "do", b"before", timeout_s=20, priority=WRITE) == b""
        process.send_signal(signal.SIGSTOP)
        expired = [n1.call(N2, "do", b"expired", timeout_s=0.2, priority=WRITE) for _ in range(20)]
        told = await asyncio.gather(*expired, return_exceptions=True)
        assert {type(error) for error in told} == {DeadlineExceeded}
        patient = asyncio.create_task(n1.call(N2, "do", b"patient", timeout_s=600, priority=WRITE))
        process.send_signal(signal.SIGCONT)
        assert await patient == b""
        assert await n1.call(N2, "done", b"", timeout_s=20, priority=WRITE) == b"before,patient"


async def test_a_peer_stopped_before_it_was_dialled_costs_the_deadline_and_is_a_certain_failure(
    nodes: Any,
) -> None:
    n1 = await nodes.start("n1")
    async with peer_process(nodes.carrier) as (process, address):
        process.send_signal(signal.SIGSTOP)
        n1.set_peers({N2: address})
        with pytest.raises(DeadlineExceeded) as caught:
            await n1.call(N2, "echo", b"", timeout_s=0.3, priority=WRITE)
        assert caught.value.outcome == "failed"
        process.send_signal(signal.SIGCONT)
        assert await echo_once_reached(n1) == b"2"


async def test_a_peer_stopped_before_it_was_dialled_leaves_time_to_turn_to_another(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    async with peer_process(nodes.carrier) as (process, address):
        process.send_signal(signal.SIGSTOP)
        n1.set_peers({N2: address})
        with pytest.raises(Unavailable, match="did not answer a handshake") as caught:
            await n1.call(N2, "echo", b"", timeout_s=4.5, priority=WRITE)
        assert caught.value.outcome == "failed"
        process.send_signal(signal.SIGCONT)
        assert await echo_once_reached(n1) == b"2"


async def echo_once_reached(n1: FrameTransport) -> bytes:
    """The answer of the first call that finds a connection."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await n1.call(N2, "echo", b"2", timeout_s=20, priority=WRITE)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_killed_peer_is_noticed_at_once(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    async with peer_process(nodes.carrier) as (process, address):
        n1.set_peers({N2: address})
        assert await n1.call(N2, "echo", b"1", timeout_s=20, priority=WRITE) == b"1"
        process.kill()
        await process.wait()
        async with asyncio.timeout(20):
            for _ in range(10):
                with pytest.raises(Unavailable):
                    await n1.call(N2, "echo", b"2", timeout_s=600, priority=WRITE)
