"""Ends all tasks when they are too many, or after a time: beside a run of hostile jobs.

    python scripts/chaos/hostile/watchdog.py MARK MOST SECONDS

Tasks are found by MARK, a text in the environment that they were started with or forked from.  It ends with
its parent, after SECONDS, or when it has acted, with exit code 3.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

__all__ = ["marked_processes"]

LOOK_S = 0.2


def marked_processes(mark: str) -> list[int]:
    """Processes whose environment has the text, but for this one and its parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (path / "environ").read_bytes()
            if b"RINGMILL_TASKS_OF=" in environment and mark.encode() in environment:
                found.append(int(path.name))
    return [pid for pid in found if pid not in (os.getpid(), os.getppid())]


def main() -> int:
    mark, most, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    parent, until = os.getppid(), time.monotonic() + seconds
    while os.getppid() == parent and time.monotonic() < until:
        if len(marked_processes(mark)) > most:
            break
        time.sleep(LOOK_S)
    else:
        return 0
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for _ in range(20):
            for pid in marked_processes(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
    return 3


if __name__ == "__main__":
    sys.exit(main())
