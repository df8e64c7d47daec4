"""A job on a cluster of which one node is ten times slower, beside the same job when none is.

    python scripts/bench/slow/slow_node.py [--quick] [--nodes 5] [--tasks 60] [--rounds 3] [--json PATH]

Each line of the input takes map 10 ms of waiting, so that the nodes do not take processor time from each
other.  The task processes of the last node are stopped for nine tenths of the time, the node itself is not:
nothing fails, and it is only late.  Clean and slow take turns.  `ideal` is what nodes at their speeds take
together, `n / (n - 1 + 1/10)` times clean; wasted is the share of the slots' time that went into attempts
which did not count.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster
from report import percentile
from slow.waiting import run, set_up

TIMES_SLOWER = 10
CYCLE_S = 0.2


@contextlib.contextmanager
def slowed(node: int) -> Iterator[None]:
    """The task processes of a node run for a tenth of the time."""
    over = threading.Event()

    def pace() -> None:
        while not over.is_set():
            tasks = _tasks_of(node)
            _tell(tasks, signal.SIGSTOP)
            over.wait(CYCLE_S * (1 - 1 / TIMES_SLOWER))
            _tell(tasks, signal.SIGCONT)
            time.sleep(CYCLE_S / TIMES_SLOWER)

    thread = threading.Thread(target=pace)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tasks_of(node: int) -> list[psutil.Process]:
    """The children of its forkserver, which runs on: it is asked for a sign of life."""
    with contextlib.suppress(psutil.NoSuchProcess):
        servers = psutil.Process(node).children()
        return [task for server in servers for task in server.children(recursive=True)]
    return []


def _tell(tasks: list[psutil.Process], what: signal.Signals) -> None:
    for task in tasks:
        with contextlib.suppress(psutil.NoSuchProcess):
            task.send_signal(what)


def main() -> None:
    nodes, _, rounds, path, report = set_up(
        "slow-node", "A job with a node that is ten times slower.", tasks=60, rounds=3
    )
    clean, slow = [], []
    with BenchCluster(nodes=nodes) as cluster:
        run(cluster, path)  # the first one starts the task processes
        for _ in range(rounds):
            clean.append(run(cluster, path))
            with slowed(cluster.pids[-1]):
                slow.append(run(cluster, path))
    report.row(
        "map only",
        clean_s=percentile([each[0] for each in clean], 0.5),
        slow_s=percentile([each[0] for each in slow], 0.5),
        ratio=percentile([two[0] / one[0] for one, two in zip(clean, slow, strict=True)], 0.5),
        ideal=nodes / (nodes - 1 + 1 / TIMES_SLOWER),
        wasted_share=percentile([each[1] for each in slow], 0.5),
        wasted_attempts=max(each[2] for each in slow),
    )
    report.finish()


if __name__ == "__main__":
    main()
