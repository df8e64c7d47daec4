"""Run the tests as `make test` does: with a time limit for the whole, and nothing left behind.

    python scripts/run_tests.py [--limit-s 800] [pytest arguments]

Names of tests that fail are written as they fail.  A run that takes too long is interrupted first (SIGINT),
so that pytest prints its summary, and killed when that does not end it.  RUN_TESTS_LIMIT_S in the environment
is another default of the limit.  SIGTERM and SIGHUP end the run as Ctrl-C does, with all that it started.

Every process that a test starts inherits a mark in its environment.  When pytest has ended, a process that
still carries it (a node, a pool or resource tracker) fails the run by name and is killed, and so is a worker
or task process, whose environment is clean, that outlived the node it was started by.  Processes of other
runs and of a cluster that you started yourself are not looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from compiled_tests import compile_tests, not_compiled

ROOT = Path(__file__).resolve().parent.parent
MARK = "TESTS_OF_RINGMILL"  # not RINGMILL_*: the command line warns of settings it does not know
QUIET = {"GRPC_VERBOSITY": "NONE"}  # gRPC's core would write among pytest's lines
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # else each of some hundred nodes compiles its 400 modules anew
GRACE_S = 10.0  # for what tests left behind to end by itself
END_S = 10.0  # for a killed process to be gone
SUMMARY_S = 30.0  # for pytest to end its workers and print its summary
TIMED_OUT = 124
INTERRUPTED = 130
LIMIT_S = 800.0  # as .ci/run has it for lint and set-up that take no more than a minute
HELPERS = {"ringmill.node.task_main", "ringmill.cluster.adapters.processes.worker_main"}
TELL_FAILURES = ["-p", "pytest_early_failures"]
# Many tests wait for processes: on two cores a third worker has something to do meanwhile.
DEFAULTS = ["-n", "3", "--dist", "worksteal", "-rs", "--durations=10", "--durations-min=1", "tests"]


def run(arguments: list[str], limit_s: float) -> int:
    """Exit code of pytest; 124 when the limit ended it; 1 when it passed but left processes behind."""
    began = time.time()
    mark = f"{os.getpid()}-{time.time_ns()}"
    # A shell's background jobs inherit that SIGINT is ignored; the others would end us and leave all nodes.
    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(told, signal.default_int_handler)
    environment = {**os.environ, **QUIET, **COMPILED, MARK: mark, "PYTHONPATH": _with_plugins()}
    try:
        if not arguments:
            compile_tests(not_compiled(ROOT / "tests"), environment)
        pytest = subprocess.Popen(
            [sys.executable, "-m", "pytest", *TELL_FAILURES, *(arguments or DEFAULTS)],
            cwd=ROOT,
            env=environment,
        )
        code = code_within(pytest, limit_s - (time.time() - began))
    except KeyboardInterrupt:
        end(still_there(mark, began))
        return INTERRUPTED
    if code is None:
        print(f"tests: not done after {limit_s:.0f} s, ending them", file=sys.stderr, flush=True)
        pytest.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            pytest.wait(timeout=SUMMARY_S)
        end(still_there(mark, began))
        return TIMED_OUT
    left = left_behind(mark, began, GRACE_S)
    for process in left:
        print(f"tests: left behind: {describe(process)}", file=sys.stderr)
    end(left)
    return code or bool(left)


def code_within(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit code; None when the process still runs after that time."""
    try:
        return process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None


def _with_plugins() -> str:
    """Where pytest finds our plugin: beside this file."""
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(path for path in paths if path)


def left_behind(mark: str, began: float, grace_s: float) -> list[psutil.Process]:
    """Processes of the run that are still there after `grace_s` seconds to end by themselves."""
    deadline = time.monotonic() + grace_s
    while (left := still_there(mark, began)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def still_there(mark: str, began: float) -> list[psutil.Process]:
    return list({*marked(mark), *orphans(began)})


def orphans(began: float) -> list[psutil.Process]:
    """Worker and task processes of this checkout, started since `began`, that no node owns any more."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.create_time() >= began and is_helper(process) and not is_ours(process.parent()):
                found.append(process)
    return found


def is_ours(process: psutil.Process | None) -> bool:
    return process is not None and process.cmdline()[:1] == [sys.executable]


def is_helper(process: psutil.Process) -> bool:
    return is_ours(process) and bool(HELPERS & set(process.cmdline()))


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
    psutil.wait_procs(processes, timeout=END_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests with a limit, and leave nothing behind.")
    limit_s = float(os.environ.get("RUN_TESTS_LIMIT_S", LIMIT_S))
    parser.add_argument("--limit-s", type=float, default=limit_s, help="seconds for the whole run")
    options, arguments = parser.parse_known_args()
    return run(arguments, options.limit_s)


if __name__ == "__main__":
    raise SystemExit(main())
