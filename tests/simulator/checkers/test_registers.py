"""The checker of registers against histories written by hand: each breach is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ringmill.client.checked.register_calls import RegisterCall, RegisterKind
from ringmill.simulator.subjects.registers.checkers import check_registers


def call(
    kind: RegisterKind, key: bytes, invoked: float, returned: float | None = None, **more: Any
) -> RegisterCall:
    more.setdefault("outcome", "unknown" if returned is None else "ok")
    return RegisterCall("r0", kind, key, invoked, returned=returned, **more)


def got(at: float, version: int, shown: bytes | None, key: bytes = b"count 0") -> RegisterCall:
    return call("get", key, at, at + 0.5, version=version, shown=shown)


def counted(at: float, shown: bytes | None, by: int = 1, **more: Any) -> RegisterCall:
    return call("incr", b"count 0", at, at + 0.5, by=by, shown=shown, **more)


def cas(at: float, value: bytes | None, version: int, **more: Any) -> RegisterCall:
    shown = more.pop("shown", value)
    return call("cas", b"set 0", at, at + 0.5, value=value, version=version, shown=shown, **more)


FAILED: dict[str, Any] = {"outcome": "failed"}
SOUND = {
    "counting": [
        counted(1, b"1"),
        counted(2, b"3", 2),
        got(3, 2, b"3"),
        counted(4, b"2", -1),
        got(5, 3, b"2"),
    ],
    "at once": [
        call("incr", b"count 0", 1, 9, by=1, shown=b"2"),
        call("incr", b"count 0", 1, 9, by=1, shown=b"1"),
        got(2, 0, None),
        got(10, 2, b"2"),
    ],
    "open ones": [call("incr", b"count 0", 1, by=5), counted(2, b"6"), got(3, 2, b"6")],
    "open and never done": [call("incr", b"count 0", 1, by=5), counted(2, b"1"), got(3, 1, b"1")],
    "done late": [call("incr", b"count 0", 1, by=5), got(2, 0, None), got(3, 1, b"5")],
    "open and counted behind another": [
        call("incr", b"count 0", 0, by=5),
        counted(2, b"1"),
        counted(4, b"7"),
        got(6, 3, b"7"),
    ],
    "one open for the other": [
        call("incr", b"count 0", 0, by=5),
        call("incr", b"count 0", 0, by=5),
        counted(2, b"6"),
        got(4, 2, b"6"),
        got(6, 3, b"11"),
    ],
    "refused": [cas(1, b"a", 1), cas(2, b"b", 1, expect=b"x", outcome="conflict", shown=b"a")],
    "deleted": [cas(1, b"a", 1), cas(2, None, 2, expect=b"a"), got(3, 2, None, b"set 0")],
}
BROKEN = {
    "the last count is lost": [got(0, 0, None), counted(1, b"1"), got(3, 0, None)],
    "a read after a count does not see it": [counted(1, b"1"), got(3, 0, None), got(5, 1, b"1")],
    "counted twice": [counted(1, b"1"), got(3, 2, b"2")],
    "failed and counted": [counted(1, None, **FAILED), got(3, 1, b"1")],
    "two counts to one number": [counted(1, b"1"), counted(2, b"1"), got(3, 2, b"2")],
    "a count before it was asked": [got(1, 1, b"1"), counted(3, b"1"), got(5, 1, b"1")],
    "a count goes back": [
        counted(1, b"1"),
        counted(2, b"2"),
        got(3, 2, b"2"),
        got(5, 1, b"1"),
        got(7, 2, b"2"),
    ],
    "counted behind an open one, then read without it": [
        call("incr", b"count 0", 0, by=5),
        counted(2, b"6"),
        got(4, 1, b"1"),
    ],
    "counted behind an open one, then counted without it": [
        call("incr", b"count 0", 0, by=5),
        counted(2, b"6"),
        counted(4, b"2"),
        got(6, 2, b"2"),
    ],
    "read behind an open one, then counted without it": [
        call("incr", b"count 0", 0, by=5),
        got(2, 1, b"5"),
        counted(4, b"1"),
    ],
    "two at once to one number": [
        call("incr", b"count 0", 0, by=5),
        call("incr", b"count 0", 2, 3, by=1, shown=b"1"),
        call("incr", b"count 0", 2, 3, by=1, shown=b"1"),
        got(4, 2, b"2"),
    ],
    "a wrong number": [counted(1, b"1"), counted(2, b"2"), got(3, 2, b"5")],
    "refused though the version fitted": [
        cas(1, b"a", 1),
        cas(2, b"b", 1, expect_version=1, outcome="conflict", shown=b"a"),
    ],
    "refused though the value fitted": [
        cas(1, b"a", 1),
        cas(2, b"b", 1, expect=b"a", outcome="conflict", shown=b"a"),
    ],
    "refused and set": [
        cas(1, b"a", 1),
        cas(2, b"b", 1, expect=b"x", outcome="conflict", shown=b"a"),
        got(3, 2, b"b", b"set 0"),
    ],
    "a set value is gone": [cas(1, b"a", 1), got(3, 0, None, b"set 0")],
    "one version set twice": [cas(1, b"a", 1), cas(1, b"b", 1)],
    "set on another value": [cas(1, b"a", 1), cas(2, b"b", 2, expect=b"c")],
    "set twice": [cas(1, b"a", 1), cas(2, b"b", 2, expect=b"a"), got(3, 3, b"a", b"set 0")],
}


@pytest.mark.parametrize("calls", SOUND.values(), ids=SOUND)
def test_a_sound_history_passes(calls: Sequence[RegisterCall]) -> None:
    assert list(check_registers(calls)) == []


@pytest.mark.parametrize("calls", BROKEN.values(), ids=BROKEN)
def test_a_breach_is_found(calls: Sequence[RegisterCall]) -> None:
    assert {each.property for each in check_registers(calls)} == {"C7"}


def test_counts_of_one_order_are_sound_whatever_overlaps_and_whatever_is_unknown() -> None:
    draws = Random(7)
    for _ in range(150):
        made = sorted((draws.random(), draws.choice((1, 1, 2, -1, 5)), number) for number in range(12))
        number, version, calls = 0, 0, []
        for at, by, each in made:
            begun, ended = at - 0.3 * draws.random(), at + 0.3 * draws.random()
            kind: RegisterKind = draws.choice(("incr", "incr", "get"))
            number, version = (number + by, version + 1) if kind == "incr" else (number, version)
            shown = b"%d" % number if version else None
            told = call(kind, b"count 0", begun, ended, by=by, shown=shown)
            told.session = f"r{each}"
            told.version = version if kind == "get" else 0
            if kind == "incr" and draws.random() < 0.4:
                told.shown, told.outcome, told.returned = None, "unknown", draws.choice((None, ended))
            calls.append(told)
        if draws.random() < 0.5:
            calls.append(call("incr", b"count 0", 0.2, by=3))  # never done
        assert list(check_registers(calls)) == []


def test_what_a_session_asks_at_the_instant_of_its_answer_is_asked_behind_it() -> None:
    """For a session alone: what two of them do at one instant may be in either order."""
    for change, read in (
        (counted(1, b"1"), got(1.5, 0, None)),
        (cas(1, b"a", 1), got(1.5, 0, None, b"set 0")),
    ):
        assert [found.property for found in check_registers([change, read])] == ["C7"]
        assert list(check_registers([change, replace(read, session="r1")])) == []
