"""Runs one job of another engine in a process of its own, and tells what it cost.

    python scripts/bench/others/ENGINE_jobs.py JOB OUTPUT FILE ...

The last line on stdout is the processor seconds of the process and of all that it started, as a number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

__all__ = ["Work", "run_job"]

Work = Callable[[list[str], str], None]
"""Takes the paths of the input and that of the output."""


def run_job(table: Mapping[str, Work]) -> None:
    name, output, *files = sys.argv[1:]
    table[name](files, output)
    _sync(output)
    print(_family_cpu_s(), flush=True)


def _sync(path: str) -> None:
    """As what the pool writes: a job is done when its output outlives a power cut."""
    with Path(path).open("rb+") as file:
        os.fsync(file.fileno())


def _family_cpu_s() -> float:
    """Processor seconds of this process and of its children, those that have ended among them.

    Not by `used_s` of the client: the import of ringmill would count as the engine's.
    """
    total, root = 0.0, psutil.Process()
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
