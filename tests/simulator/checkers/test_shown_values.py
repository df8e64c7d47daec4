"""Reads, scans and watches are judged by the values that they show, and not by their contexts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringmill.simulator.history import (
    Coordinated,
    Final,
    History,
    Operation,
    Purged,
    ReceiptLine,
    SeenSibling,
)
from ringmill.simulator.scan_history import ScannedItem, ScanRecord
from ringmill.simulator.subjects.objects.checkers.every import check_all, check_real
from ringmill.simulator.subjects.scans.checkers import check_scans
from ringmill.simulator.subjects.watches.checkers import ShownChange, check_watches

KEY = b"w-k"
BOTH = {"x": 1, "y": 1}


def put(index: int, dot: str, *, at: float, **more: Any) -> Operation:
    """Its value is its number.  Acknowledged a second later, without a context unless one is given."""
    holders = tuple(ReceiptLine(node, "owner", "synced") for node in ("n1", "n2"))
    given: dict[str, Any] = {"outcome": "ok", "returned": at + 1, "value": b"%d" % index, "dot": dot}
    return Operation(index, f"s{index}", "put", KEY, at, **{**given, "replicas": holders, **more})


def read(index: int, at: float, seen: dict[str, int], *dots: str, **more: Any) -> Operation:
    """Of the values of `put` 1 as x:1 and `put` 2 as y:1, unless `siblings` says which."""
    values = {"x:1": b"1", "y:1": b"2"}
    siblings = tuple(SeenSibling(values[dot], dot) for dot in dots)
    given: dict[str, Any] = {"seen": seen, "siblings": siblings, "returned": at + 1, "outcome": "ok"}
    return Operation(index, "r", "get", KEY, at, **{**given, **more})


def finals(*dots: str) -> list[Final]:
    values = {"x:1": b"1", "y:1": b"2"}
    return [Final(KEY, node, BOTH, dots, {}, {dot: values[dot] for dot in dots}) for node in ("n1", "n2")]


BLIND: dict[str, Any] = {"is_blind": True, "given": {}}
ONE, TWO = put(1, "x:1", at=0, **BLIND), put(2, "y:1", at=0, **BLIND)
PLAIN = put(2, "y:1", at=0)
WITH_CONTEXT = put(2, "y:1", at=2, given={"x": 1})
BEHIND = put(2, "y:1", at=2)
OPEN = replace(ONE, outcome="unknown", returned=None, dot="", replicas=())

HIDING = {
    "one of two siblings": ([ONE, TWO, read(3, 4, BOTH, "y:1")], ["x:1", "y:1"]),
    "all": ([ONE, TWO, read(3, 4, BOTH)], ["x:1", "y:1"]),
    "one that is never shown": ([ONE, TWO, read(3, 4, BOTH, "y:1")], ["y:1"]),
    "a weak read": ([ONE, TWO, read(3, 4, BOTH, "y:1", is_weak=True)], ["x:1", "y:1"]),
    "one that is shown later": ([ONE, PLAIN, read(3, 4, BOTH, "y:1"), read(4, 6, BOTH, "x:1", "y:1")], []),
    "one that the owners hold": ([ONE, PLAIN, read(3, 4, BOTH, "y:1")], ["x:1", "y:1"]),
    "what replaced another": ([ONE, BEHIND, read(3, 4, BOTH)], []),
    "one of unknown outcome": ([OPEN, TWO, read(3, 4, BOTH, "x:1", "y:1"), read(4, 6, BOTH, "y:1")], []),
    "replaced too late": ([ONE, read(3, 4, {"x": 1}), replace(BEHIND, invoked=6, returned=7)], ["y:1"]),
}
WHOLE = {
    "both": ([ONE, TWO, read(3, 4, BOTH, "x:1", "y:1")], ["x:1", "y:1"]),
    "replaced by a context": ([ONE, WITH_CONTEXT, read(3, 4, BOTH, "y:1")], ["y:1"]),
    "replaced without one": ([ONE, BEHIND, read(3, 4, BOTH, "y:1")], ["y:1"]),
    "replaced by one of unknown outcome": (
        [ONE, replace(BEHIND, outcome="unknown", returned=None, dot=""), read(3, 4, BOTH)],
        [],
    ),
    "replaced meanwhile": ([ONE, read(3, 4, {"x": 1}), replace(BEHIND, invoked=4.5, returned=7)], ["y:1"]),
    "deleted": ([ONE, replace(BEHIND, kind="delete", value=b""), read(3, 4, BOTH)], []),
    "not heard of": ([ONE, TWO, read(3, 4, {"y": 1}, "y:1", is_weak=True)], ["x:1", "y:1"]),
    "expired": ([replace(ONE, ttl_s=1.0), TWO, read(3, 4, BOTH, "y:1")], ["y:1"]),
    "touched": (
        [ONE, replace(BEHIND, kind="touch", value=b""),
         read(3, 4, BOTH, siblings=(SeenSibling(b"1", "y:1", ttl_s=1.0),)), read(4, 9, BOTH)],
        [],
    ),
    "sent twice": (
        [ONE, read(3, 4, BOTH, siblings=(SeenSibling(b"1", "y:1"),)), read(4, 6, BOTH, "x:1")],
        [],
    ),
    "it may be forgotten": (
        [replace(ONE, is_synced=False, replicas=(ReceiptLine("n3", "owner", "memory"),)),
         read(3, 4, {"x": 2}, siblings=(SeenSibling(b"3", "x:2"),)), put(3, "x:2", at=2, given={})],
        None,
    ),
}  # fmt: skip


def breaches(operations: Sequence[Operation], left: list[str] | None, **more: Any) -> set[str]:
    history = History(list(operations), [] if left is None else finals(*left), crashed={"n3": [1.5]}, **more)
    assert {each.property for each in check_real(history)} == {each.property for each in check_all(history)}
    return {each.property for each in check_all(history) if each.story.find("hides") >= 0}


@pytest.mark.parametrize("name", HIDING)
def test_c3_a_read_that_hides_a_value_that_it_knows_of(name: str) -> None:
    assert breaches(*HIDING[name]) == {"C3"}


@pytest.mark.parametrize("name", WHOLE)
def test_a_read_that_shows_all_that_is_left_is_sound(name: str) -> None:
    assert breaches(*WHOLE[name]) == set()


def test_a_value_that_a_second_attempt_has_named_again_may_be_replaced_under_its_first_name() -> None:
    again = replace(ONE, dot="z:1")
    seen = {"x": 1, "y": 1, "z": 1}
    operations = [again, WITH_CONTEXT, read(3, 4, seen, "y:1")]
    seen_from_outside = [Coordinated(0.5, "n1", KEY, b"1", "x:1"), Coordinated(0.6, "n2", KEY, b"1", "z:1")]
    assert breaches(operations, None, coordinated=seen_from_outside) == set()
    assert breaches(operations, None, coordinated=seen_from_outside[1:]) == {"C3"}
    assert breaches(operations, None) == set(), "nobody has looked whose x:1 is"
    other = put(3, "x:1", at=0, **BLIND)
    assert breaches([*operations, other], None) == {"C3"}, "it is of another put"


def test_c4_reads_that_show_two_values_under_one_name() -> None:
    first, second = read(3, 4, BOTH, "x:1", "y:1"), read(4, 6, BOTH, siblings=(SeenSibling(b"2", "x:1"),))
    found = [each for each in check_all(History([OPEN, TWO, first, second])) if each.property == "C4"]
    assert [each.operations for each in found] == [(3, 4)]
    assert not [each for each in check_all(History([OPEN, TWO, first])) if each.property == "C4"]


def scanned(values: dict[str, bytes], seen: dict[str, int], at: float = 10.0) -> ScanRecord:
    return ScanRecord("c", b"", at, at + 5, is_complete=True, items=[ScannedItem(KEY, values, seen)])


@pytest.mark.parametrize(
    ("writes", "scans", "is_broken"),
    [
        ([ONE], [scanned({"x:1": b"1"}, {"x": 1})], False),
        ([ONE], [scanned({}, {"x": 1})], True),
        ([ONE, BEHIND], [scanned({"y:1": b"2"}, BOTH)], False),
        ([ONE, BEHIND], [scanned({"x:1": b"1"}, BOTH)], True),
        ([ONE, BEHIND], [scanned({"y:1": b"1"}, BOTH)], True),
        ([ONE, replace(BEHIND, invoked=12, returned=13)], [scanned({}, {"x": 1})], False),
        ([ONE, PLAIN], [scanned({"y:1": b"2"}, BOTH), scanned({"x:1": b"1", "y:1": b"2"}, BOTH, 20.0)], True),
        ([ONE, PLAIN], [scanned({"y:1": b"2"}, BOTH), scanned({"y:1": b"2"}, BOTH, 20.0)], False),
    ],
)
def test_c12_a_scan_shows_the_values_that_it_knows_of(
    writes: list[Operation], scans: list[ScanRecord], is_broken: bool
) -> None:
    found = [*check_scans(History(scans=scans, scan_writes=writes), lambda key: key)]
    assert {each.property for each in found} == ({"C12"} if is_broken else set()), found


def test_c12_a_scan_need_not_know_of_what_was_deleted_and_forgotten() -> None:
    gone = replace(BEHIND, kind="delete", value=b"", dot="x:2")
    later = put(4, "y:1", at=8)
    history = History(scans=[scanned({"y:1": b"4"}, {"y": 1})], scan_writes=[ONE, gone, later])
    assert {each.property for each in check_scans(history, lambda key: key)} == {"C12"}
    history.purged = [Purged(6.0, "n1", KEY, {"x": 2}, ("x:2",))]
    history.remember_purged()
    assert [*check_scans(history, lambda key: key)] == []


@pytest.mark.parametrize(
    ("values", "is_broken"),
    [
        ({"x:1": b"1", "y:1": b"2"}, False),
        ({"x:1": b"1"}, True),
        ({}, True),
        ({"x:1": b"1", "y:1": b"1"}, True),
    ],
)
@pytest.mark.parametrize("second", [TWO, PLAIN], ids=["blind", "plain"])
def test_c19_a_watcher_is_told_the_values_that_owners_hold_in_the_end(
    values: dict[str, bytes], is_broken: bool, second: Operation
) -> None:
    history = History([ONE, second], finals("x:1", "y:1"))
    told = [*check_watches([ShownChange("wa0", KEY, BOTH, values)], history, ["wa0"])]
    assert {each.property for each in told} == ({"C19"} if is_broken else set()), told


def test_c19_a_watcher_may_be_told_of_a_value_before_it_is_replaced() -> None:
    history = History([ONE, WITH_CONTEXT], finals("y:1"))
    changes = [ShownChange("wa0", KEY, {"x": 1}, {"x:1": b"1"}), ShownChange("wa0", KEY, BOTH, {"y:1": b"2"})]
    assert [*check_watches(changes, history, ["wa0"])] == []
    back = changes[1]._replace(values={"x:1": b"1", "y:1": b"2"})
    assert [*check_watches([changes[0], back], history, ["wa0"])] != []
