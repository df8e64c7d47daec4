"""The job of the benchmarks of slow and killed nodes: map tasks of 0.64 s that wait, and use no processor.

Its lines are waited for, one by one; see styles/waiting_job.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from local_cluster import ROOT, BenchCluster
from report import Report, arguments

__all__ = ["Setup", "run", "set_up"]

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


def set_up(name: str, description: str, *, tasks: int, rounds: int) -> Setup:
    """Read the command line, whose defaults these are, and write the input."""
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


def _lines_file(tasks: int) -> Path:
    path = FOLDER / f"waiting-{tasks}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((b"x" * (LINE_BYTES - 1) + b"\n") * (tasks * LINES_A_TASK))
    return path


def run(cluster: BenchCluster, path: Path) -> tuple[float, float, int]:
    """Seconds of the job, the share of wasted work, and how many attempts were wasted."""
    output = FOLDER / "slow-output"
    ended = cluster.json(
        "job", "run", f"{JOB}:waiting", "--input", str(path), "--output", str(output), "--overwrite",
        "--split-mib", "1",
    )  # fmt: skip
    if ended["state"] != "SUCCEEDED":
        raise SystemExit(f"the job ended {ended['state']}: {ended}")
    explained = cluster.json("job", "explain", str(ended["job"]))
    wasted = explained["wasted"]
    assert isinstance(wasted, dict)
    return float(str(ended["seconds"])), float(wasted["share"]), int(wasted["attempts"])
