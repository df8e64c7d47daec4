"""Run the tests as `make test` does: with a time limit for the whole, and nothing left behind.

    python scripts/run_tests.py [--limit-s 480] [pytest arguments]

Every process that a test starts inherits a mark in its environment.  When pytest has ended, a process that
still carries it (a node, a task, a pool or resource tracker) fails the run by name and is killed.  Processes
of other runs and of a cluster that you started yourself are not looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
MARK = "TESTS_OF_RINGMILL"  # not RINGMILL_*: the command line warns of settings it does not know
GRACE_S = 10.0
TIMED_OUT = 124
DEFAULTS = ["-n", "2", "--dist", "worksteal", "-rs", "--durations=10", "--durations-min=1", "tests"]


def run(arguments: list[str], limit_s: float) -> int:
    """Exit code of pytest; 124 when the limit ended it; 1 when it passed but left processes behind."""
    mark = f"{os.getpid()}-{time.time_ns()}"
    pytest = subprocess.Popen(
        [sys.executable, "-m", "pytest", *(arguments or DEFAULTS)], cwd=ROOT, env={**os.environ, MARK: mark}
    )
    try:
        code = pytest.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        print(f"tests: not done after {limit_s:.0f} s, ending them", file=sys.stderr)
        end(marked(mark))
        return TIMED_OUT
    except KeyboardInterrupt:
        end(marked(mark))
        return 130
    left = left_behind(mark, GRACE_S)
    for process in left:
        print(f"tests: left behind: {describe(process)}", file=sys.stderr)
    end(left)
    return code or bool(left)


def left_behind(mark: str, grace_s: float) -> list[psutil.Process]:
    """Marked processes that are still there after `grace_s` seconds to end by themselves."""
    deadline = time.monotonic() + grace_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def marked(mark: str) -> list[psutil.Process]:
    """Living processes that were started under `mark`; zombies are their parents' business."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def describe(process: psutil.Process) -> str:
    try:
        return f"pid {process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"pid {process.pid}: gone by now"


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests with a limit, and leave nothing behind.")
    parser.add_argument("--limit-s", type=float, default=480.0, help="seconds for the whole run")
    options, arguments = parser.parse_known_args()
    return run(arguments, options.limit_s)


if __name__ == "__main__":
    raise SystemExit(main())
