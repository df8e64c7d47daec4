"""The checker of counters, sets and maps against histories written by hand."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest

from ringmill.client.checked.merging_calls import MergingCall, MergingKind
from ringmill.client.checked.sums import add_up_one_after_the_other
from ringmill.simulator.subjects.merging.checkers import check_merging


def call(policy: str, kind: MergingKind, at: float, lasts_s: float | None = 0.5, **more: Any) -> MergingCall:
    """Answered, unless it lasts for None: then its outcome is unknown."""
    returned = None if lasts_s is None else at + lasts_s
    more |= {"outcome": "unknown" if lasts_s is None else "ok"}
    return MergingCall("m0", policy, kind, b"k", at, returned=returned, **more)


def count(at: float, amount: int, lasts_s: float | None = 0.5) -> MergingCall:
    return call("counter", "count", at, lasts_s, amount=amount)


def counted(at: float, to: int) -> MergingCall:
    return call("counter", "get", at, count=to)


def put(at: float, value: bytes, lasts_s: float | None = 0.5, *, policy: str = "map") -> MergingCall:
    return call(policy, "put", at, lasts_s, entry=b"e", value=value)


def removed(at: float, lasts_s: float | None = 0.5, *, policy: str = "map") -> MergingCall:
    return call(policy, "remove", at, lasts_s, entry=b"e")


def shown(at: float, value: bytes | None, *, policy: str = "map") -> MergingCall:
    return call(policy, "get", at, shown={} if value is None else {b"e": value})


SOUND = {
    "counted once and kept": [count(1, 5, None), counted(2, 5), counted(3, 5)],
    "counted later": [count(1, 5, None), counted(2, 0), counted(3, 5)],
    "another one that takes away": [count(1, 5, None), count(1, -5, None), counted(2, 5), counted(3, 0)],
    "perhaps the other": [count(1, 2, None), count(1, 2, None), counted(2, 2), counted(3, 4)],
    "answered meanwhile": [count(1, 5, 2.0), counted(1.5, 5), counted(4, 5)],
    "beside each other": [count(1, 5, None), counted(2, 5), counted(2.2, 0)],
    "removed since": [put(1, b"a", None), shown(2, b"a"), removed(3), shown(4, None)],
    "perhaps removed": [put(1, b"a", None), removed(1, None), shown(2, b"a"), shown(4, None)],
    "replaced late": [put(1, b"a", None), put(2, b"b"), shown(3, b"b"), shown(4, b"a")],
    "put again": [put(1, b"a", None), shown(2, b"a"), put(3, b"b"), put(3.2, b"c"), shown(5, b"b")],
    "an element put twice, one of them late": [
        put(1, b"", None, policy="set"),
        put(1, b"", None, policy="set"),
        shown(2, b"", policy="set"),
        removed(3, policy="set"),
        shown(4, b"", policy="set"),
    ],
    "an element put again": [
        put(1, b"", None, policy="set"),
        shown(2, b"", policy="set"),
        removed(3, policy="set"),
        put(4, b"", None, policy="set"),
        shown(5, b"", policy="set"),
    ],
    "an element removed meanwhile": [
        put(1, b"", None, policy="set"),
        removed(2.2, policy="set"),
        shown(2, b"", policy="set"),
        shown(4, None, policy="set"),
    ],
}
BROKEN = {
    "its own addition at once": [count(1, 5), counted(1.5, 0)],
    "its own entry at once": [put(1, b"a"), shown(1.5, None)],
    "a count that goes back": [count(1, 5, None), counted(2, 5), counted(3, 0)],
    "one for another": [count(1, 5, None), count(1, 2, None), counted(2, 5), counted(3, 2)],
    "back past one that was answered": [count(1, 5, None), counted(2, 5), count(3, 1), counted(4, 1)],
    "an entry that goes": [put(1, b"a", None), shown(2, b"a"), shown(3, None)],
    "an element that goes": [put(1, b"", None, policy="set"), shown(2, b"", policy="set"),
                             shown(3, None, policy="set")],
    "removed before it was shown": [put(1, b"a"), removed(1.2), put(1, b"b", None), shown(3, b"b"),
                                    shown(4, None)],
    "one of unknown outcome that comes back": [
        put(1, b"a", None), shown(2, b"a"), put(3, b"b"), shown(4, b"b"), shown(5, b"a"),
    ],
    "an element of unknown outcome that comes back": [
        put(1, b"", None, policy="set"), shown(2, b"", policy="set"), removed(3, policy="set"),
        shown(4, None, policy="set"), shown(5, b"", policy="set"),
    ],
    "a value that comes back": [put(1, b"a"), put(2, b"b", None), shown(3, b"b"), shown(4, b"a")],
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_history_is_found_sound(name: str) -> None:
    assert list(check_merging(SOUND[name])) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_breach_is_found(name: str) -> None:
    assert {found.property for found in check_merging(BROKEN[name])} == {"C10"}


def test_totals_of_which_the_second_has_what_the_first_has_are_found_as_by_brute_force() -> None:
    draws = Random(7)
    seen = set()
    for _ in range(300):
        first, second, both = (
            [draws.choice((1, 2, -1, 5)) for _ in range(draws.randrange(3))] for _ in "abc"
        )
        wanted, then = draws.randrange(-2, 8), draws.randrange(-2, 8)
        found = any(
            sum(itertools.compress(first, one)) + sum(itertools.compress(both, kept)) == wanted
            and sum(itertools.compress(second, other)) + sum(itertools.compress(both, map(max, kept, more)))
            == then
            for one in itertools.product((0, 1), repeat=len(first))
            for other in itertools.product((0, 1), repeat=len(second))
            for kept in itertools.product((0, 1), repeat=len(both))
            for more in itertools.product((0, 1), repeat=len(both))
        )
        seen.add(found)
        assert add_up_one_after_the_other(wanted, first, then, second, both) is found
    assert seen == {True, False}
