"""The checker of keyspaces with the policy `lww`: each breach is found, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.simulator.history import History
from ringmill.simulator.subjects.merging.last_writers import LAST_KEY, LastCall, LastKind, check_last


def write(at: float, time: int, value: bytes = b"", **more: Any) -> LastCall:
    """Answered half a second later; a delete unless it has a value."""
    kind: LastKind = "put" if value else "delete"
    given: dict[str, Any] = {"returned": at + 0.5, "outcome": "ok", "time": time, "holders": ("n1", "n2")}
    return LastCall("v0", kind, LAST_KEY, value, at, **{**given, **more})


def read(at: float, *shown: tuple[bytes, int], **more: Any) -> LastCall:
    given: dict[str, Any] = {"returned": at + 0.5, "outcome": "ok", "shown": shown}
    return LastCall("v1", "get", LAST_KEY, b"", at, **{**given, **more})


UNKNOWN: dict[str, Any] = {"outcome": "unknown", "holders": ()}
ONE, TWO, GONE = write(1, 10, b"1"), write(1, 20, b"2"), write(1, 30)
SOUND = {
    "the newest": [ONE, TWO, read(2, (b"2", 20))],
    "deleted": [ONE, TWO, GONE, read(2)],
    "the newest came first": [write(1, 20, b"2"), write(2, 10, b"1"), read(3, (b"2", 20))],
    "perhaps deleted": [ONE, write(1, 0, **UNKNOWN), read(2)],
    "perhaps written": [ONE, write(1, 0, b"2", **UNKNOWN), read(2, (b"2", 99))],
    "written meanwhile": [ONE, write(2.2, 20, b"2"), read(2, (b"1", 10))],
    "deleted meanwhile": [ONE, write(2.2, 20), read(2)],
    "a weak read": [ONE, TWO, read(2, (b"1", 10), weak=True)],
    "lost with all disks that had it": [ONE, write(1, 20, b"2", holders=("lost",)), read(2, (b"1", 10))],
    "nothing written": [read(2)],
}
BROKEN = {
    "two at once": [ONE, TWO, read(2, (b"2", 20), (b"1", 10))],
    "an older one": [ONE, TWO, read(2, (b"1", 10))],
    "one older than a delete": [ONE, GONE, read(2, (b"1", 10))],
    "nothing": [ONE, TWO, read(2)],
    "nothing, after an older delete": [write(1, 5), ONE, read(2)],
    "never put": [ONE, read(2, (b"3", 30))],
    "refused": [write(1, 0, b"2", outcome="failed"), read(2, (b"2", 20))],
    "put later": [write(4, 20, b"2"), read(2, (b"2", 20))],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_read_of_the_last_writer_is_found_sound(name: str) -> None:
    assert list(check_last(SOUND[name], History(lost=["lost"]))) == []


@pytest.mark.parametrize("name", BROKEN)
def test_another_value_than_the_last_is_found(name: str) -> None:
    assert {found.property for found in check_last(BROKEN[name], History())} == {"C25"}


def test_where_a_clock_was_wrong_an_older_stamp_may_be_of_the_later_write() -> None:
    history = History(fired={"clock_jump": 1})
    assert list(check_last(BROKEN["an older one"], history)) == []
    assert list(check_last(BROKEN["two at once"], history)) != []


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"outcome": "failed", "error": "STALE: why"}, {"C22"}),
        ({"outcome": "failed", "is_of_core": True}, {"C17"}),
        ({"outcome": "failed"}, set()),
        ({"returned": 9.0, "timeout_s": 1.0}, {"C22"}),
    ],
)
def test_its_calls_are_judged_as_all_others(more: dict[str, Any], wanted: set[str]) -> None:
    assert {found.property for found in check_last([ONE, read(2, (b"1", 10), **more)], History())} == wanted
