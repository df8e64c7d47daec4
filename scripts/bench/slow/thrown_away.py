"""A job of which half of the finished work is thrown away by kills of nodes, beside the same job undisturbed.

    python scripts/bench/slow/thrown_away.py [--quick] [--nodes 5] [--tasks 120] [--rounds 2] [--json PATH]

When half of the maps are done, nodes are killed (SIGKILL) and started again, one after the other, until half
of the nodes, rounded up, have lost what their tasks had finished.  The node that coordinates the job is left
alone.  `ideal` is the clean time and that of the lost tasks on all slots, as if the nodes had been away for
no time.  The job is that of slow_node.py.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster
from report import percentile
from slow.waiting import Setup, on_cluster, run

LOOK_EVERY_S = 0.3


def disturbed(cluster: BenchCluster, path: Path, tasks: int) -> tuple[float, int]:
    """Seconds of the job, and how many finished maps were on the nodes that were killed."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, cluster, path)
        job = _half_done(cluster, tasks)
        victims = [f"n{number}" for number in range(1, cluster.nodes + 1) if f"n{number}" != job["node"]]
        lost = 0
        for victim in victims[: (cluster.nodes + 1) // 2]:
            lost += sum(each == victim for each in _finished(cluster, str(job["job"])))
            cluster.command("cluster", "kill", victim)
            cluster.command("cluster", "restart", victim)
        return running.result()[0], lost


def _half_done(cluster: BenchCluster, tasks: int) -> dict[str, object]:
    """The running job, once half of its maps are done."""
    while True:
        time.sleep(LOOK_EVERY_S)
        for job in cluster.json("job", "list"):
            assert isinstance(job, dict)
            if job["state"] == "RUNNING" and len(_finished(cluster, job["job"])) >= tasks // 2:
                return job


def _finished(cluster: BenchCluster, job: str) -> list[str]:
    """The node of each map that is done."""
    rows = cluster.json("job", "status", job, "--tasks")["task_list"]
    assert isinstance(rows, list)
    return [row["node"] for row in rows if row["state"] == "done" and row["task"].startswith("map-")]


def measure(cluster: BenchCluster, given: Setup) -> None:
    rows = []
    run(cluster, given.path)  # the first one starts the task processes
    for _ in range(given.rounds):
        clean_s = run(cluster, given.path)[0]
        seconds, lost = disturbed(cluster, given.path, given.tasks)
        rows.append((clean_s, seconds, lost, clean_s * (1 + lost / given.tasks)))
    given.report.row(
        "nodes killed and started again, one after the other",
        clean_s=percentile([each[0] for each in rows], 0.5),
        killed_s=percentile([each[1] for each in rows], 0.5),
        lost_maps=percentile([each[2] for each in rows], 0.5),
        ideal_s=percentile([each[3] for each in rows], 0.5),
        times_ideal=percentile([each[1] / each[3] for each in rows], 0.5),
    )


def main() -> None:
    on_cluster(
        "thrown-away", "A job whose finished work is thrown away by kills.", measure, tasks=120, rounds=2
    )


if __name__ == "__main__":
    main()
