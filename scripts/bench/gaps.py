"""How long no write succeeds when a node is killed or stopped under load.

    python scripts/bench/gaps.py [--quick] [--writers 16] [--transport grpc] [--checkout PATH] [--json PATH]

Three nodes, N=3, w=2, synced; one client with a few writers, each with one put at a time, and the default
timeout.  Each node in turn gets SIGKILL, and in a second turn SIGSTOP, and is brought back.  A gap is the
time between two good puts of any writers in a row; the longest one around the signal counts.  "calm" is the
same without a signal.  To measure another checkout, run this file with its Python and name it by --checkout.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import uvloop

import ringmill
from local_cluster import ROOT, BenchCluster
from report import Report, arguments
from ringmill.cluster.wire.offers import CarrierName

NODES = 3
KEYS = 10_000
VALUE = b"." * 100
WARM_S, WATCH_S = 1.5, 4.0
GOALS_MS = {"SIGKILL": 50.0, "SIGSTOP": 300.0}


@dataclass(slots=True)
class Load:
    """Puts of all writers: when the good ones ended, how long the slowest took, and what failed."""

    until: float = 0.0
    ended: list[float] = field(default_factory=list)
    slowest_s: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)

    def longest_gap_s(self) -> float:
        """Between two good puts in a row, or the last one and the end of the watch."""
        times = [*(each for each in self.ended if each > self.until - WATCH_S - 0.2), self.until]
        return max((later - earlier for earlier, later in pairwise(times)), default=WATCH_S)


async def write(db: ringmill.AsyncClient, load: Load) -> None:
    seeded = random.Random()
    while (sent := time.perf_counter()) < load.until:
        try:
            await db.put(f"key:{seeded.randrange(KEYS):012d}", VALUE)
        except ringmill.RingmillError as error:
            load.failed[f"{error.code} {error.outcome}"] += 1
            await asyncio.sleep(0.001)
        else:
            load.ended.append(time.perf_counter())
        load.slowest_s = max(load.slowest_s, time.perf_counter() - sent)


async def watch(cluster: BenchCluster, victim: int | None, sign: signal.Signals | None, writers: int) -> Load:
    """The load of one signal; every load has a client of its own, whose session to each node is warm."""
    load = Load()
    async with ringmill.connect(cluster.endpoints, transport=TRANSPORT) as db:
        load.until = time.perf_counter() + WARM_S + WATCH_S
        async with asyncio.TaskGroup() as group:
            for _ in range(writers):
                group.create_task(write(db, load))
            await asyncio.sleep(WARM_S)
            if victim is not None and sign is not None:
                os.kill(victim, sign)
    return load


async def all_signals(cluster: BenchCluster, writers: int, report: Report, rounds: int) -> None:
    for number in range(rounds):
        note(report, "calm", number, await watch(cluster, None, None, writers))
        for sign in (signal.SIGKILL, signal.SIGSTOP):
            for place in range(NODES):
                victim = cluster.pids[place]
                load = await watch(cluster, victim, sign, writers)
                if sign is signal.SIGSTOP:
                    os.kill(victim, signal.SIGCONT)
                await asyncio.to_thread(cluster.command, "cluster", "up")
                await asyncio.to_thread(cluster.command, "cluster", "status", "--wait", "healthy")
                note(report, f"{sign.name} n{place + 1}", number, load)
    for name, goal_ms in GOALS_MS.items():
        gaps = [float(str(row["gap_ms"])) for row in report.rows if str(row["case"]).startswith(name)]
        report.goal(f"longest gap after {name}", max(gaps), goal_ms, "ms")


def note(report: Report, case: str, number: int, load: Load) -> None:
    gap_ms = load.longest_gap_s() * 1e3
    failed = ", ".join(f"{count} {error}" for error, count in load.failed.items())
    report.row(
        case, round=number + 1, gap_ms=gap_ms, slowest_ms=load.slowest_s * 1e3, good=len(load.ended),
        failed=failed or "0",
    )  # fmt: skip


def main() -> None:
    global TRANSPORT  # noqa: PLW0603 - an option of the whole run
    parser = arguments("gaps", "How long no write succeeds when a node is killed or stopped under load.")
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transport", default="grpc", choices=("grpc", "tcp", "unix"))
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose nodes are measured")
    options = parser.parse_args()
    TRANSPORT = options.transport
    rounds = 1 if options.quick else options.rounds
    settings = {"nodes": NODES, "writers": options.writers, "transport": TRANSPORT, "rounds": rounds}
    report = Report("gaps", settings, options.json)
    with BenchCluster(nodes=NODES, checkout=options.checkout) as cluster:
        uvloop.run(all_signals(cluster, options.writers, report, rounds))
    report.finish()


TRANSPORT: CarrierName = "grpc"

if __name__ == "__main__":
    main()
