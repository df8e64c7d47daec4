"""Merging sorted runs, newest first, by chunks instead of by records.  Pure.

Each run supplies one sorted chunk at a time.  Up to the lowest of the chunks' last keys everything is known,
so that part is merged at once: newer runs overwrite older ones in a dict, which is then sorted.  This costs a
fraction of a heap.  A reverse merge works from the other end; chunks stay in ascending order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

__all__ = ["RunMerge", "kept_versions"]

V = TypeVar("V")


class RunMerge(Generic[V]):
    """Feed every run in `hungry()`, then `take()`, until `hungry` and `take` are both empty.

    A run may hold each key once.
    """

    def __init__(self, runs: int, *, reverse: bool = False) -> None:
        self._chunks: list[tuple[list[bytes], list[V]] | None] = [None] * runs
        self._open = list(range(runs))  # runs that may have more, newest first
        self._reverse = reverse

    def hungry(self) -> list[int]:
        """Runs that have to be fed, or ended, before the next `take`."""
        return [run for run in self._open if self._chunks[run] is None]

    def feed(self, run: int, keys: list[bytes], values: list[V]) -> None:
        """The next chunk of a run, not empty, in ascending order."""
        self._chunks[run] = keys, values

    def end(self, run: int) -> None:
        self._open.remove(run)

    def take(self) -> tuple[list[bytes], list[V]]:
        """The next merged chunk in ascending order; empty when all runs have ended."""
        if not self._open:
            return [], []
        if len(self._open) == 1:
            chunk, self._chunks[self._open[0]] = self._chunks[self._open[0]], None
            assert chunk is not None
            return chunk
        parts = self._cut_low() if not self._reverse else self._cut_high()
        if len(parts) == 1:
            return parts[0]
        merged: dict[bytes, V] = {}
        for keys, values in reversed(parts):
            merged.update(zip(keys, values, strict=True))
        in_order = sorted(merged)
        return in_order, [merged[key] for key in in_order]

    def _cut_low(self) -> list[tuple[list[bytes], list[V]]]:
        chunks = self._chunks
        bound = min(chunk[0][-1] for run in self._open if (chunk := chunks[run]))
        parts = []
        for run in self._open:
            chunk = chunks[run]
            assert chunk is not None
            keys, values = chunk
            if keys[-1] <= bound:
                parts.append(chunk)
                chunks[run] = None
            elif cut := bisect_right(keys, bound):
                parts.append((keys[:cut], values[:cut]))
                chunks[run] = keys[cut:], values[cut:]
        return parts

    def _cut_high(self) -> list[tuple[list[bytes], list[V]]]:
        chunks = self._chunks
        bound = max(chunk[0][0] for run in self._open if (chunk := chunks[run]))
        parts = []
        for run in self._open:
            chunk = chunks[run]
            assert chunk is not None
            keys, values = chunk
            if keys[0] >= bound:
                parts.append(chunk)
                chunks[run] = None
            elif (cut := bisect_left(keys, bound)) < len(keys):
                parts.append((keys[cut:], values[cut:]))
                chunks[run] = keys[:cut], values[:cut]
        return parts


def kept_versions(
    versions: Iterable[tuple[int, V]],
    snapshots: Sequence[int],
    dropped_up_to: Sequence[int],
) -> list[tuple[int, V]]:
    """The versions (sequence, ...) of one key, newest first, that a reader or snapshot can still see.

    `snapshots` ascending; `dropped_up_to` are the sequences of the dropped prefixes that cover the key.
    """
    kept = []
    hidden_from: int | None = None  # the sequence from which on the version at hand is hidden
    for version in versions:
        sequence = version[0]
        covers = [drop for drop in dropped_up_to if drop >= sequence]
        if covers and (hidden_from is None or min(covers) < hidden_from):
            hidden_from = min(covers)
        if hidden_from is None:
            kept.append(version)
        else:
            at = bisect_left(snapshots, sequence)
            if at < len(snapshots) and snapshots[at] < hidden_from:
                kept.append(version)
        hidden_from = sequence
    return kept
