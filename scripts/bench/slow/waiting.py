"""The job of the benchmarks of slow and killed nodes: map tasks of 0.64 s that wait, and use no processor.

Its lines are waited for, one by one; see styles/waiting_job.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from local_cluster import ROOT, BenchCluster
from report import Report, arguments

__all__ = ["JOB", "Setup", "on_cluster", "run", "tasks_of"]

JOB = ROOT / "scripts" / "bench" / "styles" / "waiting_job.py"
FOLDER = ROOT / "build" / "bench"
LINE_BYTES = 16 * 1024
LINES_A_TASK = 64  # of 1 MiB


class Setup(NamedTuple):
    """What the command line asks for, and the report of it."""

    nodes: int
    tasks: int
    rounds: int
    path: Path  # of the input
    report: Report


def on_cluster(
    name: str, description: str, measure: Callable[[BenchCluster, Setup], None], *, tasks: int, rounds: int
) -> None:
    """Measure on a cluster of one's own, and tell.  The defaults of the command line are these.

    Each node has a slot, however few cores the machine has: the tasks wait.
    """
    given = _set_up(name, description, tasks, rounds)
    environment = {"PYTHONPATH": str(ROOT), "RINGMILL_HOST_SLOTS": str(given.nodes)}
    with BenchCluster(nodes=given.nodes, environment=environment) as cluster:
        measure(cluster, given)
    given.report.finish()


def _set_up(name: str, description: str, tasks: int, rounds: int) -> Setup:
    """Read the command line, and write the input."""
    parser = arguments(name, description)
    parser.add_argument("--nodes", type=int, default=5, help="one task at a time each")
    parser.add_argument("--tasks", type=int, default=tasks, help="map tasks of 0.64 s")
    parser.add_argument("--rounds", type=int, default=rounds)
    options = parser.parse_args()
    tasks, rounds = (options.tasks // 3, 1) if options.quick else (options.tasks, options.rounds)
    path = _lines_file(tasks)
    load = os.getloadavg()[0]
    settings = {"nodes": options.nodes, "tasks": tasks, "rounds": rounds, "load_before": load}
    return Setup(options.nodes, tasks, rounds, path, Report(name, settings, options.json))


def tasks_of(node: int) -> list[psutil.Process]:
    """The children of the forkserver of a node's process.  That one runs on: it is asked for a sign of
    life."""
    with contextlib.suppress(psutil.NoSuchProcess):
        servers = psutil.Process(node).children()
        return [task for server in servers for task in server.children(recursive=True)]
    return []


def _lines_file(tasks: int) -> Path:
    path = FOLDER / f"waiting-{tasks}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((b"x" * (LINE_BYTES - 1) + b"\n") * (tasks * LINES_A_TASK))
    return path


def run(cluster: BenchCluster, path: Path) -> tuple[float, float, int]:
    """Seconds of the job, the share of wasted work, and how many attempts were wasted."""
    ended = cluster.run_job(
        f"{JOB}:waiting", FOLDER / "slow-output", "--input", str(path), "--split-mib", "1"
    )
    explained = cluster.json("job", "explain", str(ended["job"]))
    wasted = explained["wasted"]
    assert isinstance(wasted, dict)
    return ended["seconds"], float(wasted["share"]), int(wasted["attempts"])
