"""Compile the test files that pytest has not compiled yet, each by one process.

pytest rewrites the asserts of a test file when it first imports it, and keeps what it compiled beside the
file.  The workers of a run import all files, in the same order and at the same time: in a fresh clone each of
them would do the work of all, which is 20 seconds of CPU a worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

__all__ = ["compile_tests", "not_compiled"]


def not_compiled(folder: Path) -> list[Path]:
    """Test files below `folder` with nothing that pytest compiled from them, sorted."""
    return [file for file in sorted(folder.rglob("test_*.py")) if not any(_compiled_from(file))]


def compile_tests(
    files: list[Path], environment: Mapping[str, str], processes: int = os.cpu_count() or 1
) -> None:
    """Let as many `processes` import a share of the files each.  What they print, and how they end, is the
    business of the run that follows: it meets the same errors."""
    with ExitStack() as ended:
        for share in filter(None, (files[first::processes] for first in range(processes))):
            collecting = subprocess.Popen(
                [sys.executable, "-m", "pytest", "--collect-only", "-q", *map(str, share)],
                env=dict(environment),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ended.callback(collecting.wait)


def _compiled_from(file: Path) -> list[Path]:
    return list((file.parent / "__pycache__").glob(f"{file.stem}.*-pytest-*.pyc"))
