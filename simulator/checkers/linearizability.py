"""C7: is there one order of a register's operations that explains every answer?

Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's cache of visited
configurations ("Testing for Linearizability", 2017), over a doubly linked list of invocations and returns:
take the first operation that may come next, remove it, go on; come back when an answer cannot be explained.
An operation of unknown outcome may take effect at any later moment, or never, so it never has to return.

The search is exponential in the operations that overlap: at most 10 clients a key, and a budget of steps,
after which the verdict is None, "not decided".
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Call", "is_linearizable"]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation on one register.  `returned` is None when the outcome is unknown.

    read: `result` is the value read.  write: `argument` is the value.  cas: `expected` and `argument`;
    `result` is True or False.
    """

    kind: Literal["read", "write", "cas"]
    invoked: float
    returned: float | None
    argument: Hashable = None
    expected: Hashable = None
    result: Hashable = None


class _Entry:
    """An invocation or a return in the linked list of events."""

    __slots__ = ("call", "is_return", "match", "next", "number", "previous")

    def __init__(self, number: int, call: Call, is_return: bool) -> None:
        self.number = number
        self.call = call
        self.is_return = is_return
        self.match: _Entry | None = None
        self.previous: _Entry | None = None
        self.next: _Entry | None = None


def is_linearizable(
    calls: Sequence[Call], *, initial: Hashable = None, budget: int = 3_000_000
) -> bool | None:
    """True or False, or None when `budget` steps did not decide it."""
    head = _events(calls)
    must = sum(1 << number for number, call in enumerate(calls) if call.returned is not None)
    state, taken = initial, 0
    seen: set[tuple[int, Hashable]] = {(0, initial)}
    undo: list[tuple[_Entry, Hashable]] = []
    entry = head.next
    for _ in range(budget):
        if taken & must == must:
            return True
        if entry is not None and not entry.is_return:
            fits, after = _apply(state, entry.call)
            configuration = (taken | 1 << entry.number, after)
            if fits and configuration not in seen:
                seen.add(configuration)
                undo.append((entry, state))
                taken, state = configuration
                _lift(entry)
                entry = head.next
            else:
                entry = entry.next
        else:  # a return that is not explained yet, or the end: the last choice was wrong
            if not undo:
                return False
            entry, state = undo.pop()
            taken &= ~(1 << entry.number)
            _unlift(entry)
            entry = entry.next
    return None


def _events(calls: Sequence[Call]) -> _Entry:
    """The list's head, followed by invocations and returns in the order of time."""
    events: list[tuple[float, int, int, _Entry]] = []
    for number, call in enumerate(calls):
        start = _Entry(number, call, is_return=False)
        events.append((call.invoked, 0, number, start))
        if call.returned is not None:
            end = _Entry(number, call, is_return=True)
            start.match = end
            events.append((call.returned, 1, number, end))
    head = last = _Entry(-1, Call("read", 0.0, None), is_return=False)
    for *_, entry in sorted(events, key=lambda event: event[:3]):
        last.next, entry.previous = entry, last
        last = entry
    return head


def _apply(state: Hashable, call: Call) -> tuple[bool, Hashable]:
    """Does the answer fit this state, and what is the state afterwards?"""
    certain = call.returned is not None
    if call.kind == "read":
        return (not certain or call.result == state), state
    if call.kind == "write":
        return True, call.argument
    succeeds = state == call.expected
    fits = not certain or call.result == succeeds
    return fits, call.argument if succeeds else state


def _lift(entry: _Entry) -> None:
    for item in (entry, entry.match):
        if item is not None and item.previous is not None:
            item.previous.next = item.next
            if item.next is not None:
                item.next.previous = item.previous


def _unlift(entry: _Entry) -> None:
    for item in (entry.match, entry):
        if item is not None and item.previous is not None:
            item.previous.next = item
            if item.next is not None:
                item.next.previous = item
