"""The JSON form of a job, which scripts may rely on, and its one-line form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringmill.client.jobs.job_values import JobState

__all__ = ["counted_fields", "job_document", "job_fields", "progress_line"]


def job_document(state: JobState) -> dict[str, Any]:
    return {
        "job": state.job,
        "name": state.name,
        "state": state.state,
        "node": state.node,
        "output": state.output,
        "seconds": round(state.seconds, 3),
        "tasks": {
            "map": state.stage("map").total,
            "reduce": state.stage("reduce").total,
            "retried": state.retried,
        },
        "records": dict(state.records),
        "counters": dict(state.counters),
    }


def job_fields(state: JobState) -> list[tuple[str, object]]:
    """The facts of a job that people look for, as names and values."""
    counts = ((one, one.total if state.is_over else f"{one.done}/{one.total}") for one in state.stages)
    stages = ", ".join(f"{count} {one.name}" for one, count in counts)
    return [
        ("job", state.job),
        ("state", state.state),
        ("output", state.output),
        ("took", f"{state.seconds:.1f} s"),
        ("tasks", f"{stages or 'not planned yet'}, {state.retried} retried"),
        *counted_fields(state.records, state.counters),
    ]


def counted_fields(records: Mapping[str, int], counters: Mapping[str, int]) -> list[tuple[str, object]]:
    """What went through a job, as names and values."""
    told = ", ".join(f"{name} {count}" for name, count in records.items())
    rows: list[tuple[str, object]] = [("records", told or "none yet")]
    return rows + [(f"counter {name}", count) for name, count in sorted(counters.items())]


def progress_line(state: JobState) -> str:
    """The progress of a job on one line."""
    stages = "  ".join(f"{one.name} {one.done}/{one.total}" for one in state.stages)
    retried = f"  {state.retried} retried" if state.retried else ""
    return f"{state.job}  {state.state}  {stages}{retried}  {state.seconds:.1f} s"
