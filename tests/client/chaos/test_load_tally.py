"""What is told of a load: errors by code, expected or not, and the worst gap without an answer."""

from __future__ import annotations

from typing import Any

from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.local.checked_load import KeyStep


def ended(invoked: float, returned: float, **more: Any) -> KeyStep:
    return KeyStep("get", b"k", 1, invoked, returned, **{"outcome": "ok", **more})


def failed(invoked: float, returned: float) -> KeyStep:
    return ended(invoked, returned, outcome="failed", error="UNAVAILABLE: nobody answers")


def test_errors_are_expected_only_while_more_nodes_are_away_than_a_quorum_can_spare() -> None:
    tally = LoadTally()
    tally.begin(0.0)
    tally.note(failed(1.0, 2.0))
    tally.begin_excess()
    tally.note(failed(2.0, 3.0))
    tally.end_excess(5.0)
    tally.note(failed(4.9, 7.0))  # it was under way meanwhile
    tally.note(failed(5.1, 7.0))
    assert dict(tally.unexpected) == {"UNAVAILABLE": 2}
    assert dict(tally.expected) == {"UNAVAILABLE": 2}
    assert (tally.requests, tally.errors) == (4, 4)


def test_errors_that_no_fault_excuses_are_breaches() -> None:
    tally = LoadTally()
    tally.begin(0.0)
    tally.begin_excess()
    tally.note(failed(1.0, 2.0))
    for error in ("INTERNAL: KeyError: 'row'", "INTERNAL: KeyError: 'column'", "CORRUPT_DATA: a block"):
        tally.note(ended(1.0, 2.0, outcome="unknown", error=error))
    tally.note(ended(1.0, 2.0, outcome="unknown", error="INTERNAL: n1: Stream removed (gRPC UNKNOWN)"))
    assert dict(tally.expected) == {"UNAVAILABLE": 1, "INTERNAL": 3, "CORRUPT_DATA": 1}
    assert tally.breaches == (
        "2 requests ended with INTERNAL: KeyError: 'row'",
        "1 request ended with CORRUPT_DATA: a block",
    )


def test_the_worst_gap_ends_with_an_answer_or_with_the_load() -> None:
    tally = LoadTally()
    tally.begin(10.0)
    tally.note(ended(10.0, 12.0))
    tally.note(failed(12.0, 14.5))  # is no answer
    tally.note(ended(14.5, 15.0))
    assert (tally.worst_gap_s, tally.worst_gap_at) == (3.0, 12.0)
    tally.look_at_gap(20.0)
    assert (tally.worst_gap_s, tally.worst_gap_at) == (5.0, 15.0)


def test_what_is_asked_after_the_load_does_not_count() -> None:
    tally = LoadTally()
    tally.begin(0.0)
    tally.note(ended(0.0, 1.0))
    tally.end()
    tally.note(ended(90.0, 99.0))
    assert (tally.requests, tally.worst_gap_s) == (1, 1.0)
    assert 990 < tally.percentile_ms(0.99) < 1011
