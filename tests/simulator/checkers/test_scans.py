"""The checker of scans against histories written by hand: each breach is found, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.simulator.history import History, Operation, ReceiptLine
from ringmill.simulator.scan_history import ScannedItem, ScanRecord
from ringmill.simulator.subjects.scans.checkers import check_scans

HOLDERS = (ReceiptLine("n1", "owner", "synced"), ReceiptLine("n2", "owner", "synced"))


def put(at: float, key: bytes, counter: int, **more: Any) -> Operation:
    """Acknowledged half a second later."""
    given: dict[str, Any] = {
        "kind": "put",
        "value": b"%d" % counter,
        "outcome": "ok",
        "returned": at + 0.5,
        "dot": f"n1#1:{counter}",
        "seen": {"n1#1": counter},
        "replicas": HOLDERS,
    }
    return Operation(index=counter, session="w0", key=key, invoked=at, **{**given, **more})


def delete(at: float, key: bytes, counter: int, **more: Any) -> Operation:
    return put(at, key, counter, kind="delete", value=b"", **more)


def item(key: bytes, *counters: int, seen: int = 0) -> ScannedItem:
    values = {f"n1#1:{counter}": b"%d" % counter for counter in counters}
    return ScannedItem(key, values, {"n1#1": seen or max(counters)})


def scan(*items: ScannedItem, **more: Any) -> ScanRecord:
    """From 10 to 20."""
    given = {"prefix": b"", "returned": 20.0, "is_complete": True, "items": list(items), **more}
    return ScanRecord("c0", invoked=10.0, **given)


SOUND = {
    "whole": ([put(1, b"a", 1), put(1, b"b", 1)], scan(item(b"a", 1), item(b"b", 1))),
    "written meanwhile": ([put(1, b"a", 1), put(12, b"a", 2)], scan(item(b"a", 2))),
    "not yet seen": ([put(1, b"a", 1), put(12, b"a", 2)], scan(item(b"a", 1))),
    "deleted meanwhile": ([put(1, b"a", 1), delete(12, b"a", 2)], scan()),
    "begun meanwhile": ([put(12, b"a", 1)], scan()),
    "perhaps deleted": ([put(1, b"a", 1), delete(2, b"a", 2, outcome="unknown", dot="")], scan()),
    "perhaps written": ([put(1, b"a", 1, outcome="unknown", dot="")], scan(item(b"a", 1))),
    "given up": ([put(1, b"a", 1)], scan(is_complete=False)),
    "of other keys": ([put(1, b"a", 1)], scan(prefix=b"b")),
    "forgotten": ([put(1, b"a", 1, replicas=(ReceiptLine("lost", "owner", "synced"),))], scan()),
}
BROKEN = {
    "left out": ([put(1, b"a", 1)], scan()),
    "left out though written again": ([put(1, b"a", 1), put(12, b"a", 2)], scan()),
    "twice": ([put(1, b"a", 1)], scan(item(b"a", 1), item(b"a", 1))),
    "out of order": ([put(1, b"a", 1), put(1, b"b", 1)], scan(item(b"b", 1), item(b"a", 1))),
    "old": ([put(1, b"a", 1), put(2, b"a", 2)], scan(item(b"a", 1))),
    "back again": ([put(1, b"a", 1), delete(2, b"a", 2)], scan(item(b"a", 1, seen=2))),
    "invented": ([put(1, b"a", 1)], scan(item(b"a", 1, 7))),
    "from the future": ([put(30, b"a", 1)], scan(item(b"a", 1))),
    "certainly not written": ([put(1, b"a", 1, outcome="failed", dot="")], scan(item(b"a", 1))),
    "whole in the end or red": ([], scan(is_complete=False, is_last=True)),
    "the core owes an answer": ([], scan(is_complete=False, is_of_core=True)),
}


def violations_of(writes: list[Operation], record: ScanRecord) -> list[str]:
    history = History(scans=[record], scan_writes=writes, lost=["lost"])
    return [violation.property for violation in check_scans(history, lambda key: key)]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_scan_is_found_sound(name: str) -> None:
    assert violations_of(*SOUND[name]) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_breach_is_found(name: str) -> None:
    assert violations_of(*BROKEN[name])
