"""What a task costs when it does nothing, and what a job costs when it has no task.

    python scripts/bench/tasks/many_tasks.py [--quick] [--nodes 2] [--tasks 1000] [--rounds 3] [--json PATH]
                                             [--against CHECKOUT]

The input is a thousand files without content on the disk, each large enough to be a map task of its own.
CPU milliseconds are those of the node that coordinates (the most of any node), of the other nodes, and of
the task processes with their forkservers, divided by the number of map tasks.  With `--against`, a cluster of
another checkout takes turns.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile

JOB = ROOT / "scripts" / "bench" / "styles" / "noop_job.py"
FOLDER = ROOT / "build" / "bench"
FILE_BYTES = 520 * 1024  # two of them are more than a MiB, so none is packed with another


class Cost(NamedTuple):
    """What one job cost: its seconds as its coordinator reports them, and seconds of processors."""

    seconds: float
    coordinator_s: float
    others_s: float
    tasks_s: float

    @property
    def cpu_s(self) -> float:
        return self.coordinator_s + self.others_s + self.tasks_s


def input_files(count: int) -> Path:
    """A folder with that many files of nothing but a hole."""
    folder = FOLDER / f"noop-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:06}.bin"
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(FILE_BYTES)
    return folder


def run(cluster: BenchCluster, pattern: str, output: Path) -> Cost:
    before = _used(cluster)
    ended = cluster.run_job(f"{JOB}:noop", output, "--input", pattern, "--split-mib", "1")
    time.sleep(0.2)  # what cleans up after a job
    after = _used(cluster)
    nodes = sorted(after[0][pid] - before[0][pid] for pid in cluster.pids)
    return Cost(ended["seconds"], nodes[-1], sum(nodes[:-1]), after[1] - before[1])


def _used(cluster: BenchCluster) -> tuple[dict[int, float], float]:
    """Seconds of processor time of each node, and of all that nodes have started."""
    nodes, below = {}, 0.0
    for pid in cluster.pids:
        node = psutil.Process(pid)
        times = node.cpu_times()
        nodes[pid] = times.user + times.system
        below += times.children_user + times.children_system
        for child in node.children(recursive=True):
            used = child.cpu_times()
            below += used.user + used.system + used.children_user + used.children_system
    return nodes, below


def _told(report: Report, case: str, costs: list[Cost], tasks: int) -> float:
    def median(figures: list[float]) -> float:
        return percentile(figures, 0.5) / tasks * 1000

    cpu_ms = median([each.cpu_s for each in costs])
    report.row(
        case,
        wall_ms=median([each.seconds for each in costs]),
        cpu_ms=cpu_ms,
        coordinator_ms=median([each.coordinator_s for each in costs]),
        other_nodes_ms=median([each.others_s for each in costs]),
        task_processes_ms=median([each.tasks_s for each in costs]),
    )
    return cpu_ms


def main() -> None:
    parser = arguments("many_tasks", "Tasks that do nothing.")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of the cluster, one task at a time each")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout, whose cluster takes turns with ours")
    options = parser.parse_args()
    tasks, rounds = (options.tasks // 10, 1) if options.quick else (options.tasks, options.rounds)
    many = f"{input_files(tasks)}/*.bin"
    (empty := FOLDER / "noop-empty.bin").write_bytes(b"")
    settings = {
        "nodes": options.nodes, "tasks": tasks, "rounds": rounds, "load_before": os.getloadavg()[0],
    }  # fmt: skip
    report = Report("many_tasks", settings, options.json)
    with ExitStack() as stack:
        clusters = {"ours": stack.enter_context(BenchCluster(nodes=options.nodes))}
        if options.against:
            other = BenchCluster(nodes=options.nodes, checkout=options.against.resolve())
            clusters["against"] = stack.enter_context(other)
        for case, pattern, divided in (("a task", many, tasks), ("a job without tasks", str(empty), 1)):
            costs: dict[str, list[Cost]] = {name: [] for name in clusters}
            for _ in range(rounds if divided > 1 else 5 * rounds):
                for name, cluster in clusters.items():
                    costs[name].append(run(cluster, pattern, FOLDER / f"noop-output-{name}"))
            for name, each in costs.items():
                cpu_ms = _told(report, f"{case}, {name}", each, divided)
                if case == "a task" and name == "ours":
                    report.goal("processor time of a task", cpu_ms, 1, "ms")
            if divided == 1:
                taken = percentile([each.seconds for each in costs["ours"]], 0.5)
                report.goal("an empty job", taken * 1000, 50, "ms")
    report.note(f"load after: {os.getloadavg()[0]:.1f}")
    report.finish()


if __name__ == "__main__":
    main()
