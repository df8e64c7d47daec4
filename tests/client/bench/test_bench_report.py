"""What the report says that figures do not: an open loop that is behind, and what was not sent."""

from __future__ import annotations

from collections import Counter

import pytest

from ringmill.client.bench import processor_time
from ringmill.client.bench.load import Load, Measured
from ringmill.client.bench.plan import BenchPlan, Cleaned
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import WORKLOADS
from ringmill.client.cli.bench.bench_report import BenchOutcome, caveats

LEVELS = {"w": None, "r": None, "durability": "synced", "keyspace": "default"}
PLAN = BenchPlan(WORKLOADS["put"], "uniform", 10, 16, Load(8, 20.0, rate_per_s=100.0))


def told(measured: Measured) -> str:
    return "\n".join(caveats(PLAN, BenchOutcome(measured, Cleaned(10, Counter()), 3, 3, 0), LEVELS))


@pytest.mark.parametrize(("operations", "ended", "is_told"), [(1800, 2000, False), (1700, 1700, True)])
def test_operations_that_were_refused_are_not_behind(operations: int, ended: int, is_told: bool) -> None:
    measured = Measured(20.0, operations, ended, errors=Counter(OVERLOADED=ended - operations))
    assert ("85 of 100 operations per second ended" in told(measured)) is is_told


def test_what_was_due_and_not_sent_is_reported() -> None:
    assert "due" not in told(Measured(20.0, 2000, 2000))
    assert "1,200 operations were due and could not be sent" in told(Measured(20.0, 2000, 2000, 1200))


def test_a_node_that_ends_meanwhile_takes_no_time_back(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {1: 5.0, 2: 7.0}
    monkeypatch.setattr(processor_time, "used_s", lambda pid: used.get(pid, 0.0))
    clock = ProcessorTime([1, 2])
    _, before = clock.read()
    used.pop(2)
    used[1] = 6.0
    assert clock.read()[1] - before == 1.0
