"""A job whose map does nothing, so that what a task costs is what the engine takes.

A cluster imports this file, so it has nothing of the benchmarks in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill import FileInput, Sum, job


def nothing(path: str, content: bytes) -> Iterator[tuple[str, int]]:
    yield from ()


noop = job(map=nothing, reduce=Sum(), reducers=1, input=FileInput("file"))
