"""How far the stages and tasks of a job are: what a coordinator tells and a client shows.  Pure values."""

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
