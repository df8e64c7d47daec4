"""Which owner of a key a client asks first: policies beside each other, all nodes well and one slow.

    python scripts/bench/balance.py [--quick] [--seconds 3] [--json PATH]

Five nodes, N=3, reads of 100 B at 16 in flight: spread over 2,000 keys, and of one key.  The slow node is
stopped for 20 ms of each 60 ms (SIGSTOP), too short for anybody to take it for silent.  Each round goes
through all policies, and the rounds are told together, so that a slow spell of the machine is shared.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import Final, get_args

import psutil
import uvloop

import ringmill
from report import Report, arguments, percentile
from ringmill.client.routing.balancing import BalanceName
from ringmill.client.testing.scratch_cluster import ScratchCluster
from slow.pacing import stopped_in_turns

NODES: Final = 5
KEYS: Final = 2000
IN_FLIGHT: Final = 16
ROUNDS: Final = 2
STOPPED_S, RUNS_S = 0.020, 0.040
VALUE: Final = b"." * 100


async def load(cluster: ScratchCluster, policy: BalanceName, keys: int, seconds: float) -> list[float]:
    """Seconds of each read."""
    taken: list[float] = []
    drawn = random.Random(7)
    client = ringmill.connect(cluster.endpoints, timeout=5.0, token=cluster.token, balance=policy)
    async with client as db:
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while (sent := time.perf_counter()) < until:
                await db.get(f"key:{drawn.randrange(keys)}")
                taken.append(time.perf_counter() - sent)

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return taken


def stutter(cluster: ScratchCluster, node: str) -> AbstractContextManager[None]:
    """Stop and continue a node again and again."""
    pid = next(each.pid for each in cluster.records if each.id == node)
    return stopped_in_turns(lambda: [psutil.Process(pid)], STOPPED_S, RUNS_S)


async def compare(cluster: ScratchCluster, seconds: float, report: Report) -> None:
    async with ringmill.connect(cluster.endpoints, token=cluster.token) as db:
        await db.mput((f"key:{number}", VALUE) for number in range(KEYS))
        owner = (await db.locate("key:0")).owners[0].node
    taken: dict[tuple[str, str], list[float]] = {}
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    for _ in range(ROUNDS):
        for case, keys, slow in (
            ("many keys", KEYS, ""),
            ("many keys, a slow node", KEYS, owner),
            ("one key, its first owner slow", 1, owner),
        ):
            for policy in get_args(BalanceName):
                began = time.process_time()
                with stutter(cluster, slow) if slow else nullcontext():
                    taken.setdefault((case, policy), []).extend(await load(cluster, policy, keys, seconds))
                spent[case, policy] += time.process_time() - began
    for (case, policy), each in sorted(taken.items()):
        report.row(
            f"{case}: {policy}",
            per_s=len(each) / (seconds * ROUNDS),
            p50_ms=percentile(each, 0.5) * 1e3,
            p99_ms=percentile(each, 0.99) * 1e3,
            client_us=spent[case, policy] / len(each) * 1e6,
        )


def main() -> None:
    parser = arguments("balance", "Policies by which a client chooses among the owners of a key.")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each policy, case and round")
    options = parser.parse_args()
    seconds = options.seconds / 10 if options.quick else options.seconds
    settings = {"nodes": NODES, "in_flight": IN_FLIGHT, "keys": KEYS, "rounds": ROUNDS, "seconds": seconds}
    report = Report("balance", settings, options.json)
    with ScratchCluster(nodes=NODES) as cluster:
        uvloop.run(compare(cluster, seconds, report))
    report.finish()


if __name__ == "__main__":
    main()
