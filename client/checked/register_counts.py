"""Whether the numbers that a counting register has shown fit each other.

Each number alone is judged in client/checked/register_stories.py: it is the sum of what was done before, and
of some of what may have been.  Here two of them are: what the former has counted the later one has counted,
too, also a change whose own outcome nobody knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Self

from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.sums import add_up_one_after_the_other, adds_up

__all__ = ["counts_that_go_back"]

_FORMER: Final = 8
"""Each number is compared with this many that were answered last before it."""


class _Count(NamedTuple):
    """A number, and which changes it has counted: `done`, and some of `maybe` that make `left`.  Changes are
    known by their places in a list."""

    call: RegisterCall
    place: int | None  # of itself
    done: frozenset[int]
    maybe: frozenset[int]
    left: int

    @classmethod
    def of(cls, call: RegisterCall, changes: Sequence[RegisterCall]) -> Self:
        done, maybe, place, left = set[int](), set[int](), None, int(call.shown or b"0")
        for at, each in enumerate(changes):
            if each is call:
                place = at
            elif each.outcome == "ok" and each.was_over(call):
                done.add(at)
            elif each.invoked < call.ended:
                maybe.add(at)
                continue
            else:
                continue
            left -= each.by
        return cls(call, place, frozenset(done), frozenset(maybe), left)


def counts_that_go_back(calls: Sequence[RegisterCall]) -> Iterator[tuple[RegisterCall, RegisterCall]]:
    """Answered calls of one register, the one that was answered first in front, of which no order explains
    both numbers.  Each number has to make sense alone."""
    changes = [each for each in calls if each.is_change and each.outcome != "failed"]
    former: deque[_Count] = deque(maxlen=_FORMER)
    for call in sorted((each for each in calls if each.outcome == "ok"), key=lambda each: each.ended):
        count = _Count.of(call, changes)
        for one in former:
            is_before = one.call.was_over(call)
            if not _fit(one, count, changes) and (is_before or not _fit(count, one, changes)):
                yield one.call, call
                break
        former.append(count)


def _fit(first: _Count, second: _Count, changes: Sequence[RegisterCall]) -> bool:
    """Whether the second may have come behind the first: it has counted the first, and all that it has."""
    counted = first.done if first.place is None else first.done | {first.place}
    forced = counted & second.maybe
    if second.place in first.done or not counted <= second.done | second.maybe:
        return False
    open_first = {at for at in first.maybe if at in second.done or at in second.maybe}
    open_second = second.maybe - forced
    left = second.left - sum(changes[at].by for at in forced)
    of_first, of_both, of_second = (
        [changes[at].by for at in sorted(those)]
        for those in (open_first - open_second, open_first & open_second, open_second - open_first)
    )
    if adds_up(first.left, of_first, None) and adds_up(left, [*of_both, *of_second], None):
        return True  # the first has none of both
    if adds_up(first.left, of_both, None) and adds_up(left - first.left, of_second, None):
        return True  # nothing more of both than the first has
    return add_up_one_after_the_other(first.left, of_first, left, of_second, of_both)
