"""A job whose map waits for each of its lines, so that many nodes work beside each other on a few cores.

A cluster imports this file, so it has nothing of the benchmarks in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ringmill import Sum, job

WAIT_S = 0.01


def wait(offset: int, line: str) -> Iterator[tuple[str, int]]:
    time.sleep(WAIT_S)
    yield line[:1], 1


waiting = job(map=wait, reduce=Sum(), reducers=1)
