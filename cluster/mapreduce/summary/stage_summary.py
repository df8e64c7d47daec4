"""The progress of a job's stages and tasks, which a coordinator reports and a client shows.  Pure values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StageSummary", "TaskSummary"]


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage ("map", "reduce"): its tasks, and the bytes they read."""

    name: str
    total: int
    done: int
    running: int
    bytes_total: int
    bytes_done: int


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task ("map-3"): "waiting", "running" or "done"; `node` is where it runs or ran last."""

    task: str
    state: str
    attempts: int
    node: str
    last_error: str
