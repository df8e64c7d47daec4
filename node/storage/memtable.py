"""The newest changes, in memory: a dict, sorted only when something asks for order.

A dict costs a tenth of a map that is always sorted; keys are sorted in runs when a scan needs them.  Old
versions are kept only while a snapshot can see them.  It belongs to one event loop and has no file.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from itertools import islice
from typing import TypeAlias

__all__ = ["VersionedValue", "Memtable"]

VersionedValue: TypeAlias = tuple[int, bytes | None]
"""The sequence of a version and its value; None is a deletion."""


class Memtable:
    """Versions of keys from `first_sequence` on."""

    __slots__ = ("_fresh", "_indexed", "_runs", "drops", "first_sequence", "older", "size_bytes", "values")

    def __init__(self, first_sequence: int) -> None:
        self.first_sequence = first_sequence
        self.values: dict[bytes, VersionedValue] = {}
        self.older: dict[bytes, list[VersionedValue]] = {}
        self.drops: list[tuple[bytes, int]] = []
        self.size_bytes = 0
        self._runs: list[list[bytes]] = []
        self._indexed = 0  # keys in runs: the first of the dict, which keeps the order of insertion
        self._fresh: list[bytes] = []  # those that follow them, newest first

    def fills(self, size_bytes: float, records: float) -> bool:
        """Whether it has reached either of these sizes."""
        return self.size_bytes >= size_bytes or len(self.values) >= records

    def put(self, sequence: int, key: bytes, value: bytes | None, newest_snapshot: int) -> None:
        """Store a version; the one it replaces is kept if a snapshot up to `newest_snapshot` sees it."""
        old = self.values.get(key)
        if old is not None and old[0] <= newest_snapshot and old[0] < sequence:
            self.older.setdefault(key, []).append(old)
        self.values[key] = (sequence, value)

    def find(self, key: bytes, sequence: int) -> VersionedValue | None:
        """The newest version of `key` at or below `sequence`."""
        entry = self.values.get(key)
        if entry is None or entry[0] <= sequence:
            return entry
        for old in reversed(self.older.get(key, ())):
            if old[0] <= sequence:
                return old
        return None

    async def sort(self, run_keys: int) -> None:
        """Make `slices` cover all present keys; after each `run_keys` of them other tasks have their turn.

        A caller that comes during a pause, or after a cancelled sort, continues where it stopped (rule E13).
        """
        values = self.values
        goal = len(values)
        while self._indexed < goal:
            fresh = self._fresh
            if not fresh:
                fresh += islice(reversed(values), len(values) - self._indexed)
            run = sorted(fresh[-run_keys:])
            del fresh[-run_keys:]
            self._add_run(run)
            self._indexed += len(run)  # only now: whoever finds the goal reached takes the runs as they are
            if self._indexed < goal:
                await asyncio.sleep(0)

    def slices(self, start: bytes, end: bytes | None) -> list[list[bytes]]:
        """The sorted keys in [start, end) of each run; keys put since the last `sort` may be missing."""
        found = []
        for run in self._runs:
            last = len(run) if end is None else bisect_left(run, end)
            piece = run[bisect_left(run, start) : last]
            if piece:
                found.append(piece)
        return found

    def _add_run(self, run: list[bytes]) -> None:
        runs = self._runs
        runs.append(run)
        while len(runs) > 1 and 2 * len(runs[-1]) > len(runs[-2]):
            last = runs.pop()
            runs[-1] = sorted(runs[-1] + last)  # two sorted runs: timsort merges them
