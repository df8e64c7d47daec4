"""Decodes a worker's report and checks that a worker could have sent it.

A report decides which files are served to reducers and moved into the output, so the coordinator checks all
that it can derive: a part must be in the folder of its attempt, or the report is refused.  Anything else
raises ProtocolMismatch.

Pure.  See: docs/formats/worker_messages.md; rule J32: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.commit.output_commit import staged_part
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptFailed,
    AttemptProgressed,
    MapDone,
    ReduceDone,
)
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, decode_reports
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.well_formed import text, well_formed, whole_number
from ringmill.cluster.ports import Incoming

__all__ = ["Reported", "event_of", "own_reports"]

Reported: TypeAlias = AttemptProgressed | AttemptFailed | MapDone | ReduceDone


def own_reports(incoming: Incoming) -> list[AttemptReport]:
    """What a worker says of its own attempts (rule J32).

    Raises PermissionDenied where it speaks for another node, ProtocolMismatch for what no worker sends.
    """
    reports = decode_reports(incoming.body)
    if reports[0].node != incoming.sender:
        raise PermissionDenied(f"{incoming.sender} reports on an attempt of {reports[0].node}, not its own")
    return reports


def event_of(report: AttemptReport, spec: JobSpec, maps: int) -> tuple[Reported, Sequence[str]]:
    """What the job's machine has to know of a report, and what the attempt's functions have logged.

    `maps` is the number of the job's maps.
    """
    if report.kind == "progress":
        bytes_done, status = _progress(report)
        return AttemptProgressed(report.attempt, bytes_done, status), ()
    figures = _figures(report)
    if report.kind == "failed":
        source = report.lost.source if report.lost else None
        return AttemptFailed(report.attempt, _failure(report, maps), source, figures), ()
    if report.attempt.stage == "map":
        mapped = _mapped(report, spec)
        return MapDone(report.attempt, replace(mapped, log=()), figures), mapped.log
    reduced = _reduced(report, spec)
    return ReduceDone(report.attempt, replace(reduced, log=()), figures), reduced.log


def _progress(report: AttemptReport) -> tuple[int, str]:
    """The bytes done, and the last status that the job's code set."""
    with well_formed("a report of progress"):
        bytes_done, _, status, _ = report.body
        return whole_number(bytes_done), text(status)


def _failure(report: AttemptReport, maps: int) -> TaskFailed:
    """The failure; for a lost slice also checks that one of the job's `maps` made it."""
    with well_formed("a report of a failure"):
        if report.lost is not None:
            whole_number(report.lost.task, most=maps - 1)
        return TaskFailed.from_wire(report.failure)


def _figures(report: AttemptReport) -> AttemptFigures | None:
    """What the attempt took; None when its worker does not say so."""
    with well_formed("a report's figures"):
        return None if report.figures is None else AttemptFigures.from_wire(report.figures)


def _mapped(report: AttemptReport, spec: JobSpec) -> MapOutput:
    with well_formed("a report of a map"):
        output = MapOutput.from_wire(report.body)
        wanted = 1 if spec.is_map_only else spec.partitions
        if len(output.partitions) != wanted:
            raise ValueError(f"{len(output.partitions)} partitions, the job has {wanted}")
        if spec.is_map_only and output.file != (part := staged_part(spec, report.attempt)):
            raise ValueError(f"a part at {output.file!r:.200} instead of {part}")
        return output


def _reduced(report: AttemptReport, spec: JobSpec) -> ReduceOutput:
    with well_formed("a report of a reduce"):
        output = ReduceOutput.from_wire(report.body)
        wanted = report.attempt.task, staged_part(spec, report.attempt)
        if (output.partition, output.file) != wanted:
            raise ValueError(f"part {output.partition!r:.20} at {output.file!r:.200} instead of {wanted[1]}")
        return output
