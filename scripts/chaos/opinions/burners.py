"""Processes that do nothing but use processor time, and end by themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ringmill.client.bench.processor_time import used_s

__all__ = ["burning"]

_PROGRAM: Final = """
import os, sys, time
until, parent = time.monotonic() + float(sys.argv[1]), os.getppid()
while time.monotonic() < until and os.getppid() == parent:
    sum(range(100_000))
"""


@contextmanager
def burning(count: int, at_most_s: float) -> Iterator[Callable[[], float]]:
    """Keep `count` processors busy.  The burners end with this process, and after `at_most_s` in any case.

    Yields what tells the processor time that they have used so far, in seconds: that they were busy is a
    figure, and no hope.
    """
    burners = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM, str(at_most_s)], stdin=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield lambda: sum(used_s(burner.pid) for burner in burners)
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.wait()
