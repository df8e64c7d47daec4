"""C19: a watcher is told what each of its keys holds in the end, and no key ever goes back for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Purged, Vector, covers

__all__ = ["ShownChange", "check_ends", "check_watches"]


_TAKING: Final = frozenset(("disk_lies", "disk_lost", "disk_replaced"))


class ShownChange(NamedTuple):
    """A change that a watcher was shown: the cursor, and the dots of the values."""

    watcher: str
    key: bytes
    seen: Vector
    dots: tuple[str, ...]


def check_watches(
    shown: Sequence[ShownChange], history: History, watchers: Iterable[str], late: Collection[str] = ()
) -> Iterator[Violation]:
    """`late` are watchers that may have begun after a key was deleted: what has no value then is not told."""
    for watcher in watchers:
        for key in sorted({final.key for final in history.finals if final.key.startswith(b"w-")}):
            mine = [each for each in shown if each.watcher == watcher and each.key == key]
            yield from _never_back(mine, [one for one in history.purged if one.key == key])
            if mine or watcher not in late or _has_value(history, key):
                yield from _last(mine, history, watcher, key)


def check_ends(ends: Mapping[str, BaseException | None]) -> Iterator[Violation]:
    """How each watcher ended.  Only being cancelled is right: its patience is a day, the keyspace stays."""
    for watcher, end in ends.items():
        if not isinstance(end, asyncio.CancelledError):
            causes = end.exceptions if isinstance(end, BaseExceptionGroup) else [end]
            yield Violation("C19", b"", f"{watcher} stopped to watch: {', '.join(map(repr, causes))}")


def _never_back(mine: Sequence[ShownChange], purged: Sequence[Purged]) -> Iterator[Violation]:
    """A value that was shown, or replaced before that, is not shown again once it is gone.

    What comes after a delete was forgotten knows nothing of what that delete had replaced.
    """
    for before, later in pairwise(mine):
        gone = [dot for dot in later.dots if covers(before.seen, dot) and dot not in before.dots]
        if gone:
            story = f"{later.watcher} is shown {gone[0]} again, which was replaced before"
            yield Violation("C19", later.key, story)
        missing = [
            who
            for who, count in before.seen.items()
            if later.seen.get(who, 0) < count and not _is_forgotten(who, count, purged)
        ]
        if missing:
            story = f"{later.watcher} knew {missing[0]}:{before.seen[missing[0]]}, and is told less"
            yield Violation("C19", later.key, story)


def _has_value(history: History, key: bytes) -> bool:
    """Whether an owner certainly holds a value of the key: one that an acknowledged put has left."""
    puts = {one.dot for one in history.operations if one.key == key and one.kind == "put" and one.is_ok}
    return any(dot in puts for final in history.finals if final.key == key for dot in final.dots)


def _last(mine: Sequence[ShownChange], history: History, watcher: str, key: bytes) -> Iterator[Violation]:
    """In the end it has been told all that the owners hold.

    A delete that is forgotten is not told to whoever had not heard of it by then.  A disk that lied or is
    gone, or a node that never comes back, may have taken a write with it that was shown at level one.  Who
    was told of that waits for it, as nobody shows it less (rule N2).
    """
    seen: dict[str, int] = {}
    for each in mine:  # the last has all of it, unless a delete was forgotten meanwhile
        for who, count in each.seen.items():
            seen[who] = max(seen.get(who, 0), count)
    finals = [final for final in history.finals if final.key == key]
    purged = [one for one in history.purged if one.key == key]
    if (history.lost or history.faults & _TAKING) and any(
        all(final.seen.get(who, 0) < count for final in finals) for who, count in seen.items()
    ):
        return
    for final in finals:
        missing = [
            who
            for who, count in final.seen.items()
            if seen.get(who, 0) < count and not _is_forgotten(who, count, purged)
        ]
        if missing:
            last = f"{missing[0]}:{final.seen[missing[0]]}"
            told = f"it was told {len(mine)} changes of this key, and knows {seen}"
            story = f"{watcher} was never told of {last}, which {final.node} holds; {told}"
            yield Violation("C19", key, story)
            return


def _is_forgotten(who: str, count: int, purged: Sequence[Purged]) -> bool:
    return any(one.seen.get(who, 0) >= count for one in purged)
