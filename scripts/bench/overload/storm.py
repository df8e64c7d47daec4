"""Offers operations to a cluster at a rate, whether it keeps up or not: the process that makes the storm.

    python scripts/bench/overload/storm.py '{"endpoints": "127.0.0.1:7101", "transport": "grpc", ...}'

Each line on stdin asks for one load, each line on stdout is what came of it.  Operations are due at an even
rate and go to the first owner of their key, in frames made as a client makes them: one write at a time on
each stream, everything due since the last one together.  Latency counts from when an operation was due.

It has to be cheap, as it shares the processors with the nodes: bodies are encoded once, answers are taken
apart no further than needed, and a time is one entry in a list.  *Ghosts* are operations that are made and
encoded like others, and refused by nobody but this process.  A load with as many ghosts as a storm has
refused operations costs this process about as much as the storm does, so the two can be compared.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import uvloop

from ringmill.client.dialling.node_links import open_link
from ringmill.client.routing.candidates import coordinators
from ringmill.client.routing.directory import Directory
from ringmill.cluster.adapters.network.frame_stream import FrameStream
from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded, RingmillError
from ringmill.cluster.wire.error_bytes import encode_error
from ringmill.cluster.wire.frames import FRAME_TARGET_BYTES, Operation, encode_answers, encode_operations
from ringmill.cluster.wire.sending_time import microseconds
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest, PutRequest

TICK_S = 0.005  # a client makes its frames about as often
TIMEOUT_S = 5.0
DRAIN_S = 6.0  # all operations have ended by then
DRAWN = 65_536  # operations that are drawn beforehand and sent again and again
FRAME_HEAD_BYTES = 6
OVERLOADED = b"\x95\xaaOVERLOADED"  # how such an error begins
Drawn = tuple[int, str, int, bytes]  # stream, method, class, body

_now = time.perf_counter


@dataclass(slots=True)
class Heard:
    """What came of one load: times in seconds from when each was due, and when the good ones ended."""

    good_s: list[float] = field(default_factory=list)
    good_at: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)


class Lane:
    """The stream to one node."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self.pending: list[Operation] = []
        self.due: list[float] = []  # by id
        self.heard = Heard()
        self.answered = 0
        self._filled = asyncio.Event()

    def begin(self) -> None:
        """Forget the last load; ids go on, so that its late answers are told from those of this one."""
        self.heard = Heard()
        self.first = len(self.due)
        self.answered = 0

    def offer(self, operation: Drawn, due: float) -> None:
        self.pending.append((len(self.due), operation[1], int(TIMEOUT_S * 1e6), operation[2], operation[3]))
        self.due.append(due)

    def wake(self) -> None:
        self._filled.set()

    @property
    def under_way(self) -> int:
        return len(self.due) - self.first - self.answered

    async def write(self) -> None:
        while True:
            if not self.pending:
                self._filled.clear()
                await self._filled.wait()
            operations = self._next()
            if operations:
                clock = self._stream.peer_clock
                now_us = microseconds(time.clock_gettime(time.CLOCK_BOOTTIME))
                stamp = clock.reading(now_us) if clock is not None else None
                await self._stream.write(encode_operations(operations, stamp))

    def _next(self) -> list[Operation]:
        """What fits into a frame, without what nobody waits for any more."""
        oldest = _now() - TIMEOUT_S
        size, count = 0, 0
        for operation in self.pending:
            size += len(operation[4]) + 24
            count += 1
            if size >= FRAME_TARGET_BYTES:
                break
        taken, self.pending = self.pending[:count], self.pending[count:]
        if self.due[taken[0][0]] < oldest:
            fresh = [each for each in taken if self.due[each[0]] >= oldest]
            self._fail("never sent", len(taken) - len(fresh))
            return fresh
        return taken

    def _fail(self, why: str, count: int = 1) -> None:
        self.answered += count
        self.heard.failed[why] = self.heard.failed.get(why, 0) + count

    async def read(self) -> None:
        unpack = msgpack.unpackb
        while (frame := await self._stream.read()) is not None:
            clock_us, answers = unpack(memoryview(frame)[FRAME_HEAD_BYTES:], use_list=False)
            now, due, first, heard = _now(), self.due, self.first, self.heard
            if self._stream.peer_clock is not None and isinstance(clock_us, int):
                received_us = microseconds(time.clock_gettime(time.CLOCK_BOOTTIME))
                self._stream.peer_clock.learn(clock_us, received_us=received_us)
            for answer in answers:
                identity = answer[0]
                if identity < first:
                    continue
                if len(answer) == 2:
                    heard.good_s.append(now - due[identity])
                    heard.good_at.append(now)
                    self.answered += 1
                elif answer[2].startswith(OVERLOADED):
                    last = answer[3] if len(answer) == 4 else identity
                    heard.refused_s += [now - each for each in due[identity : last + 1]]
                    self.answered += last + 1 - identity
                else:
                    self._fail(str(msgpack.unpackb(answer[2])[0]))


class NullStream:
    """Takes frames of ghosts and refuses each frame with one answer, as a node does that has no room."""

    peer_clock = None
    takes_traces = False

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._refusal = encode_error(Overloaded("a ghost", detail={"retry_after": 0.1}))

    async def write(self, frame: bytes) -> None:
        operations = msgpack.unpackb(frame[FRAME_HEAD_BYTES:], use_list=False)
        last = operations[-1][0]
        refused: Any = [(operations[0][0], b"", self._refusal, last)]
        self._frames.put_nowait(encode_answers(refused, 1))
        await asyncio.sleep(0)

    async def read(self) -> bytes | None:
        return await self._frames.get()

    async def close(self) -> None:
        return


class Storm:
    """All lanes: one for each node, and the last one for ghosts."""

    def __init__(self, lanes: list[Lane], drawn: list[Drawn]) -> None:
        self.lanes = lanes
        self._drawn = drawn
        self._place = 0

    async def run(self, rate_per_s: float, ghosts_per_s: float, seconds: float) -> dict[str, Any]:
        for lane in self.lanes:
            lane.begin()
        began, spent = _now(), time.process_time()
        real, ghosts = Due(rate_per_s, began), Due(ghosts_per_s, began)
        until = began + seconds
        latest_s = 0.0
        while (now := _now()) < until:
            for due in real.until(now):
                operation = self._next()
                self.lanes[operation[0]].offer(operation, due)
            for due in ghosts.until(now):
                self.lanes[-1].offer(self._next(), due)
            for lane in self.lanes:
                if lane.pending:
                    lane.wake()
            latest_s = max(latest_s, _now() - now)
            await asyncio.sleep(TICK_S)
        spent = time.process_time() - spent
        offered = [len(lane.due) - lane.first for lane in self.lanes]
        await self._drain(until + DRAIN_S)
        return self._told(began, until, offered, spent, latest_s)

    async def _drain(self, until: float) -> None:
        for lane in self.lanes:
            while lane.under_way and _now() < until:  # noqa: ASYNC110  an event would cost each answer something
                await asyncio.sleep(0.01)

    def _next(self) -> Drawn:
        self._place = (self._place + 1) % DRAWN
        return self._drawn[self._place]

    def _told(
        self, began: float, until: float, offered: list[int], spent: float, latest_s: float
    ) -> dict[str, Any]:
        lanes = self.lanes[:-1]
        good = sorted(each for lane in lanes for each in lane.heard.good_s)
        refused = sorted(each for lane in lanes for each in lane.heard.refused_s)
        failed: dict[str, int] = {}
        for lane in lanes:
            for why, count in lane.heard.failed.items():
                failed[why] = failed.get(why, 0) + count
        seconds = until - began
        timely = sum(1 for lane in lanes for at in lane.heard.good_at if at <= until)
        return {
            "offered_per_s": sum(offered[:-1]) / seconds,
            "ghosts_per_s": offered[-1] / seconds,
            "good_per_s": timely / seconds,
            "refused_per_s": len(refused) / seconds,
            "failed": failed,
            "unanswered": sum(lane.under_way for lane in lanes),
            "good_ms": quantiles(good),
            "refused_ms": quantiles(refused),
            "generator_s": spent / seconds,
            "longest_tick_ms": latest_s * 1e3,
            "by_second": by_second(lanes, began, seconds),
        }


class Due:
    """When operations of an even rate are due."""

    def __init__(self, rate_per_s: float, began: float) -> None:
        self._step_s = 1 / rate_per_s if rate_per_s else 0.0
        self._next = began

    def until(self, now: float) -> Iterator[float]:
        if not self._step_s:
            return
        while self._next <= now:
            yield self._next
            self._next += self._step_s


def quantiles(ordered: list[float]) -> dict[str, float]:
    if not ordered:
        return {}
    most = len(ordered) - 1
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "most": 1.0}
    return {name: ordered[int(most * share)] * 1e3 for name, share in named.items()}


def by_second(lanes: list[Lane], began: float, seconds: float) -> list[dict[str, float]]:
    """Good answers that ended in each second: how many, and their p99."""
    slots: list[list[float]] = [[] for _ in range(int(seconds))]
    for lane in lanes:
        for took_s, at in zip(lane.heard.good_s, lane.heard.good_at, strict=True):
            place = int(at - began)
            if place < len(slots):
                slots[place].append(took_s)
    return [{"good": len(slot), "p99": quantiles(sorted(slot)).get("p99", 0.0)} for slot in slots]


def drawn_operations(directory: Directory, addresses: list[str], about: dict[str, Any]) -> list[Drawn]:
    """Gets and puts of random keys, each for the first owner of its key."""
    topology = directory.topology
    assert topology is not None
    seeded = random.Random(about["seed"])
    keyspace = topology.keyspace_named("default").id
    value = b"." * about["value_bytes"]
    drawn: list[Drawn] = []
    for _ in range(DRAWN):
        key = key_of(seeded.randrange(about["keys"]))
        owner = coordinators(topology, topology.partition_of(keyspace, key))[0]
        if seeded.random() < about["reads"]:
            get = GetRequest(key=key, epoch=topology.epoch)
            drawn.append((addresses.index(owner), "kv.get", 2, get.SerializeToString()))
        else:
            put = PutRequest(key=key, value=value, epoch=topology.epoch)
            drawn.append((addresses.index(owner), "kv.put", 1, put.SerializeToString()))
    return drawn


def key_of(number: int) -> bytes:
    return b"key:%012d" % number


async def connected(about: dict[str, Any]) -> tuple[Directory, list[str], list[Lane]]:
    clock = SystemClock()
    directory = Directory(about["endpoints"].split(","), open_link)
    await directory.learn(10.0)
    assert directory.topology is not None
    addresses = list(directory.topology.addresses().values())
    carrier = carrier_named(about["transport"], SESSION_PATH, clock=clock)
    lanes = []
    for address in addresses:
        stream = await carrier.dial(
            address, Introduction(traffic_class=SESSION, takes_runs=True), lambda told: None, timeout_s=10.0
        )
        lanes.append(Lane(stream))
    return directory, addresses, [*lanes, Lane(NullStream())]


async def main() -> None:
    about = json.loads(sys.argv[1])
    directory, addresses, lanes = await connected(about)
    storm = Storm(lanes, drawn_operations(directory, addresses, about))
    for lane in lanes:
        lane.begin()
    halves = [asyncio.create_task(half) for lane in lanes for half in (lane.write(), lane.read())]
    print(json.dumps({"ready": True}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        result = await storm.run(asked["rate"], asked.get("ghosts", 0.0), asked["seconds"])
        for half in halves:
            if half.done() and (error := half.exception()) is not None:
                result["broken"] = error.message if isinstance(error, RingmillError) else repr(error)
        print(json.dumps(result), flush=True)
    for half in halves:
        half.cancel()
    await asyncio.gather(*halves, return_exceptions=True)
    await directory.close()


if __name__ == "__main__":
    uvloop.run(main())
