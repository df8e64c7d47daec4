"""The whole state of a job's state machine as a msgpack-able row, from which a machine goes on.

What a running attempt has told of its progress is not part of it: the next report tells it again.

Pure.  Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringmill.cluster.errors import from_wire, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.job_story import JobStory
from ringmill.cluster.mapreduce.machine.job_events import AttemptId, LoadMoved, Stage
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.lost_output import FetchReports
from ringmill.cluster.mapreduce.machine.stage_totals import StageChain
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState, Blame, Task
from ringmill.cluster.mapreduce.machine.workers import Workers
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput

__all__ = ["restored", "snapshot"]


def snapshot(machine: JobMachine) -> list[Any]:
    """The row of a machine."""
    plan, error = machine.plan, machine.error
    return [
        [plan.job, [split.to_wire() for split in plan.splits], plan.reducers, plan.bad_records],
        machine.state,
        [_task_row(task) for task in machine.maps],
        [_task_row(task) for task in machine.reduces],
        to_wire(error) if error is not None else None,
        list(machine.story),
        machine.retried,
        machine.takeovers,
        machine.workers.to_wire(),
        machine._reports.to_wire(),
        [machine.load.records, machine.load.born_ms],
        machine.is_paused,
        machine.chain.to_wire(),
    ]


def restored(row: Sequence[Any]) -> JobMachine:
    """The machine of a row.  Raises ValueError, TypeError or LookupError for what is none."""
    (
        (job, splits, reducers, bad),
        state,
        maps,
        reduces,
        error,
        story,
        retried,
        takeovers,
        workers,
        reports,
        load,
        is_paused,
        chain,
    ) = row
    machine = JobMachine(JobPlan(job, tuple(map(Split.from_wire, splits)), reducers, bad_records=bad))
    machine.state = state
    machine.maps = [_task("map", index, task) for index, task in enumerate(maps)]
    machine.reduces = [_task("reduce", index, task) for index, task in enumerate(reduces)]
    machine.error = from_wire(error) if error is not None else None
    machine.story = JobStory(story)
    machine.retried, machine.takeovers = retried, takeovers
    machine.workers = Workers.from_wire(workers)
    machine._reports = FetchReports.from_wire(reports)
    machine.load = LoadMoved(*load)
    machine.is_paused = is_paused
    machine.chain = StageChain.from_wire(chain)
    return machine


def _task_row(task: Task) -> list[Any]:
    winner = None if task.winner is None else task.winner.id.number
    charged = [[str(blame.value), count] for blame, count in task.charged.items()]
    attempts = [_attempt_row(attempt) for attempt in task.attempts]
    return [task.size, attempts, winner, task.not_before, charged]


def _attempt_row(attempt: Attempt) -> list[Any]:
    failure = None if attempt.failure is None else attempt.failure.to_wire()
    output = None if attempt.output is None else attempt.output.to_wire()
    sources = [[source.task, source.number] for source in attempt.sources]
    figures = None if attempt.figures is None else attempt.figures.to_wire()
    times = [attempt.began_at, attempt.ended_at]
    row = [
        attempt.id.number, attempt.node, attempt.start, sources, attempt.state.value, failure, output, times,
        attempt.is_backup, figures,
    ]  # fmt: skip
    return row if attempt.is_near is None else [*row, attempt.is_near]


def _task(stage: Stage, index: int, row: Sequence[Any]) -> Task:
    size, attempts, winner, not_before, charged = row
    task = Task(stage, index, size, [_attempt(stage, index, each) for each in attempts])
    task.winner = None if winner is None else task.attempt(winner)
    task.not_before = not_before
    task.charged = {Blame(blame): count for blame, count in charged}
    if task.winner is not None:
        task.winner.bytes_done = size
    return task


def _attempt(stage: Stage, index: int, row: Sequence[Any]) -> Attempt:
    number, node, start, sources, state, failure, output, times, is_backup, figures, *near = row
    began_at, ended_at = times
    read = tuple(AttemptId("map", task, source) for task, source in sources)
    attempt = Attempt(
        AttemptId(stage, index, number), NodeId(node), start, read, began_at, ended_at,
        is_backup, AttemptState(state), is_near=near[0] if near else None,
    )  # fmt: skip
    attempt.failure = None if failure is None else TaskFailed.from_wire(failure)
    attempt.figures = None if figures is None else AttemptFigures.from_wire(figures)
    if output is not None:
        attempt.output = (MapOutput if stage == "map" else ReduceOutput).from_wire(output)
    return attempt
