"""The JSON form of an attempt, which scripts may rely on, and the rows of `job status --tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringmill.client.cli.jobs.explain.explain_text import size_text
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary

__all__ = ["attempt_document", "task_rows"]

_PLACES = 6  # microseconds


def attempt_document(attempt: AttemptSummary) -> dict[str, Any]:
    figures = attempt.figures
    return {
        "task": attempt.task,
        "attempt": attempt.attempt,
        "node": attempt.node,
        "state": attempt.state,
        "counts": attempt.counts,
        "backup": attempt.is_backup,
        "began_s": round(attempt.began_s, _PLACES),
        "ended_s": None if attempt.ended_s is None else round(attempt.ended_s, _PLACES),
        "phases_s": {name: round(spent, _PLACES) for name, spent in figures.phases.items()},
        "cpu_s": round(figures.cpu_s, _PLACES),
        "peak_bytes": figures.peak_bytes,
        "containment": figures.containment,
        "near": attempt.is_near,
        "bytes_in": attempt.bytes_in,
        "bytes_done": attempt.bytes_done,
        "bytes_out": attempt.bytes_out,
        "records_in": attempt.records_in,
        "records_out": attempt.records_out,
        "spills": attempt.spills,
        "bytes_travelled": attempt.bytes_travelled,
        "bytes_unpacked": attempt.bytes_unpacked,
        "cause": attempt.cause,
        "error": attempt.error,
    }


def task_rows(state: JobState, attempts: Sequence[AttemptSummary]) -> list[tuple[object, ...]]:
    """Task, state, attempts, node, time, bytes in, bytes out, peak memory, last error."""
    shown = {each.task: each for each in attempts}
    shown.update({each.task: each for each in attempts if each.counts})
    rows: list[tuple[object, ...]] = []
    for task in state.tasks:
        one = shown.get(task.task)
        took = "" if one is None else f"{one.seconds(state.seconds):.2f} s"
        sizes = ("", "") if one is None else (size_text(one.bytes_in), size_text(one.bytes_out))
        peak = one.figures.peak_bytes >> 20 if one is not None else 0
        memory = f"{peak} MiB" if peak else ""
        rows.append((task.task, task.state, task.attempts, task.node, took, *sizes, memory, task.last_error))
    return rows
