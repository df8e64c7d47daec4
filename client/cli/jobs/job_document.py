"""The JSON form of a job, which scripts may rely on, and its one-line form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary

__all__ = [
    "counted_fields", "failure_lines", "history_document", "job_document", "job_fields", "journal_note",
    "progress_line", "stage_counts",
]  # fmt: skip

FAILURES_SHOWN = 5
FAILURE_CHARS = 200


def _named(state: JobState) -> dict[str, Any]:
    return {
        "job": state.job,
        "name": state.name,
        "state": state.state,
        "node": state.node,
        "output": state.output,
    }


def job_document(state: JobState) -> dict[str, Any]:
    return {
        **_named(state),
        "of_journal": state.is_of_journal,
        "weight": state.weight,
        "network": state.network,
        "seconds": round(state.seconds, 3),
        "left": None if state.left is None else asdict(state.left),
        "tasks": {
            "map": state.stage("map").total,
            "reduce": state.stage("reduce").total,
            "retried": state.retried,
        },
        "records": dict(state.records),
        "counters": dict(state.counters),
        "chain": None if state.chain is None else asdict(state.chain),
        "heavy_keys": [each._asdict() for each in state.heavy_keys],
        "lacks": [each._asdict() for each in state.lacks],
    }


def journal_note(job: str) -> str:
    """What is said beside a state that is of the journal."""
    return (
        f"the coordinator of {job} does not answer: this is what the journal of the job has; it goes on with "
        "the next one"
    )


def history_document(state: JobState) -> dict[str, Any]:
    """A job that is over, as its end is kept: the same from every node."""
    flow = state.flow
    return {
        **_named(state),
        "submitted_at": round(state.submitted_at, 3),
        "ended_at": state.ended_at and round(state.ended_at, 3),
        "seconds": round(state.seconds, 3),
        "records": {"in": flow.records_in, "out": flow.records_out},
        "bytes": {"in": flow.bytes_in, "out": flow.bytes_out},
        "retried": state.retried,
        "error": None if state.error is None else state.error.message.partition("\n")[0],
    }


def job_fields(state: JobState) -> list[tuple[str, object]]:
    """The facts of a job that people look for, as names and values."""
    counts = (
        (one, one.total if state.is_over else f"{one.done}/{one.total}") for one in state.present_stages
    )
    stages = ", ".join(f"{count} {one.name}" for one, count in counts)
    return [
        ("job", state.job),
        ("state", state.state),
        ("output", state.output),
        ("took", f"{state.seconds:.1f} s" + (f", {state.left}" if state.left is not None else "")),
        *([("chain", str(state.chain))] if state.chain is not None else []),
        ("tasks", f"{stages or 'not planned yet'}, {state.retried} retried"),
        *(("no slots", f"{each.node}: {each.why}") for each in state.lacks),
        *([("weight", state.weight)] if state.weight != 1 else []),
        *([("network", "its tasks may open connections")] if state.network else []),
        *counted_fields(state.records, state.counters),
    ]


def counted_fields(records: Mapping[str, int], counters: Mapping[str, int]) -> list[tuple[str, object]]:
    """What went through a job, as names and values."""
    counts = ", ".join(f"{name} {count}" for name, count in records.items())
    rows: list[tuple[str, object]] = [("records", counts or "none yet")]
    return rows + [(f"counter {name}", count) for name, count in sorted(counters.items())]


def failure_lines(groups: Sequence[FailureGroup], least: int = 2) -> list[str]:
    """The failures of a job's attempts in groups, from `least` on: the error of a job tells one anyway."""
    if sum(group.count for group in groups) < least:
        return []
    lines = [f"  {_short(str(group))}" for group in groups[:FAILURES_SHOWN]]
    more = [f"  and {len(groups) - FAILURES_SHOWN} more kinds"] if len(groups) > FAILURES_SHOWN else []
    return ["failures of attempts:", *lines, *more]


def _short(text: str) -> str:
    return text if len(text) <= FAILURE_CHARS else f"{text[: FAILURE_CHARS - 3]}..."


def progress_line(state: JobState) -> str:
    """The progress of a job on one line."""
    stages = "  ".join(f"{one.name} {one.done}/{one.total}{_percent(one)}" for one in state.present_stages)
    chain = f"  {state.chain}" if state.chain is not None else ""
    retried = f"  {state.retried} retried" if state.retried else ""
    left = f"  {state.left}" if state.left is not None else ""
    return f"{state.job}  {state.state}{chain}  {stages}{retried}  {state.seconds:.1f} s{left}"


def _percent(stage: StageSummary) -> str:
    """How far a stage is that has begun and is not done; never 100 %."""
    if not stage.bytes_total or stage.done == stage.total or not stage.bytes_done:
        return ""
    return f" ({min(99, 100 * stage.bytes_done // stage.bytes_total)}%)"


def stage_counts(job: JobState) -> list[str]:
    """Done of all, by stage; unknown before a job is planned, and of one that a former coordinator ended."""
    stages = [job.stage(name) for name in ("map", "reduce")]
    if not any(stage.total for stage in stages):
        return ["-", "-"]
    return [f"{stage.done}/{stage.total}" for stage in stages]
