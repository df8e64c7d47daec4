"""C22: a call ends within its time, by an answer or by an error that its run can explain.

A call that no answer comes for ends by its client's own clock.  Some errors say that the product is wrong,
and no fault excuses them; damaged data is told where something has damaged it.  Until the first fault fires,
hardly any call fails, and those only for lack of time: disks are slow in some runs, and clients impatient.
Who does not wait for a flush, in a run where a few writes fill a memtable, is late in any share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Final, Protocol, TypeVar

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.product_faults import is_product_fault
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History, Operation

__all__ = ["Timed", "check_errors", "check_promptness", "late_calls", "wrong_errors"]

_SLACK_S: Final = 0.1
_ANSWERS: Final = frozenset({"", "NOT_FOUND", "UNRESOLVED_SIBLINGS"})
_LATE: Final = frozenset({"DEADLINE_EXCEEDED", "QUORUM_NOT_REACHED"})
_EFFECTS: Final = frozenset({"child_cut", "late_work"})  # counted as faults are, and none
_FEW: Final = 0.1
"""The share of the calls before the first fault that may be late.  The most that was seen is 0.03."""
_HASTY_S: Final = 1.0
_FEW_OF_HASTY: Final = 0.3
"""The share of calls with a timeout below `_HASTY_S` that may be late.  0.14 were seen beside slow disks."""
_ENOUGH: Final = 50


class Timed(Protocol):
    """A call of a client that waits for `timeout_s` at most, unless its driver gives it up before."""

    invoked: float
    returned: float | None
    timeout_s: float | None
    given_up: float | None


TimedT = TypeVar("TimedT", bound=Timed)


def check_promptness(history: History) -> Iterator[Violation]:
    calls = [call for call in history.operations if call.timeout_s is not None]
    last = max((call.returned or call.invoked for call in calls), default=0.0)
    damaged_at = _first(history, history.spoiling)
    for call in calls:
        yield from _in_time(call, last)
        yield from _wrong_of(call, damaged_at)
    until = _first(history, history.first_fired_at.keys() - _EFFECTS)
    yield from _untroubled(calls, until, history.stall_s)


def late_calls(calls: Sequence[TimedT]) -> Iterator[tuple[TimedT, str]]:
    """Those of calls in one list that did not end within their time, and how."""
    last = max(map(_end_or_given_up, calls), default=0.0)
    for call in calls:
        waited_until = last if call.given_up is None else call.given_up
        if call.timeout_s is not None and (
            story := _late(call.invoked, call.returned, waited_until, call.timeout_s)
        ):
            yield call, story


def check_errors(history: History) -> Iterator[Violation]:
    """Judges the promptness of calls on registers, counters, sets and maps, and the errors of scans."""
    for register, story in late_calls(history.registers):
        yield Violation("C22", register.key, f"{register.kind} of {register.session} {story}")
    for change, story in late_calls(history.merging):
        yield Violation("C22", change.key, f"{change.policy} {change.kind} of {change.session} {story}")
    yield from _wrong_errors_of_others(history)


def wrong_errors(history: History) -> Iterator[Violation]:
    """Of all calls what holds on a machine that is late by itself, too: the errors that no fault excuses."""
    damaged_at = _first(history, history.spoiling)
    for call in history.operations:
        yield from _wrong_of(call, damaged_at)
    yield from _wrong_errors_of_others(history)


def _wrong_of(call: Operation, damaged_at: float) -> Iterator[Violation]:
    if _is_wrong(call.error, _end(call.returned), damaged_at):
        yield _violation(call, f"ended with {call.error}")


def _wrong_errors_of_others(history: History) -> Iterator[Violation]:
    damaged_at = _first(history, history.spoiling)
    calls: list[RegisterCall | MergingCall | Operation] = [*history.registers, *history.merging]
    for call in [*calls, *history.scan_writes]:
        if _is_wrong(call.error, _end(call.returned), damaged_at):
            yield Violation("C22", call.key, f"{call.kind} ended with {call.error}")
    for scan in history.scans:
        for error in scan.errors:
            if _is_wrong(error, _end(scan.returned), damaged_at):
                yield Violation("C22", scan.prefix, f"a page of a scan ended with {error}")


def _is_wrong(error: str, at: float, damaged_at: float) -> bool:
    return is_product_fault(error, is_damaged=at >= damaged_at)


def _untroubled(calls: Iterable[Operation], until: float, stall_s: float) -> Iterator[Violation]:
    """What has ended before anything went wrong.  Any share of the calls that wait for `stall_s` at most may
    be late: half of them were, and none of those that wait for longer."""
    calls = [call for call in calls if call.returned is not None and call.returned < until]
    failed = [call for call in calls if _code_of(call.error) not in _ANSWERS]
    for call in failed:
        if _code_of(call.error) not in _LATE:
            yield _violation(call, f"ended with {call.error}, and nothing had gone wrong")
    calls, failed = _waiting_longer(calls, stall_s), _waiting_longer(failed, stall_s)
    hasty = [call for call in calls if _is_hasty(call)]
    patient = len(calls) - len(hasty)
    for few, among, late in (
        (_FEW_OF_HASTY, len(hasty), [call for call in failed if _is_hasty(call)]),
        (_FEW, patient, [call for call in failed if not _is_hasty(call)]),
    ):
        if among >= _ENOUGH and len(late) > few * among:
            yield _violation(
                late[0], f"and {len(late) - 1} more of {among} failed, and nothing had gone wrong"
            )


def _waiting_longer(calls: Iterable[Operation], stall_s: float) -> list[Operation]:
    return [call for call in calls if call.timeout_s is not None and call.timeout_s > stall_s]


def _is_hasty(call: Operation) -> bool:
    return call.timeout_s is not None and call.timeout_s < _HASTY_S


def _first(history: History, kinds: Iterable[str]) -> float:
    return min((history.first_fired_at.get(kind, inf) for kind in kinds), default=inf)


def _end(returned: float | None) -> float:
    return inf if returned is None else returned


def _in_time(call: Operation, last: float) -> Iterator[Violation]:
    assert call.timeout_s is not None
    if story := _late(call.invoked, call.returned, last, call.timeout_s):
        yield _violation(call, story)


def _late(invoked: float, returned: float | None, waited_until: float, timeout_s: float) -> str:
    """How a call that began at `invoked` did not end within its time; "" when it did.  `waited_until` counts
    for one that had no answer."""
    late_s = (waited_until if returned is None else returned) - invoked - timeout_s
    if late_s <= _SLACK_S:
        return ""
    story = f"lasted {late_s:.3f} s longer than its {timeout_s:g} s"
    return story if returned is not None else f"{story}, and had no answer"


def _end_or_given_up(call: Timed) -> float:
    if call.returned is not None:
        return call.returned
    return call.invoked if call.given_up is None else call.given_up


def _code_of(error: str) -> str:
    """Empty for none."""
    return error.partition(":")[0]


def _violation(call: Operation, story: str) -> Violation:
    return Violation("C22", call.key, f"{call.kind} {story}", (call.index,))
