"""What it takes when nodes join and leave: time, bytes, and what requests feel meanwhile.

    python scripts/bench/rebalance.py [--quick] [--mib 1024] [--value-bytes 1000] [--changes 2] [--json PATH]

Three nodes with N=3 are filled with `--mib` MiB of values.  A load reads and writes other keys all the time,
at a fixed rate, whether or not the request before was answered.  Then nodes join and leave in turn.  Each
change is planned first (`cluster add --dry-run`), and the bytes and seconds of the plan stand beside what
then happened.  The time of a change is the whole command's, without the start of the new node's process.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

import ringmill

sys.path.insert(0, str(Path(__file__).resolve().parent))  # what the benchmarks share

from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile

NODES = 3
BATCH_BYTES = 1 << 20
RATE_PER_S = 100.0
LOAD_KEYS = 1000
CALM_S = 10.0
PLANNED_BYTES_GOAL, PLANNED_SECONDS_GOAL, P99_GOAL = 0.05, 0.25, 1.5
VERBS = ("add", "add", "add", "remove", "remove", "add", "remove", "add", "remove", "remove")


@dataclass(slots=True)
class Load:
    """Puts and gets in turn at a fixed rate; a latency counts from the moment a request was due."""

    puts_ms: list[float] = field(default_factory=list)
    gets_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, db: Any) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            pacer = group.create_task(self._pace(db, group))
            try:
                yield
            finally:
                pacer.cancel()

    async def _pace(self, db: Any, group: asyncio.TaskGroup) -> None:
        due, number = time.perf_counter(), 0
        while True:
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(self._request(db, due, number))
            due, number = due + 1 / RATE_PER_S, number + 1

    async def _request(self, db: Any, due: float, number: int) -> None:
        key = f"load:{number // 2 % LOAD_KEYS}"
        took_ms = self.gets_ms if number % 2 else self.puts_ms
        try:
            if number % 2:
                await db.get(key, default=None)
            else:
                await db.put(key, b"v%d" % number)
        except ringmill.RingmillError as error:
            self.failed.append(f"{error.code}: {error.message}")
        took_ms.append((time.perf_counter() - due) * 1000)

    def taken(self) -> dict[str, float | int]:
        """The figures since the last call."""
        figures = {
            "put_p99_ms": percentile(self.puts_ms, 0.99),
            "get_p99_ms": percentile(self.gets_ms, 0.99),
            "errors": len(self.failed),
        }
        for each in (self.puts_ms, self.gets_ms, self.failed):
            each.clear()
        return figures


async def fill(db: Any, total_bytes: int, value_bytes: int) -> None:
    """Values of random bytes, so that nothing that is stored is smaller than it is read."""
    import random

    source, at_once = random.Random(7), max(1, BATCH_BYTES // value_bytes)
    for first in range(0, total_bytes // value_bytes, at_once):
        pairs = {
            f"key:{number:012d}": source.randbytes(value_bytes) for number in range(first, first + at_once)
        }
        ringmill.raise_first(await db.mput(pairs, w=3))


async def change(cluster: BenchCluster, verb: str, name: str, load: Load, report: Report) -> None:
    """Plan it, do it, and tell both."""
    arguments_ = (verb,) if verb == "add" else (verb, name)
    plan: Any = await asyncio.to_thread(cluster.json, "cluster", *arguments_, "--dry-run")
    load.taken()
    done: Any = await asyncio.to_thread(cluster.json, "cluster", *arguments_, "--yes")
    felt = load.taken()
    moved, planned = int(done["moved_bytes"]), int(plan["bytes"])
    seconds = float(done["seconds"])
    report.row(
        f"{verb} {name}",
        copies=plan["copies"],
        planned_mib=planned / 2**20,
        moved_mib=moved / 2**20,
        planned_s=plan["seconds"],
        took_s=seconds,
        mib_per_s=moved / 2**20 / seconds,
        **felt,
    )


async def measure(cluster: BenchCluster, options: Any, report: Report) -> None:
    endpoints = cluster.endpoints
    async with ringmill.connect(endpoints, timeout=30.0) as db:
        await fill(db, options.mib << 20, options.value_bytes)
        await asyncio.sleep(3.0)
        load = Load()
        async with load.running(db):
            await asyncio.sleep(1.0)
            load.taken()
            await asyncio.sleep(CALM_S)
            report.row("before", **load.taken())
            present, newest = [f"n{number}" for number in range(1, NODES + 1)], NODES
            for verb in VERBS[: options.changes]:
                if verb == "add":
                    newest += 1
                    name = f"n{newest}"
                    present.append(name)
                else:
                    name = present.pop()
                await change(cluster, verb, name, load, report)


def judge(report: Report) -> None:
    before, *changes = report.rows
    for row in changes:
        case, moved, planned = row["case"], float(row["moved_mib"] or 0), float(row["planned_mib"] or 0)
        took, planned_s = float(row["took_s"] or 0), float(row["planned_s"] or 0)
        report.goal(f"{case}: bytes off the plan", abs(moved / planned - 1), PLANNED_BYTES_GOAL, "of it")
        report.goal(f"{case}: seconds off the plan", abs(took / planned_s - 1), PLANNED_SECONDS_GOAL, "of it")
        for kind in ("put_p99_ms", "get_p99_ms"):
            ratio = float(row[kind] or 0) / float(before[kind] or 1)
            report.goal(f"{case}: {kind} beside before", ratio, P99_GOAL, "x")


def main() -> None:
    parser = arguments("rebalance", "What it takes when nodes join and leave.")
    parser.add_argument("--mib", type=int, default=256, help="MiB of values, each held three times")
    parser.add_argument("--value-bytes", type=int, default=1000, help="size of a value")
    parser.add_argument("--changes", type=int, default=2, choices=range(1, len(VERBS) + 1), metavar="N")
    options = parser.parse_args()
    options.mib = max(1, options.mib // 10) if options.quick else options.mib
    settings = {
        "nodes": NODES,
        "replicas": 3,
        "mib": options.mib,
        "value_bytes": options.value_bytes,
        "load_per_s": RATE_PER_S,
    }
    report = Report("rebalance", settings, options.json)
    with BenchCluster(nodes=NODES, environment={"PYTHONPATH": str(ROOT)}) as cluster:
        uvloop.run(measure(cluster, options, report))
    judge(report)
    report.finish()


if __name__ == "__main__":
    main()
