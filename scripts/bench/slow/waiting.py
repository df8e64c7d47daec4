"""The job of the benchmarks of slow and killed nodes: map tasks of 0.64 s that wait, and use no processor.

Its lines are waited for, one by one; see styles/waiting_job.py.
"""

from __future__ import annotations

from pathlib import Path

from local_cluster import ROOT, BenchCluster

__all__ = ["lines_file", "run"]

JOB = ROOT / "scripts" / "bench" / "styles" / "waiting_job.py"
FOLDER = ROOT / "build" / "bench"
LINE_BYTES = 16 * 1024
LINES_A_TASK = 64  # of 1 MiB


def lines_file(tasks: int) -> Path:
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
    told = cluster.json("job", "explain", str(ended["job"]))
    wasted = told["wasted"]
    assert isinstance(wasted, dict)
    return float(str(ended["seconds"])), float(wasted["share"]), int(wasted["attempts"])
