"""The JSON form of a job that scripts may rely on, and its one-line form."""

from __future__ import annotations

from typing import Any

from client.job_values import JobState

__all__ = ["job_document", "progress_line"]


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
            "backup": state.backup,
        },
        "records": dict(state.records),
        "counters": dict(state.counters),
    }


def progress_line(state: JobState) -> str:
    """Where a job stands, on one line."""
    stages = "  ".join(f"{one.name} {one.done}/{one.total}" for one in state.stages)
    retried = f"  {state.retried} retried" if state.retried else ""
    return f"{state.job}  {state.state}  {stages}{retried}  {state.seconds:.1f} s"
