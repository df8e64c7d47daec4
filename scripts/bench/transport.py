"""Calls and frames a second over each carrier, between two real processes on loopback, in interleaved rounds.

    python scripts/bench/transport.py [--quick] [--json PATH] [--seconds 3]

The other process answers at once with the body (`echo`), or from a task after one turn of the loop (`task`);
so the figures are what the transport alone costs.  `frame` is a bare stream: frames of one small call each,
sent back as they are, so that each is one message of the carrier.  CPU is user + system time of both
processes, an operation: a call, or a frame there and back.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import psutil
import uvloop

from report import Report, arguments, percentile
from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.frame_transport import FrameTransport, Welcome
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.frames import encode_operations
from ringmill.cluster.wire.offers import CARRIERS, CarrierName, offer_text
from ringmill.node.services.server import NodeServer, Services

BODY_BYTES = 117  # a small put as it crosses between replicas
SERVER = NodeId("n2")
ROUNDS = 3
Step = Callable[[], Awaitable[None]]


class Mirror(FrameTransport):
    """Sends every frame back."""

    async def answer(self, stream: FrameStream, welcome: Welcome) -> None:
        while (frame := await stream.read()) is not None:
            await stream.write(frame)


def transport(kind: type[FrameTransport], name: str, carrier: CarrierName) -> FrameTransport:
    clock = SystemClock()
    dialling = carrier_named(carrier, LINK, clock=clock)
    return kind(NodeId(name), dialling, clock=clock, entropy=OsEntropy(), cluster=ClusterId("bench"))


def addresses(base_port: int) -> dict[tuple[str, CarrierName], str]:
    """Where the other process answers calls, and where it mirrors frames, for each carrier."""
    names = [(what, carrier) for what in ("calls", "frames") for carrier in CARRIERS]
    return {name: f"127.0.0.1:{base_port + number}" for number, name in enumerate(names)}


async def serve(base_port: int) -> None:
    """The other process: answers until it is terminated."""

    async def task(incoming: Incoming) -> bytes:
        await asyncio.sleep(0)
        return incoming.body

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for (what, carrier), address in addresses(base_port).items():
            kind = FrameTransport if what == "calls" else Mirror
            answering = await stack.enter_async_context(transport(kind, SERVER, "grpc"))
            answering.serve("echo", lambda incoming: incoming.body)
            answering.serve("task", task)
            listener = SocketListener(SERVER, answering, clock=SystemClock())
            if carrier == "tcp":
                port = await stack.enter_async_context(listener.tcp(address))
                answering.offer(peers=offer_text(port), clients="")
            elif carrier == "unix":
                path = await stack.enter_async_context(listener.unix(f"{folder}/{what}"))
                answering.offer(peers=offer_text(path), clients="")
            await stack.enter_async_context(NodeServer(address, Services(GrpcAcceptor(answering))))
        await asyncio.Event().wait()


@dataclass
class Case:
    """One row: what is done again and again, and what it took."""

    name: str
    carrier: CarrierName
    in_flight: int
    step: Step
    latencies: list[float] = field(default_factory=list)  # seconds
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    async def run(self, seconds: float, processes: list[psutil.Process]) -> None:
        before, began = sum(map(cpu_s, processes)), time.perf_counter()
        end = began + seconds

        async def loop() -> None:
            started = time.perf_counter()
            while started < end:
                await self.step()
                now = time.perf_counter()
                self.latencies.append(now - started)
                started = now

        await asyncio.gather(*(loop() for _ in range(self.in_flight)))
        self.elapsed_s += time.perf_counter() - began
        self.cpu_s += sum(map(cpu_s, processes)) - before

    def report(self, report: Report) -> None:
        report.row(
            self.name,
            carrier=self.carrier,
            in_flight=self.in_flight,
            per_s=len(self.latencies) / self.elapsed_s,
            p50_ms=percentile(self.latencies, 0.50) * 1000,
            p99_ms=percentile(self.latencies, 0.99) * 1000,
            cpu_us=self.cpu_s / len(self.latencies) * 1e6,
        )


def calling(asking: FrameTransport, method: str) -> Step:
    body = bytes(BODY_BYTES)

    async def step() -> None:
        await asking.call(SERVER, method, body, timeout_s=5, priority=Priority.WRITE)

    return step


class Mirrored:
    """Frames of a bare stream: each waits for the next that comes back, which is its own."""

    def __init__(self, stream: FrameStream, group: asyncio.TaskGroup) -> None:
        self._stream = stream
        self._frame = encode_operations([(1, "echo", 5_000_000, Priority.WRITE, bytes(BODY_BYTES))], 0)
        self._waiting: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._writing = asyncio.Lock()  # a gRPC stream takes one write at a time
        self._reading = group.create_task(self._read())

    async def step(self) -> None:
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with self._writing:
            self._waiting.put_nowait(back)
            await self._stream.write(self._frame)
        await back

    async def close(self) -> None:
        self._reading.cancel()
        await self._stream.close()

    async def _read(self) -> None:
        while await self._stream.read() is not None:
            self._waiting.get_nowait().set_result(None)


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


async def cases(base_port: int, stack: AsyncExitStack, group: asyncio.TaskGroup) -> list[list[Case]]:
    """All rows; those of one list are measured side by side."""
    places = addresses(base_port)
    steps: dict[tuple[str, CarrierName], Step] = {}
    for carrier in CARRIERS:
        asking = await stack.enter_async_context(transport(FrameTransport, "n1", carrier))
        asking.set_peers({SERVER: places["calls", carrier]})
        await until_answering(asking)
        steps["echo", carrier], steps["task", carrier] = calling(asking, "echo"), calling(asking, "task")
        dialling = carrier_named(carrier, LINK, clock=SystemClock())
        ours = Introduction("n1", "bench", "data")
        stream = await dialling.dial(places["frames", carrier], ours, lambda _: None, timeout_s=5)
        mirrored = Mirrored(stream, group)
        stack.push_async_callback(mirrored.close)
        steps["frame", carrier] = mirrored.step
    return [
        [Case(name, carrier, in_flight, steps[name, carrier]) for carrier in CARRIERS]
        for name, loads in (("frame", (1, 64)), ("echo", (1, 64, 256)), ("task", (1, 64, 256)))
        for in_flight in loads
    ]


async def run(base_port: int, report: Report, seconds: float) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", str(base_port))
    try:
        both = [psutil.Process(os.getpid()), psutil.Process(child.pid)]
        async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
            for side_by_side in await cases(base_port, stack, group):
                for case in side_by_side:
                    await Case("warm", case.carrier, case.in_flight, case.step).run(seconds / 10, both)
                for _ in range(ROUNDS):
                    for case in side_by_side:
                        await case.run(seconds / ROUNDS, both)
                for case in side_by_side:
                    case.report(report)
    finally:
        child.terminate()
        await child.wait()


def main() -> None:
    parser = arguments("transport", __doc__ or "")
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each row")
    parser.add_argument("--serve", metavar="PORT", type=int, help="be the other process")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    seconds = options.seconds / 10 if options.quick else options.seconds
    settings = {"body_bytes": BODY_BYTES, "seconds": seconds, "processes": 2, "loop": "uvloop"}
    report = Report("transport", settings, options.json)
    uvloop.run(run(random.randrange(20_000, 32_000), report, seconds))
    report.finish()


if __name__ == "__main__":
    main()
