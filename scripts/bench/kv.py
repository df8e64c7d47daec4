"""Puts and gets on five real nodes: rate, p50 and p99 at 1 and 64 in flight, start-up, and the command line.

    python scripts/bench/kv.py [--quick] [--json PATH]

One client process with one event loop (uvloop).  `synced` is the default: an fdatasync before each ack.  The
cases take turns in every round, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop

import ringmill
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from ringmill.client.arguments import Durability

NODES = 5
VALUE_BYTES = 100
KEYS = 20_000
UP_GOAL_S, GET_GOAL_S = 2.0, 0.4

Operation = Callable[[bytes], Awaitable[object]]


@dataclass(slots=True)
class Case:
    """One line of the table: an operation at a number in flight, and its times."""

    name: str
    in_flight: int
    count: int
    operation: Operation
    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0


async def measure(case: Case, keys: list[bytes]) -> None:
    """One round of a case: `in_flight` workers share the keys, each with one request at a time."""
    waiting = iter(keys)
    started = time.perf_counter()

    async def worker() -> None:
        for key in waiting:
            sent = time.perf_counter()
            await case.operation(key)
            case.latencies_s.append(time.perf_counter() - sent)

    async with asyncio.TaskGroup() as group:
        for _ in range(case.in_flight):
            group.create_task(worker())
    case.seconds += time.perf_counter() - started


async def load(cluster: BenchCluster, rounds: int, scale: int) -> list[Case]:
    seeded = random.Random(7)
    keys = [f"key:{number:012d}".encode() for number in range(KEYS)]
    async with ringmill.connect(cluster.endpoints, timeout=30.0) as db:

        async def put(key: bytes, durability: Durability | None = None) -> object:
            return await db.put(key, seeded.randbytes(VALUE_BYTES), durability=durability)

        async def get(key: bytes) -> object:
            return await db.get(key, default=None)

        async def put_buffered(key: bytes) -> object:
            return await put(key, "buffered")

        await measure(Case("warm-up", 64, KEYS, put), keys)
        cases = [
            Case("put, synced", 1, 1_000 // scale, put),
            Case("put, synced", 64, 20_000 // scale, put),
            Case("put, buffered", 1, 1_000 // scale, put_buffered),
            Case("put, buffered", 64, 20_000 // scale, put_buffered),
            Case("get", 1, 1_000 // scale, get),
            Case("get", 64, 20_000 // scale, get),
        ]
        for _ in range(rounds):
            for case in cases:
                await measure(case, seeded.choices(keys, k=case.count))
    return cases


def shell_to_shell(cluster: BenchCluster, times: int) -> list[float]:
    """Seconds of `ringmill get KEY`, from fork to exit."""
    cluster.command("put", "typed", "value")
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        cluster.command("get", "typed")
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    options = arguments("kv", "Puts and gets on five local nodes.").parse_args()
    scale, rounds, starts = (10, 1, 1) if options.quick else (1, 3, 3)
    settings: dict[str, str | int | float | bool | None] = {
        "nodes": NODES, "replicas": 3, "w": 2, "r": 2, "key_bytes": 16, "value_bytes": VALUE_BYTES,
        "keys": KEYS, "rounds": rounds,
    }  # fmt: skip
    report = Report("kv", settings, options.json)
    ups = []
    for _ in range(starts - 1):
        with BenchCluster(nodes=NODES) as cluster:
            ups.append(cluster.up_s)
    with BenchCluster(nodes=NODES) as cluster:
        ups.append(cluster.up_s)
        gets = shell_to_shell(cluster, 20 // scale + 1)
        cases = uvloop.run(load(cluster, rounds, scale))
    for case in cases:
        report.row(
            case.name,
            in_flight=case.in_flight,
            per_s=len(case.latencies_s) / case.seconds,
            p50_ms=percentile(case.latencies_s, 0.5) * 1e3,
            p99_ms=percentile(case.latencies_s, 0.99) * 1e3,
        )
    report.row("cluster up, 5 nodes", in_flight=1, p50_ms=percentile(ups, 0.5) * 1e3)
    p50_ms, p99_ms = percentile(gets, 0.5) * 1e3, percentile(gets, 0.99) * 1e3
    report.row("ringmill get, shell to shell", in_flight=1, p50_ms=p50_ms, p99_ms=p99_ms)
    report.goal("five nodes up", percentile(ups, 0.5), UP_GOAL_S, "s")
    report.goal("ringmill get, shell to shell", percentile(gets, 0.5), GET_GOAL_S, "s")
    report.finish()


if __name__ == "__main__":
    main()
