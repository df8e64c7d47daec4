"""A job on a cluster of which one node is ten times slower, beside the same job when none is.

    python scripts/bench/slow/slow_node.py [--quick] [--nodes 5] [--tasks 60] [--rounds 3] [--json PATH]

Each line of the input takes map 10 ms of waiting, so that the nodes do not take processor time from each
other.  The task processes of the last node are stopped for nine tenths of the time, the node itself is not:
nothing fails, and it is only late.  Clean and slow take turns.  `ideal` is what nodes at their speeds take
together, `n / (n - 1 + 1/10)` times clean; wasted is the share of the slots' time that went into attempts
which did not count.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster
from report import percentile
from slow.pacing import stopped_in_turns
from slow.waiting import Setup, on_cluster, run, tasks_of

TIMES_SLOWER = 10
CYCLE_S = 0.2
RUNS_S = CYCLE_S / TIMES_SLOWER


def measure(cluster: BenchCluster, given: Setup) -> None:
    clean, slow = [], []
    run(cluster, given.path)  # the first one starts the task processes
    for _ in range(given.rounds):
        clean.append(run(cluster, given.path))
        with stopped_in_turns(partial(tasks_of, cluster.pids[-1]), CYCLE_S - RUNS_S, RUNS_S):
            slow.append(run(cluster, given.path))
    given.report.row(
        "map only",
        clean_s=percentile([each[0] for each in clean], 0.5),
        slow_s=percentile([each[0] for each in slow], 0.5),
        ratio=percentile([two[0] / one[0] for one, two in zip(clean, slow, strict=True)], 0.5),
        ideal=given.nodes / (given.nodes - 1 + 1 / TIMES_SLOWER),
        wasted_share=percentile([each[1] for each in slow], 0.5),
        wasted_attempts=max(each[2] for each in slow),
    )


def main() -> None:
    on_cluster("slow-node", "A job with a node that is ten times slower.", measure, tasks=60, rounds=3)


if __name__ == "__main__":
    main()
