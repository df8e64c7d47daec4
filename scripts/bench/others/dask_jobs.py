"""The pool's work on Dask: the same functions on the same chunks, spread over a process for each core."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from distributed import Client, LocalCluster

from others.measured import Work, run_job
from styles.job_pools import POOLS, chunks_of, work_of, write
from styles.shaped_pools import customers_of, joined_to, words_of, write_index


def client() -> Any:
    cores = len(os.sched_getaffinity(0))
    workers = LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None)  # type: ignore[no-untyped-call]
    return Client(workers)  # type: ignore[no-untyped-call]


def run(name: str, files: list[str], output: str) -> None:
    work, put_together = work_of(name)
    with client() as dask:
        put_together(in_order(dask.map(work, chunks_of(files))), Path(output))


def run_index(files: list[str], output: str) -> None:
    with client() as dask:
        write_index(in_order(dask.map(words_of, sorted(files))), Path(output))


def run_join(files: list[str], output: str) -> None:
    *orders, customers = files
    with client() as dask:
        (known,) = dask.scatter([customers_of(customers)], broadcast=True)  # a dict alone is one future a key
        write(in_order(dask.map(joined_to, orders, known=known)), Path(output))


def in_order(futures: list[Any]) -> Iterator[Any]:
    return (future.result() for future in futures)


TABLE: dict[str, Work] = {
    **{name: partial(run, name) for name in POOLS},
    "index_record": run_index,
    "join_broadcast": run_join,
    "join_hash": run_join,
    "join_merge": run_join,
}

if __name__ == "__main__":
    run_job(TABLE)
