"""Word count, grep and sort on a cluster, record by record, in batches and in columns, beside a plain pool;
and an inverted index, joins and PageRank.

    python scripts/bench/jobs.py [--quick] [--nodes 2] [--mib 64] [--rounds 3] [--only JOB] [--json PATH]
                                 [--against CHECKOUT] [--beside dask,ray,duckdb,polars]

The two take turns in every round of every job, as the load of the machine changes; a ratio is the median of
the ratios of the rounds.  Checksums of the sorted output lines are compared; of sort and grep, whose order
counts, of the lines as they are.  CPU seconds are those of the nodes with their task processes, and of the
pool with its parent; the submitting command is in the wall time and not in the CPU seconds.

The index is one of 128 files.  The joins have a quarter of the size in orders, and 50,000 customers.
PageRank runs five rounds over 1,600 pages a MiB with eight links each; `pagerank_in_place` is the same with
`update`, so that the links stay in their parts.

With `--against`, a cluster of another checkout takes turns with them, and `against` is ours to its.  With
`--beside`, so do other engines (`scripts/bench/others`), each in a process of its own from its start to the
synced output, and rows below tell their times; those that this Python does not have are named and left out.
Dask and Ray run the functions of the pool; DuckDB and polars have queries of their own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from inputs.job_inputs import FOLDER, JobInput, input_of
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from ringmill.client.bench.processor_time import used_s
from ringmill.cluster.adapters.machine_name import own_cores
from styles.job_pools import POOLS, run_pool
from styles.shaped_pools import SHAPED_POOLS

STYLES = Path(__file__).resolve().parent / "styles"
Cost = tuple[float, float]
"""Wall seconds and CPU seconds."""
JOBS = (*POOLS, *SHAPED_POOLS)
OTHERS = {"dask": "distributed", "ray": "ray", "duckdb": "duckdb", "polars": "polars"}
"""Each engine, and what has to be installed for it."""
UNWRITTEN = {"pagerank", "pagerank_in_place"}  # by the other engines


class EngineFailed(Exception):
    """Another engine gave no output.  It is left out of this job; the figures of the others are kept."""


def of_pool(name: str, files: list[Path], output: Path, workers: int) -> Cost:
    before, started = _own_cpu_s(), time.perf_counter()
    if (shaped := SHAPED_POOLS.get(name)) is not None:
        shaped(files, output, workers)
    else:
        run_pool(name, files, output, workers)
    return time.perf_counter() - started, _own_cpu_s() - before


def of_cluster(cluster: BenchCluster, name: str, given: JobInput, output: Path) -> Cost:
    """From typed to done."""
    before, started = sum(map(used_s, cluster.pids)), time.perf_counter()
    module = "column_styles.py" if name.endswith("_columns") else "job_styles.py"
    module = "shaped_jobs.py" if name in SHAPED_POOLS else module
    target = f"{STYLES / module}:{name}"
    cluster.run_job(target, output, *given.typed)
    seconds = time.perf_counter() - started
    return seconds, sum(map(used_s, cluster.pids)) - before


def of_other(engine: str, name: str, files: list[Path], output: Path) -> Cost:
    """From typed to done, as the cluster's."""
    output.unlink(missing_ok=True)
    program = Path(__file__).parent / "others" / f"{engine}_jobs.py"
    line = [sys.executable, str(program), name, str(output), *map(str, files)]
    started = time.perf_counter()
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=600)
    seconds = time.perf_counter() - started
    if ended.returncode:
        raise EngineFailed(f"{engine} failed at {name}: {ended.stderr.strip()[-2000:]}")
    return seconds, float(ended.stdout.splitlines()[-1])


def checksum(data: bytes, *, ordered: bool) -> str:
    lines = data.splitlines(keepends=True)
    return sha256(b"".join(lines if ordered else sorted(lines))).hexdigest()[:16]


def _own_cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _same(name: str, pool_output: Path, others: dict[str, Path]) -> str:
    """The checksum that the outputs of all have; of a folder, that of its parts one after the other."""
    ordered = name.startswith(("grep", "sort"))
    wanted = checksum(pool_output.read_bytes(), ordered=ordered)
    for who, output in others.items():
        parts = sorted(output.glob("part-*")) if output.is_dir() else [output]
        if checksum(b"".join(part.read_bytes() for part in parts), ordered=ordered) != wanted:
            raise SystemExit(f"{name}: {who} and the pool gave different output")
    return wanted


def _load() -> float:
    return os.getloadavg()[0]


def measure(
    rounds: int,
    pool: Callable[[], Cost],
    ours: Callable[[], Cost],
    theirs: Callable[[], Cost] | None,
    others: Mapping[str, Callable[[], Cost]],
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures of one job, and of each other engine at it, all in turns."""
    pairs, against = [], []
    beside: dict[str, list[tuple[Cost, Cost]]] = {engine: [] for engine in others}
    for _ in range(rounds):
        pairs.append((pool(), ours()))
        if theirs is not None:
            against.append((pairs[-1][1], theirs()))
        for engine in list(beside):
            try:
                beside[engine].append((others[engine](), pairs[-1][1]))
            except EngineFailed as failure:
                print(failure, file=sys.stderr)
                del beside[engine]
    return _figures(pairs, against), {engine: _beside(each) for engine, each in beside.items()}


def _beside(costs: list[tuple[Cost, Cost]]) -> dict[str, float]:
    """Of another engine: `ratio` is ours to its."""
    return {
        "other_s": percentile([other[0] for other, _ in costs], 0.5),
        "ratio": percentile([ours[0] / other[0] for other, ours in costs], 0.5),
        "other_cpu_s": percentile([other[1] for other, _ in costs], 0.5),
        "cpu_ratio": percentile([ours[1] / other[1] for other, ours in costs], 0.5),
    }


def _figures(pairs: list[tuple[Cost, Cost]], against: list[tuple[Cost, Cost]]) -> dict[str, float]:
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
    parser.add_argument("--beside", default="", help=f"of {', '.join(OTHERS)}, by commas")
    options = parser.parse_args()
    engines: list[str] = [engine for engine in options.beside.split(",") if engine]
    if unknown := set(engines) - set(OTHERS):
        parser.error(f"--beside {min(unknown)}: there are {', '.join(OTHERS)}")
    mib, rounds = (options.mib // 8, 1) if options.quick else (options.mib, options.rounds)
    workers = own_cores()
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
            present = [each for each in engines if find_spec(OTHERS[each]) and name not in UNWRITTEN]
            outputs = {engine: FOLDER / f"{engine}.out" for engine in present}
            others = {each: partial(of_other, each, name, given.files, outputs[each]) for each in present}
            figures, beside = measure(rounds, pool, ours, theirs, others)
            whole = {engine: path for engine, path in outputs.items() if engine in beside}
            same = _same(name, pool_output, {"the cluster": output, **whole})
            for engine in sorted(outputs.keys() - whole.keys()):
                report.note(f"{engine} was left out of {name}: it failed")
            report.row(name, **figures, checksum=same)
            for engine, each in beside.items():
                report.row(f"{name}: {engine}", **each)
    for engine in engines:
        if not find_spec(OTHERS[engine]):
            report.note(f"{engine} was left out: {OTHERS[engine]} is not installed")
    report.note("ratios are those of ringmill to the pool, the median of the rounds; equal checksums")
    if max(load, _load() - workers) > workers / 2:
        report.note(
            f"the machine was loaded: {load:.1f} before, {_load():.1f} after; CPU seconds are steadier"
        )
    report.finish()


if __name__ == "__main__":
    main()
