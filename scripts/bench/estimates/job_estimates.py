"""`ringmill job estimate` beside the job itself, for six jobs of examples/.

    python scripts/bench/estimates/job_estimates.py [--quick] [--nodes 2] [--rounds 3] [--json PATH]

The estimate and the job take turns.  CPU seconds, those of the task processes, do not depend on what else
the machine does: for them the sample is timed by the processor time of its process, and put together for one
slot.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from inputs.job_inputs import sort_files
from inputs.zipf import zipf_files
from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile
from ringmill.client.jobs import estimate_job as estimating
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition

FOLDER = ROOT / "build" / "bench"
Job = tuple[str, dict[str, str], dict[str, str]]
"""Name in examples/, inputs by source, parameters."""


class ProcessorTime:
    """In place of the clock of an estimate."""

    monotonic = staticmethod(time.process_time)


def tables(folder: Path, orders: int) -> Path:
    """A table of orders, one of customers, and clicks; made once."""
    draw = random.Random(1)
    if not (folder / "clicks.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = (f"{n},{draw.randrange(50_000)},{draw.random()}\n" for n in range(orders))
        (folder / "orders.csv").write_text("order,customer,amount\n" + "".join(rows))
        names = "".join(f"{n},name{n}\n" for n in range(50_000))
        (folder / "customers.csv").write_text("customer,name\n" + names)
        clicks = (
            {"visitor": f"v{draw.randrange(20_000)}", "at": draw.randrange(2_000_000), "page": f"/{n}"}
            for n in range(orders * 3)
        )
        (folder / "clicks.jsonl").write_text("".join(f"{json.dumps(click)}\n" for click in clicks))
    return folder


def all_jobs(mib: int) -> dict[str, Job]:
    text = str(zipf_files(FOLDER / f"zipf-{mib}mib", total_bytes=mib * 2**20, files=8)[0].parent)
    records = str(sort_files(FOLDER / f"records-{mib}mib", mib * 2**20 // 100)[0].parent)
    made = tables(FOLDER / f"tables-{mib}mib", mib * 2048)
    return {
        "word count": ("wordcount.py:wordcount", {"": text}, {}),
        "grep": ("grep.py:grep", {"": text}, {"pattern": "abc"}),
        "index": ("inverted_index.py:inverted_index", {"": text}, {}),
        "sort": ("sort_lines.py:sort_lines", {"": records}, {}),
        "sessions": ("sessionize.py:sessionize", {"": f"{made}/clicks.jsonl"}, {}),
        "join": (
            "join.py:named_orders",
            {"orders": f"{made}/orders.csv", "customers": f"{made}/customers.csv"},
            {},
        ),
    }


def estimated_cpu_s(job: Job) -> float:
    name, inputs, params = job
    with closing(OsFileSystem()) as files:
        definition = load_job_module(f"{ROOT}/examples/{name}", files, str(ROOT)).definition
    estimating.SystemClock = ProcessorTime  # type: ignore[assignment, attr-defined]
    assert isinstance(definition, JobDefinition)
    given = inputs if definition.source_names else inputs[""]
    found = estimating.estimate_job(definition, given, nodes=1, params=params, scratch=str(FOLDER))
    return found.map_s + found.reduce_s


def figures(cluster: BenchCluster, job: Job) -> tuple[float, float, float, float]:
    """Seconds and CPU seconds, each as estimated and as taken."""
    name, inputs, params = job
    target, line = f"{ROOT}/examples/{name}", list[str]()
    line += [text for key, path in inputs.items() for text in ("--input", f"{key}={path}" if key else path)]
    line += [text for key, value in params.items() for text in ("--param", f"{key}={value}")]
    estimate: dict[str, Any] = cluster.json("job", "estimate", target, *line)
    done = cluster.run_job(target, FOLDER / "estimate-out", *line)
    state: dict[str, Any] = cluster.json("job", "status", str(done["job"]))
    attempts = state["attempts"]
    taken_cpu_s = sum(each["cpu_s"] for each in attempts if each["state"] == "done")
    return estimate["seconds"], done["seconds"], estimated_cpu_s(job), taken_cpu_s


def main() -> None:
    parser = arguments("job_estimates", "Estimates of jobs beside the jobs.")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of the cluster, one task at a time each")
    parser.add_argument("--mib", type=int, default=64, help="size of the text; sort gets as much")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    mib, rounds = (options.mib // 8, 1) if options.quick else (options.mib, options.rounds)
    settings = {"mib": mib, "nodes": options.nodes, "rounds": rounds, "load_before": os.getloadavg()[0]}
    report = Report("job_estimates", settings, options.json)
    with BenchCluster(nodes=options.nodes) as cluster:
        for name, job in all_jobs(mib).items():
            rows = [figures(cluster, job) for _ in range(rounds)]
            names = ("estimated_s", "taken_s", "estimated_cpu_s", "taken_cpu_s")
            medians = {key: percentile([row[n] for row in rows], 0.5) for n, key in enumerate(names)}
            ratios = {
                "ratio": percentile([row[0] / row[1] for row in rows], 0.5),
                "cpu_ratio": percentile([row[2] / max(1e-3, row[3]) for row in rows], 0.5),
            }
            report.row(name, **medians, **ratios)
    report.finish()


if __name__ == "__main__":
    main()
