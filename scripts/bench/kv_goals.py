"""What single puts and gets of 100 B should reach on one machine, beside other stores in the same run.

Told when three nodes with three owners have synced puts of 100 B in a closed loop.  What was not measured
has no goal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from report import Cell, Report

__all__ = ["tell_goals"]

BUSY: Final = (64, 256)
CARRIERS: Final = {"grpc": "ringmill", "tcp": "ringmill tcp"}
RATES: Final = {("put", "grpc"): 1.25, ("put", "tcp"): 2, ("get", "grpc"): 2, ("get", "tcp"): 4}
"""Times etcd's rate, at 64 and at 256 in flight."""
CASSANDRA: Final = 3
"""Times Cassandra's rate, at 64 and at 256 in flight."""
SLOWEST: Final = 1
"""Times etcd's p99, at 64 and at 256 in flight."""
ALONE: Final = {"grpc": 1.3, "tcp": 1}
"""Times etcd's p50 with one request at a time."""
NODES_US: Final = {("put", "grpc"): 200, ("put", "tcp"): 140, ("get", "grpc"): 70, ("get", "tcp"): 40}
"""Microseconds of all nodes, at 256 in flight."""
FLOOR: Final = {64: 0.44, 256: 0.2}
"""Times the rate of the floor for puts over gRPC: twice what it was before frames were the unit of work."""

Row = Mapping[str, Cell]


class _Figures(NamedTuple):
    """The rows of one run by workload, requests in flight, and store."""

    rows: Mapping[tuple[object, object, object], Row]

    def of(self, workload: str, in_flight: int, store: str, figure: str) -> float | None:
        found = self.rows.get((workload, in_flight, store), {}).get(figure)
        return float(found) if isinstance(found, int | float) else None

    def beside(self, workload: str, in_flight: int, ours: str, other: str, figure: str) -> float | None:
        one, theirs = (self.of(workload, in_flight, store, figure) for store in (ours, other))
        return one / theirs if one is not None and theirs else None


class _Goal(NamedTuple):
    what: str
    measured: float | None
    goal: float
    unit: str
    is_least: bool = False


def tell_goals(report: Report) -> None:
    """Add the goals of a report's rows to its notes."""
    figures = _Figures({(row["case"], row["in_flight"], row["store"]): row for row in report.rows})
    for carrier, ours in CARRIERS.items():
        for workload in ("put", "get"):
            for what, measured, goal, unit, is_least in _goals(figures, carrier, ours, workload):
                if measured is not None:
                    report.goal(f"{workload}, {what} ({carrier})", measured, goal, unit, is_least=is_least)


def _goals(figures: _Figures, carrier: str, ours: str, workload: str) -> Iterator[_Goal]:
    alone = figures.beside(workload, 1, ours, "etcd", "p50_ms")
    yield _Goal("1 in flight: p50", alone, ALONE[carrier], "x etcd's")
    for in_flight in BUSY:
        name = f"{in_flight} in flight"
        rate = figures.beside(workload, in_flight, ours, "etcd", "per_s")
        yield _Goal(f"{name}: rate", rate, RATES[workload, carrier], "x etcd's", is_least=True)
        p99 = figures.beside(workload, in_flight, ours, "etcd", "p99_ms")
        yield _Goal(f"{name}: p99", p99, SLOWEST, "x etcd's")
        rate = figures.beside(workload, in_flight, ours, "cassandra", "per_s")
        yield _Goal(f"{name}: rate", rate, CASSANDRA, "x Cassandra's", is_least=True)
        if (workload, carrier) == ("put", "grpc"):
            rate = figures.beside(workload, in_flight, ours, "floor", "per_s")
            yield _Goal(f"{name}: rate", rate, FLOOR[in_flight], "x the floor's", is_least=True)
    nodes_us = figures.of(workload, BUSY[-1], ours, "nodes_us")
    yield _Goal(f"{BUSY[-1]} in flight: nodes", nodes_us, NODES_US[workload, carrier], "us")
