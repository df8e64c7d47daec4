"""C21: no deleted key comes back after its delete was forgotten, and no delete is forgotten too early.

Judged by what nodes forgot, as seen from outside, against what readers were shown later and what owners hold
in the end.  A version is back when the context of a forgotten object covers it, and it was not one of the
deletes or expired values that were forgotten themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Purged, covers

__all__ = ["check_purged"]


def check_purged(history: History) -> Iterator[Violation]:
    by_key: dict[bytes, list[Purged]] = {}
    for one in history.purged:
        by_key.setdefault(one.key, []).append(one)
    for key, purged in sorted(by_key.items()):
        yield from _too_early(key, purged)
        yield from _too_young(key, purged, is_any_step="host_clock_step" in history.faults)
        yield from _back(history, key, purged)


def _too_early(key: bytes, purged: list[Purged]) -> Iterator[Violation]:
    for one in purged:
        if one.alive_at:
            story = f"{one.node} forgot {list(one.dots)} while {one.alive_at[0]} showed what they replaced"
            yield Violation("C21", key, story)
            return


def _too_young(key: bytes, purged: list[Purged], *, is_any_step: bool) -> Iterator[Violation]:
    """By the clocks that were never wrong; where all are, as long as nobody may go by them yet."""
    for one in purged:
        if one.is_alive and (one.is_held_back or not is_any_step):
            yield Violation("C21", key, f"{one.node} forgot {list(one.dots)} before it had expired")
            return


def _back(history: History, key: bytes, purged: list[Purged]) -> Iterator[Violation]:
    own = {dot for one in purged for dot in one.dots}
    for final in (*history.handed_over, *history.finals):
        dots = () if final.key != key else final.dots
        if back := next((dot for dot in dots if dot not in own and _is_gone(dot, purged)), None):
            yield Violation("C21", key, f"{final.node} holds {back} in the end, which was deleted")
            return
    for read in history.operations:
        if read.key != key or read.is_write or not read.is_ok:
            continue
        before = [one for one in purged if one.at < read.invoked]
        if back := next((each.dot for each in read.siblings if _is_gone(each.dot, before)), None):
            story = f"a read shows {back} after the delete of it was forgotten"
            yield Violation("C21", key, story, (read.index,))
            return


def _is_gone(dot: str, purged: list[Purged]) -> bool:
    return any(covers(one.seen, dot) for one in purged)
