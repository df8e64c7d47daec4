"""Whether what was shown of a key at once has all values that its own context speaks of.

A context covers a write that is still there, or that was replaced: nothing else is known of it.  So a value
whose write is covered and that is not shown was replaced, by a write that could do so and had begun by then.
And who knows at least as much shows no value that was missing before: what is replaced does not come back.
Both hold at every level, for reads, scans and watches alike.  Values with a ttl are left to C15.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from ringmill.simulator.history import Final, History, Operation, Vector, covers

__all__ = ["Shown", "could_replace", "dots_of_puts", "hidden_by_knowledge", "hidden_puts"]


class Shown(NamedTuple):
    """A context and the values that came with it.  `until`: what began later cannot be in it."""

    who: str
    seen: Vector
    values: Mapping[str, bytes]  # by dot
    ending: Collection[str] = ()  # dots of those that have a ttl
    until: float = inf
    operation: int | None = None  # index of the read

    @classmethod
    def of_read(cls, read: Operation) -> Shown:
        """What an answered read has shown."""
        values = {each.dot: each.value for each in read.siblings}
        ending = [each.dot for each in read.siblings if each.ttl_s is not None]
        until = inf if read.returned is None else read.returned
        return cls(f"a read by {read.session}", read.seen, values, ending, until, read.index)

    @classmethod
    def of_owners(cls, finals: Iterable[Final]) -> list[Shown]:
        """What owners hold in the end, as far as it is known."""
        return [
            cls(
                each.node,
                each.seen,
                {dot: each.values[dot] for dot in each.dots if dot in each.values},
                each.ending,
            )
            for each in finals
            if each.values is not None
        ]

    def shows(self, dot: str, value: bytes) -> bool:
        """One write may have two names, when its client has sent it twice."""
        return dot in self.values or value in self.values.values()


def could_replace(other: Operation, put: Operation, dots: Collection[str] = ()) -> bool:
    """Whether a write may be why a put is gone: its context covers it, or it had none and was not over when
    the put began.  `dots` are further names of the put."""
    if other is put or other.outcome == "failed" or other.is_blind:
        return False
    if other.given is not None:
        return any(covers(other.given, dot) for dot in (put.dot, *dots) if dot)
    return other.returned is None or other.outcome == "unknown" or other.returned >= put.invoked


def dots_of_puts(
    history: History, key: bytes, writes: Iterable[Operation], shown: Iterable[Shown]
) -> dict[bytes, set[str]]:
    """By value, the names that its put has: told by the receipt, by reads, or seen at its coordinators."""
    dots: dict[bytes, set[str]] = {}
    for write in writes:
        if write.kind == "put" and write.outcome != "failed":
            names = dots.setdefault(write.value, set())
            names |= {write.dot} if write.dot else set()
    for each in history.coordinated:
        if each.key == key and not each.is_touch and each.value in dots:
            dots[each.value].add(each.dot)
    for one in shown:
        for dot, value in one.values.items():
            if value in dots:
                dots[value].add(dot)
    return dots


def hidden_puts(
    history: History, shown: Sequence[Shown], writes: Sequence[Operation], dots: Mapping[bytes, set[str]]
) -> Iterator[tuple[Shown, Operation]]:
    """Puts that a context covers, that are not shown with it, and that nobody could have replaced by then."""
    is_partly_known = not history.coordinated
    known = {dot for names in dots.values() for dot in names} | {write.dot for write in writes}
    for put in writes:
        if put.kind != "put" or put.ttl_s is not None or not _is_kept(history, put):
            continue
        names = dots.get(put.value, set())
        replaced_from = min(
            (
                other.invoked
                for other in writes
                if could_replace(other, put, names) or (is_partly_known and _may_name(other, put, known))
            ),
            default=inf,
        )
        for one in shown:
            is_known = any(covers(one.seen, dot) for dot in names)
            if is_known and one.until < replaced_from and put.value not in one.values.values():
                yield one, put


def _may_name(other: Operation, put: Operation, known: Collection[str]) -> bool:
    """Whether the context of a write names one that nobody was told of: perhaps the same put under another
    name, where nobody has looked at coordinators."""
    is_behind = other is not put and other.outcome != "failed" and other.invoked >= put.invoked
    return is_behind and any(f"{actor}:{count}" not in known for actor, count in (other.given or {}).items())


def _is_kept(history: History, put: Operation) -> bool:
    """Whether nobody may have forgotten it while its coordinator counted on."""
    if put.outcome == "failed" or not history.is_firm(put):
        return False
    return put.is_ok or (put.is_synced and not history.lost and not history.damaged)


def hidden_by_knowledge(
    those: Iterable[Shown], others: Iterable[Shown]
) -> Iterator[tuple[Shown, Shown, str]]:
    """Which of those has left a value out, which of the others shows it and knows at least as much, and the
    name of the value."""
    knowing = _apart(others)
    for less in _apart(those):
        for more in knowing:
            if not _is_below(less.seen, more.seen):
                continue
            for dot, value in more.values.items():
                if dot not in more.ending and covers(less.seen, dot) and not less.shows(dot, value):
                    yield less, more, dot


def _apart(shown: Iterable[Shown]) -> list[Shown]:
    """One of those that are alike."""
    found: dict[tuple[object, object], Shown] = {}
    for one in shown:
        found.setdefault((tuple(sorted(one.seen.items())), tuple(sorted(one.values.items()))), one)
    return list(found.values())


def _is_below(less: Vector, more: Vector) -> bool:
    return all(more.get(actor, 0) >= count for actor, count in less.items())
