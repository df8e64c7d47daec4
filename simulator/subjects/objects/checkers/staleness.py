"""C11: how stale weak reads were (r + w <= n): measured and reported, never a violation."""

from __future__ import annotations

from ringmill.simulator.history import History, covers

__all__ = ["staleness_s"]


def staleness_s(history: History) -> list[float]:
    """For each weak read that missed an acknowledged write: seconds since the oldest such acknowledgement."""
    ages: list[float] = []
    for operations in history.by_key().values():
        acknowledged = [w for w in operations if w.is_write and w.is_ok and w.returned is not None]
        for read in operations:
            if read.is_write or not read.is_ok or not read.is_weak:
                continue
            missed = [
                read.invoked - write.returned
                for write in acknowledged
                if write.returned is not None
                and write.returned < read.invoked
                and not covers(read.seen, write.dot)
            ]
            if missed:
                ages.append(max(missed))
    return sorted(ages)
