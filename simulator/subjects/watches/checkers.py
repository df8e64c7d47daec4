"""C19: a watcher is told what each of its keys holds in the end, and no key ever goes back for it.

The values of each change are compared with its context, with other changes, with reads and with what owners
hold in the end (simulator/checkers/shown_values.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ringmill.simulator.checkers.shown_values import Shown, dots_of_puts, hidden_by_knowledge, hidden_puts
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation, Purged, Vector, covers

__all__ = ["ShownChange", "are_caught_up", "check_ends", "check_watches"]


_TAKING: Final = frozenset(("disk_lies", "disk_lost", "disk_replaced"))


class ShownChange(NamedTuple):
    """A change that a watcher was shown: the cursor, and the values by their dots."""

    watcher: str
    key: bytes
    seen: Vector
    values: Mapping[str, bytes]


def check_watches(
    shown: Sequence[ShownChange], history: History, watchers: Iterable[str], late: Collection[str] = ()
) -> Iterator[Violation]:
    """`late` are watchers that may have begun after a key was deleted: what has no value then is not told."""
    watchers = [*watchers]
    for watcher in watchers:
        for key in _keys(history):
            mine = [each for each in shown if each.watcher == watcher and each.key == key]
            yield from _never_back(mine, [one for one in history.purged if one.key == key])
    yield from _not_told(shown, history, watchers, late)
    yield from _hidden(shown, history)


def are_caught_up(
    shown: Sequence[ShownChange], history: History, watchers: Iterable[str], late: Collection[str] = ()
) -> bool:
    """Whether all have been told of all that owners hold; how they were is for `check_watches`."""
    return not [*_not_told(shown, history, watchers, late)]


def _not_told(
    shown: Sequence[ShownChange], history: History, watchers: Iterable[str], late: Collection[str]
) -> Iterator[Violation]:
    for watcher in watchers:
        for key in _keys(history):
            mine = [each for each in shown if each.watcher == watcher and each.key == key]
            if mine or watcher not in late or _has_value(history, key):
                yield from _last(mine, history, watcher, key)


def _keys(history: History) -> list[bytes]:
    return sorted({final.key for final in history.finals if final.key.startswith(b"w-")})


def check_ends(ends: Mapping[str, BaseException | None]) -> Iterator[Violation]:
    """How each watcher ended.  Only being cancelled is right: its patience is a day, the keyspace stays."""
    for watcher, end in ends.items():
        if not isinstance(end, asyncio.CancelledError):
            causes = end.exceptions if isinstance(end, BaseExceptionGroup) else [end]
            yield Violation("C19", b"", f"{watcher} stopped to watch: {', '.join(map(repr, causes))}")


def _hidden(changes: Sequence[ShownChange], history: History) -> Iterator[Violation]:
    """No change leaves out a value that it knows of, nor has one another value than its write."""
    operations, finals = history.by_key(), history.finals_by_key()
    for key in sorted({change.key for change in changes}):
        told = [Shown(each.watcher, each.seen, each.values) for each in changes if each.key == key]
        of_key = operations.get(key, [])
        writes = [each for each in of_key if each.is_write]
        reads = [Shown.of_read(each) for each in of_key if not each.is_write and each.is_ok]
        held = Shown.of_owners(finals.get(key, []))
        for one, put in hidden_puts(
            history, told, writes, dots_of_puts(history, key, writes, [*told, *reads, *held])
        ):
            story = f"{one.who} is not told {put.value!r}, which it knows of and no write could have replaced"
            yield Violation("C19", key, story, (put.index,))
        for less, more, dot in [
            *hidden_by_knowledge(told, [*told, *reads, *held]),
            *hidden_by_knowledge([*reads, *held], told),
        ]:
            yield Violation("C19", key, f"{less.who} hides {dot}, which {more.who} shows, knowing no less")
        yield from _other_values(key, told, [*reads, *held], writes)


def _other_values(
    key: bytes, told: Sequence[Shown], others: Sequence[Shown], writes: Sequence[Operation]
) -> Iterator[Violation]:
    values = {dot: value for each in others for dot, value in each.values.items()}
    values |= {write.dot: write.value for write in writes if write.kind == "put" and write.dot}
    for change in told:
        for dot, value in change.values.items():
            if values.setdefault(dot, value) != value:
                yield Violation(
                    "C19", key, f"{change.who} is told {value!r} as {dot}, which is {values[dot]!r}"
                )


def _never_back(mine: Sequence[ShownChange], purged: Sequence[Purged]) -> Iterator[Violation]:
    """A value that was shown, or replaced before that, is not shown again once it is gone.

    What comes after a delete was forgotten knows nothing of what that delete had replaced.
    """
    for before, later in pairwise(mine):
        gone = [dot for dot in later.values if covers(before.seen, dot) and dot not in before.values]
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
