"""Faults in the log: the first in full, the others as a count that is told, at the level of the first."""

from __future__ import annotations

import logging

import pytest

from ringmill.cluster.complaints import EVERY_S, MOST_KINDS, Complaints
from ringmill.cluster.errors import PermissionDenied
from tests.log_records import own_records


class Watch:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(record.levelname, record.getMessage()) for record in own_records(caplog)]
    caplog.clear()
    return found


def test_the_count_of_a_burst_is_reported_by_the_next_complaint_of_any_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch()
    complaints = Complaints("n1", watch)
    for _ in range(1000):
        complaints.add("Kv/Put", PermissionDenied("expired"), by="a client")
        watch.now += 0.05
    assert told(caplog) == [("WARNING", "n1: Kv/Put of a client was refused: expired")]
    watch.now = 3600.0
    complaints.add("Kv/Get", ValueError("a fault"))
    assert told(caplog) == [
        ("WARNING", "n1: Kv/Put was refused 999 times more in 50 s, the last time of a client: "
         "PermissionDenied('expired')"),
        ("ERROR", "n1: Kv/Get failed"),
    ]  # fmt: skip


def test_whoever_fails_all_the_time_is_counted_once_a_minute_and_two_bursts_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch()
    complaints = Complaints("n1", watch)
    for _ in range(4 * 121):
        complaints.add("Kv/Get", ValueError("a fault"))
        watch.now += 0.25
    again = [("ERROR", f"n1: Kv/Get failed 240 times more in {EVERY_S:.0f} s: ValueError('a fault')")] * 2
    assert told(caplog) == [("ERROR", "n1: Kv/Get failed"), *again]
    watch.now += 3600.0
    complaints.add("Kv/Get", ValueError("a fault"))
    (burst, late) = told(caplog)
    assert "3 times more in 1 s" in burst[1] and "1 times more in 3600 s" in late[1]


def test_a_kind_that_has_to_go_tells_its_count_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    complaints = Complaints("n1", Watch())
    for _ in range(3):
        complaints.add("scrub", OSError("away"), has_trace=False)
    for sort in range(MOST_KINDS):
        complaints.add("Kv/Get", PermissionDenied("no"), by="a client", sort=str(sort))
    assert ("WARNING", "n1: scrub failed again, 2 times in 0 s: OSError('away')") in told(caplog)
