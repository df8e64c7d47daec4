"""Word count of generated text on a cluster, beside a pool of processes that runs the same functions.

    python scripts/bench/jobs.py [--quick] [--nodes 5] [--mib 64] [--json PATH]

The contestants take turns in every round; their outputs are compared line by line at the end.  The pool is
what one would write without Ringmill: a chunk of lines a task, map and combine in the worker, reduce in the
parent.  It survives nothing, and its parent holds all keys in memory.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from inputs.zipf import zipf_files
from local_cluster import ROOT, BenchCluster
from report import Report, arguments, percentile

sys.path.insert(0, str(ROOT))  # examples/ is no installed package
from examples.wordcount import total, words

CHUNK_BYTES = 2 * 2**20
FOLDER = ROOT / "build" / "bench"


def counted(chunk: tuple[str, int, int]) -> list[tuple[str, int]]:
    """Map and combine of one chunk: the lines that begin in [start, end) of a file."""
    path, start, end = chunk
    groups: dict[str, list[int]] = {}
    for offset, line in _lines(path, start, end):
        for word, count in words(offset, line):
            groups.setdefault(word, []).append(count)
    return [pair for word, counts in groups.items() for pair in total(word, counts)]


def _lines(path: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    with open(path, "rb") as file:
        file.seek(max(start - 1, 0))
        if start and file.read(1) != b"\n":
            file.readline()
        while (offset := file.tell()) < end and (line := file.readline()):
            yield offset, line.rstrip(b"\n").decode()


def pool_seconds(files: list[Path], output: Path, workers: int) -> float:
    """Wall time of the pool, from its start to the written and synced result."""
    started = time.perf_counter()
    chunks = [
        (str(path), start, start + CHUNK_BYTES)
        for path in files
        for start in range(0, path.stat().st_size, CHUNK_BYTES)
    ]
    groups: dict[str, list[int]] = {}
    with multiprocessing.Pool(workers) as pool:
        for pairs in pool.imap_unordered(counted, chunks):
            for word, count in pairs:
                groups.setdefault(word, []).append(count)
    results = itertools.chain.from_iterable(total(word, groups[word]) for word in sorted(groups))
    with output.open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{count}\n" for word, count in results)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def cluster_seconds(cluster: BenchCluster, files: list[Path], output: Path) -> float:
    """Wall time of `ringmill job run`, from typed to done."""
    started = time.perf_counter()
    pattern = str(files[0].parent / "*.txt")
    ended = cluster.json(
        *("job", "run", "examples/wordcount.py:wordcount", "--input", pattern),
        *("--output", str(output), "--overwrite"),
    )
    if ended["state"] != "SUCCEEDED":
        raise SystemExit(f"the job ended {ended['state']}: {ended}")
    return time.perf_counter() - started


def same_lines(one: Path, parts: Path) -> bool:
    left = sorted(one.read_text(encoding="utf-8").splitlines())
    return left == sorted(
        line for part in parts.glob("part-*") for line in part.read_text(encoding="utf-8").splitlines()
    )


def main() -> None:
    parser = arguments("jobs", "Word count on a cluster and on a pool of processes.")
    parser.add_argument("--nodes", type=int, default=5, help="nodes of the cluster, one task at a time each")
    parser.add_argument("--mib", type=int, default=64, help="size of the text")
    options = parser.parse_args()
    mib, rounds = (options.mib // 8, 1) if options.quick else (options.mib, 3)
    workers = len(os.sched_getaffinity(0))
    files = zipf_files(FOLDER / f"zipf-{mib}mib", total_bytes=mib * 2**20, files=8)
    settings: dict[str, str | int | float | bool | None] = {
        "text": f"{mib} MiB Zipf in {len(files)} files", "nodes": options.nodes, "pool_workers": workers,
        "reducers": 4, "rounds": rounds,
    }  # fmt: skip
    report = Report("jobs", settings, options.json)
    pool_output, output = FOLDER / "pool.tsv", FOLDER / "wordcount"
    pool, ours = [], []
    with BenchCluster(nodes=options.nodes) as cluster:
        for _ in range(rounds):
            pool.append(pool_seconds(files, pool_output, workers))
            ours.append(cluster_seconds(cluster, files, output))
    if not same_lines(pool_output, output):
        raise SystemExit("the cluster and the pool counted differently")
    for name, taken in (("multiprocessing.Pool", pool), ("ringmill", ours)):
        median = percentile(taken, 0.5)
        report.row(name, median_s=median, best_s=min(taken), worst_s=max(taken), mib_per_s=mib / median)
    ratio = percentile(ours, 0.5) / percentile(pool, 0.5)
    report.note(f"ringmill takes {ratio:.2f} x the pool's time; both wrote the same counts")
    report.finish()
    shutil.rmtree(output)


if __name__ == "__main__":
    main()
