"""The pool's work on Ray: the same functions on the same chunks, as tasks of a local Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ray

from others.measured import Work, run_job
from styles.job_pools import POOLS, chunks_of, work_of, write
from styles.shaped_pools import customers_of, joined_to, words_of, write_index


def start() -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    ray.init(
        num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False,
        logging_level="error", runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )  # fmt: skip


def in_order(work: Callable[..., Any], items: Iterable[Any], **also: Any) -> Iterator[Any]:
    task = ray.remote(work)
    return (ray.get(each) for each in [task.remote(item, **also) for item in items])


def run(name: str, files: list[str], output: str) -> None:
    start()
    work, put_together = work_of(name)
    put_together(in_order(work, chunks_of(files)), Path(output))


def run_index(files: list[str], output: str) -> None:
    start()
    write_index(in_order(words_of, sorted(files)), Path(output))


def run_join(files: list[str], output: str) -> None:
    start()
    *orders, customers = files
    write(in_order(joined_to, orders, known=ray.put(customers_of(customers))), Path(output))


TABLE: dict[str, Work] = {
    **{name: partial(run, name) for name in POOLS},
    "index_record": run_index,
    "join_broadcast": run_join,
    "join_hash": run_join,
    "join_merge": run_join,
}

if __name__ == "__main__":
    run_job(TABLE)
