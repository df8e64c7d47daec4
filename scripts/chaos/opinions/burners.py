"""Processes that do nothing but use processor time, and end by themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["burning"]

_PROGRAM: Final = """
import os, sys, time
until, parent = time.monotonic() + float(sys.argv[1]), os.getppid()
while time.monotonic() < until and os.getppid() == parent:
    sum(range(100_000))
"""


@contextmanager
def burning(count: int, at_most_s: float) -> Iterator[None]:
    """Keep `count` processors busy.  The burners end with this process, and after `at_most_s` in any case."""
    burners = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM, str(at_most_s)], stdin=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.wait()
