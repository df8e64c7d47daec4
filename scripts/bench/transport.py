"""Calls a second through FrameTransport, between two real processes on loopback.

    python scripts/bench/transport.py [--quick] [--json PATH] [--seconds 3]

The other process answers at once with the body (`echo`), or from a task after one turn of the loop (`task`);
so the figures are what the transport alone costs.  CPU is user + system time of both processes, a call.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from contextlib import AsyncExitStack

import psutil
import uvloop

from report import Report, arguments, percentile
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.services.server import NodeServer, Services

BODY_BYTES = 117  # a small put as it crosses between replicas
SERVER = NodeId("n2")


def transport(name: str) -> FrameTransport:
    return FrameTransport(
        NodeId(name),
        GrpcCarrier(LINK, clock=SystemClock()),
        clock=SystemClock(),
        entropy=OsEntropy(),
        cluster=ClusterId("bench"),
    )


async def serve(address: str) -> None:
    """The other process: answers until it is terminated."""

    async def task(incoming: Incoming) -> bytes:
        await asyncio.sleep(0)
        return incoming.body

    async with AsyncExitStack() as stack:
        answering = await stack.enter_async_context(transport(SERVER))
        answering.serve("echo", lambda incoming: incoming.body)
        answering.serve("task", task)
        services = Services(GrpcAcceptor(answering))
        await stack.enter_async_context(NodeServer(address, services))
        await asyncio.Event().wait()


async def measure(asking: FrameTransport, method: str, in_flight: int, seconds: float) -> list[float]:
    """Latency of each call, in seconds, of `in_flight` loops that call for `seconds`."""
    latencies: list[float] = []
    body = bytes(BODY_BYTES)
    end = time.perf_counter() + seconds

    async def loop() -> None:
        began = time.perf_counter()
        while began < end:
            await asking.call(SERVER, method, body, timeout_s=5, priority=Priority.WRITE)
            now = time.perf_counter()
            latencies.append(now - began)
            began = now

    await asyncio.gather(*(loop() for _ in range(in_flight)))
    return latencies


async def until_answering(asking: FrameTransport) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await asking.call(SERVER, "echo", b"", timeout_s=5, priority=Priority.WRITE)
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def run(address: str, report: Report, seconds: float) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", address)
    try:
        async with transport("n1") as asking:
            asking.set_peers({SERVER: address})
            await until_answering(asking)
            both = [psutil.Process(os.getpid()), psutil.Process(child.pid)]
            for method in ("echo", "task"):
                for in_flight in (1, 64, 256):
                    await measure(asking, method, in_flight, seconds / 10)
                    before, began = sum(map(cpu_s, both)), time.perf_counter()
                    latencies = await measure(asking, method, in_flight, seconds)
                    elapsed = time.perf_counter() - began
                    report.row(
                        method,
                        in_flight=in_flight,
                        per_s=len(latencies) / elapsed,
                        p50_ms=percentile(latencies, 0.50) * 1000,
                        p99_ms=percentile(latencies, 0.99) * 1000,
                        cpu_us=(sum(map(cpu_s, both)) - before) / len(latencies) * 1e6,
                    )
    finally:
        child.terminate()
        await child.wait()


def main() -> None:
    parser = arguments("transport", __doc__ or "")
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each row")
    parser.add_argument("--serve", metavar="ADDRESS", help="run as the answering process")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    seconds = options.seconds / 10 if options.quick else options.seconds
    address = f"127.0.0.1:{random.randrange(20_000, 32_000)}"
    settings = {"body_bytes": BODY_BYTES, "seconds": seconds, "processes": 2, "loop": "uvloop"}
    report = Report("transport", settings, options.json)
    uvloop.run(run(address, report, seconds))
    report.finish()


if __name__ == "__main__":
    main()
