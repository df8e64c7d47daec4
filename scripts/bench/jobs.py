"""Word count, grep and sort on a cluster, record by record, in batches and in columns, beside a plain pool;
and an inverted index, joins and PageRank.

    python scripts/bench/jobs.py [--quick] [--nodes 2] [--mib 64] [--rounds 3] [--only JOB] [--json PATH]
                                 [--against CHECKOUT]

The two take turns in every round of every job, as the load of the machine changes; a ratio is the median of
the ratios of the rounds.  Checksums of the sorted output lines are compared; of sort and grep, whose order
counts, of the lines as they are.  CPU seconds are those of the nodes with their task processes, and of the
pool with its parent; the submitting command is in the wall time and not in the CPU seconds.

The index is one of 128 files.  The joins have a quarter of the size in orders, and 50,000 customers.
PageRank runs five rounds over 1,600 pages a MiB with eight links each; `pagerank_in_place` is the same with
`update`, so that the links stay in their parts.

With `--against`, a cluster of another checkout takes turns with them, and `against` is ours to its.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psutil

from inputs.tables import link_files, order_tables
from inputs.zipf import zipf_files
from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile
from styles.job_pools import POOLS, run_pool
from styles.shaped_pools import SHAPED_POOLS

FOLDER = ROOT / "build" / "bench"
STYLES = Path(__file__).resolve().parent / "styles"
Cost = tuple[float, float]
"""Wall seconds and CPU seconds."""
ORDER_BYTES = 20
JOBS = (*POOLS, *SHAPED_POOLS)


class Input(NamedTuple):
    """Files for the pool, and what stands for them on the command line."""

    files: list[Path]
    typed: tuple[str, ...]

    @classmethod
    def of(cls, files: list[Path]) -> Input:
        return cls(files, ("--input", f"{files[0].parent}/*{files[0].suffix}"))


def input_of(name: str, mib: int) -> Input:
    """The input of a job, made when it is first asked for."""
    size = mib * 2**20
    if name.startswith("sort"):
        return Input.of(sort_files(FOLDER / f"records-{mib}mib", size // 100))
    if name.startswith("index"):
        return Input.of(zipf_files(FOLDER / f"zipf-{mib}mib-128", total_bytes=size, files=128))
    if name.startswith("join"):
        orders, customers = order_tables(FOLDER / f"join-{mib}mib", size // 4 // ORDER_BYTES)
        pattern = f"{orders[0].parent}/orders-*.csv"
        typed = ("--input", f"orders={pattern}", "--input", f"customers={customers}")
        return Input([*orders, customers], typed)
    if name.startswith("pagerank"):
        return Input.of(link_files(FOLDER / f"links-{mib}mib", 1600 * mib))
    return Input.of(zipf_files(FOLDER / f"zipf-{mib}mib", total_bytes=size, files=8))


def sort_files(folder: Path, records: int) -> list[Path]:
    """Records of 100 bytes with random keys, in four files that are made once."""
    draw, paths = random.Random(7), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        path = folder / f"{number}.txt"
        paths.append(path)
        if not path.exists():
            lines = (f"{draw.getrandbits(64):016x}{'x' * 83}\n" for _ in range(records // 4))
            path.write_text("".join(lines))
    return paths


def of_pool(name: str, files: list[Path], output: Path, workers: int) -> Cost:
    before, started = _own_cpu_s(), time.perf_counter()
    if (shaped := SHAPED_POOLS.get(name)) is not None:
        shaped(files, output, workers)
    else:
        run_pool(name, files, output, workers)
    return time.perf_counter() - started, _own_cpu_s() - before


def of_cluster(cluster: BenchCluster, name: str, given: Input, output: Path) -> Cost:
    """From typed to done."""
    nodes = [psutil.Process(pid) for pid in cluster.pids]
    before, started = sum(map(_tree_cpu_s, nodes)), time.perf_counter()
    module = "column_styles.py" if name.endswith("_columns") else "job_styles.py"
    module = "shaped_jobs.py" if name in SHAPED_POOLS else module
    target = f"{STYLES / module}:{name}"
    ended = cluster.json("job", "run", target, *given.typed, "--output", str(output), "--overwrite")
    seconds = time.perf_counter() - started
    if ended["state"] != "SUCCEEDED":
        raise SystemExit(f"the job ended {ended['state']}: {ended}")
    return seconds, sum(map(_tree_cpu_s, nodes)) - before


def checksum(data: bytes, *, ordered: bool) -> str:
    lines = data.splitlines(keepends=True)
    return sha256(b"".join(lines if ordered else sorted(lines))).hexdigest()[:16]


def _own_cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _tree_cpu_s(node: psutil.Process) -> float:
    """Processor seconds of a node, and of its child processes, those that have ended among them."""
    total = 0.0
    for process in (node, *node.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _same(name: str, pool_output: Path, output: Path) -> str:
    ordered = name.startswith(("grep", "sort"))
    parts = b"".join(part.read_bytes() for part in sorted(output.glob("part-*")))
    theirs, ours = checksum(pool_output.read_bytes(), ordered=ordered), checksum(parts, ordered=ordered)
    if theirs != ours:
        raise SystemExit(f"{name}: the cluster and the pool gave different output")
    return ours


def _load() -> float:
    return os.getloadavg()[0]


def measure(
    rounds: int, pool: Callable[[], Cost], ours: Callable[[], Cost], theirs: Callable[[], Cost] | None
) -> dict[str, float]:
    """Figures of one job, all in turns."""
    pairs, against = [], []
    for _ in range(rounds):
        pairs.append((pool(), ours()))
        if theirs is not None:
            against.append((pairs[-1][1], theirs()))
    return {
        "pool_s": percentile([one[0] for one, _ in pairs], 0.5),
        "ringmill_s": percentile([two[0] for _, two in pairs], 0.5),
        "ratio": percentile([two[0] / one[0] for one, two in pairs], 0.5),
        "pool_cpu_s": percentile([one[1] for one, _ in pairs], 0.5),
        "ringmill_cpu_s": percentile([two[1] for _, two in pairs], 0.5),
        "cpu_ratio": percentile([two[1] / one[1] for one, two in pairs], 0.5),
        **({"against": percentile([two[0] / one[0] for two, one in against], 0.5)} if against else {}),
        **({"cpu_against": percentile([two[1] / one[1] for two, one in against], 0.5)} if against else {}),
    }


def main() -> None:
    parser = arguments("jobs", "Jobs on a cluster and on a pool of processes.")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of the cluster, one task at a time each")
    parser.add_argument("--mib", type=int, default=64, help="size of the text; sort gets as much")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=JOBS, nargs="+", default=JOBS, help="these jobs instead of all")
    parser.add_argument("--against", type=Path, help="another checkout, whose cluster takes turns with ours")
    options = parser.parse_args()
    mib, rounds = (options.mib // 8, 1) if options.quick else (options.mib, options.rounds)
    workers = len(os.sched_getaffinity(0))
    inputs = {name: input_of(name, mib) for name in options.only}
    load = _load()
    report = Report("jobs", {
        "text": f"{mib} MiB Zipf in 8 files", "records": f"{mib} MiB of 100 bytes",
        "nodes": options.nodes, "pool_workers": workers, "reducers": 4, "rounds": rounds, "load_before": load,
    }, options.json)  # fmt: skip
    pool_output, output = FOLDER / "pool.out", FOLDER / "job-output"
    with ExitStack() as stack:
        cluster, other = stack.enter_context(BenchCluster(nodes=options.nodes)), None
        if options.against:
            other = stack.enter_context(BenchCluster(nodes=options.nodes, checkout=options.against.resolve()))
        for name in options.only:
            given = inputs[name]
            pool = partial(of_pool, name, given.files, pool_output, workers)
            ours = partial(of_cluster, cluster, name, given, output)
            theirs = partial(of_cluster, other, name, given, FOLDER / "job-output-2") if other else None
            figures = measure(rounds, pool, ours, theirs)
            report.row(name, **figures, checksum=_same(name, pool_output, output))
    report.note("ratios are those of ringmill to the pool, the median of the rounds; equal checksums")
    if max(load, _load() - workers) > workers / 2:
        report.note(
            f"the machine was loaded: {load:.1f} before, {_load():.1f} after; CPU seconds are steadier"
        )
    report.finish()


if __name__ == "__main__":
    main()
