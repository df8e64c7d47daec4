"""Reads of keys that have an owner which stands still now and then, beside those on another checkout.

    python scripts/bench/slow/slow_owner.py [--quick] [--against CHECKOUT] [--seconds 4] [--rounds 3]
                                            [--in-flight 8,64] [--json PATH]

Three nodes, N=3, r=2, 100 B.  The last node is stopped for 60 ms of each 200 ms (SIGSTOP): too short for
anybody to take it for silent.  Only keys whose first owner is another node are read, so the slow one is asked
by their coordinators alone.  In each round all contestants take turns, calm and then beside the slow owner.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

import ringmill
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from slow.pacing import stopped_in_turns

NODES: Final = 3
KEYS: Final = 600
STOPPED_S, RUNS_S = 0.060, 0.140
VALUE: Final = b"." * 100


def standing_still(pid: int) -> contextlib.AbstractContextManager[None]:
    """This process is stopped and goes on in turns."""
    return stopped_in_turns(lambda: [psutil.Process(pid)], STOPPED_S, RUNS_S)


async def keys_of_others(endpoints: str, slow: str) -> list[str]:
    """Keys that hold a value, and whose first owner is not the slow node."""
    async with ringmill.connect(endpoints) as db:
        names = [f"key:{number}" for number in range(KEYS)]
        await db.mput((name, VALUE) for name in names)
        return [name for name in names if (await db.locate(name)).owners[0].node != slow]


async def reads(endpoints: str, keys: list[str], in_flight: int, seconds: float) -> list[float]:
    """Seconds of each read."""
    taken: list[float] = []
    drawn = random.Random(7)
    async with ringmill.connect(endpoints, timeout=5.0) as db:
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while (sent := time.perf_counter()) < until:
                await db.get(drawn.choice(keys))
                taken.append(time.perf_counter() - sent)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return taken


def processor_s(pids: Sequence[int]) -> float:
    """What these processes have used."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def hedges(endpoints: str) -> float:
    """Of all nodes, since they were started."""
    async with ringmill.connect(endpoints) as db:
        told = await db.metrics()
        return sum(each.total("read_hedges_total", outcome="sent") for each in told.values())


async def compare(clusters: dict[str, BenchCluster], options: argparse.Namespace, report: Report) -> None:
    keys = {name: await keys_of_others(each.endpoints, f"n{NODES}") for name, each in clusters.items()}
    taken: dict[tuple[str, str, int], list[float]] = {}
    hedged: defaultdict[tuple[str, str, int], float] = defaultdict(float)
    spent: defaultdict[tuple[str, str, int], float] = defaultdict(float)
    for round_ in range(options.rounds):
        turns = list(clusters.items())[:: -1 if round_ % 2 else 1]
        for in_flight in options.in_flight:
            for case in ("calm", "slow owner"):
                for name, cluster in turns:
                    slowing = standing_still(cluster.pids[-1]) if case != "calm" else contextlib.nullcontext()
                    before, began_s = await hedges(cluster.endpoints), processor_s(cluster.pids)
                    with slowing:
                        some = await reads(cluster.endpoints, keys[name], in_flight, options.seconds)
                    taken.setdefault((case, name, in_flight), []).extend(some)
                    spent[case, name, in_flight] += processor_s(cluster.pids) - began_s
                    hedged[case, name, in_flight] += await hedges(cluster.endpoints) - before
    for (case, name, in_flight), each in taken.items():
        report.row(
            f"{case}: {name}",
            in_flight=in_flight,
            per_s=len(each) / (options.seconds * options.rounds),
            p50_ms=percentile(each, 0.5) * 1e3,
            p95_ms=percentile(each, 0.95) * 1e3,
            p99_ms=percentile(each, 0.99) * 1e3,
            p999_ms=percentile(each, 0.999) * 1e3,
            slowest_ms=max(each) * 1e3,
            nodes_us=spent[case, name, in_flight] / len(each) * 1e6,
            hedged_share=hedged[case, name, in_flight] / len(each),
        )


def main() -> None:
    parser = arguments("slow-owner", "Reads of keys of which one owner stands still now and then.")
    parser.add_argument("--against", type=Path, help="another checkout, which takes turns with ours")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each case in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", default="8,64")
    options = parser.parse_args()
    options.in_flight = [int(count) for count in options.in_flight.split(",")]
    if options.quick:
        options.seconds, options.rounds = options.seconds / 4, 1
    settings = {
        "nodes": NODES, "keys": KEYS, "seconds": options.seconds, "rounds": options.rounds,
        "stopped_ms": STOPPED_S * 1e3, "runs_ms": RUNS_S * 1e3, "load_before": os.getloadavg()[0],
    }  # fmt: skip
    report = Report("slow-owner", settings, options.json)
    with contextlib.ExitStack() as stack:
        clusters = {"ours": stack.enter_context(BenchCluster(nodes=NODES))}
        if options.against is not None:
            checkout = options.against.resolve()
            clusters["theirs"] = stack.enter_context(BenchCluster(nodes=NODES, checkout=checkout))
        uvloop.run(compare(clusters, options, report))
    report.finish()


if __name__ == "__main__":
    main()
