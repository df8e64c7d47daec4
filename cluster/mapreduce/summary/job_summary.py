"""The summary of a running or finished job: progress by bytes, tasks, records and counters.

Pure: computed from a job's state machine.  Records and counters are those of committed attempts only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.task_state import AttemptState, Task
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup, failure_groups
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary, TaskSummary

__all__ = ["MOST_TASKS", "JobSummary", "summarize"]

MOST_TASKS: Final = 5000


@dataclass(frozen=True, slots=True)
class JobSummary:
    """The state of a job at one moment."""

    state: str
    stages: tuple[StageSummary, ...]
    tasks: tuple[TaskSummary, ...]  # of a job of more than MOST_TASKS those that run
    records: Mapping[str, int]  # map_in, map_out, reduce_in, reduce_out, bad if some may be set aside
    counters: Mapping[str, int]
    retried: int
    story: tuple[str, ...]
    failures: tuple[FailureGroup, ...] = ()


def summarize(machine: JobMachine) -> JobSummary:
    """The job as it stands."""
    tasks = (*machine.maps, *machine.reduces)
    return JobSummary(
        "PAUSED" if machine.is_paused and machine.state in ("PENDING", "RUNNING") else machine.state,
        (_stage("map", machine.maps), _stage("reduce", machine.reduces)),
        tuple(map(_task, tasks if len(tasks) <= MOST_TASKS else [t for t in tasks if _is_at_work(t)])),
        _records(machine),
        _counters(tasks),
        machine.retried,
        tuple(machine.story),
        failure_groups(machine),
    )


def _is_at_work(task: Task) -> bool:
    return task.winner is None and task.is_running


def _stage(name: str, tasks: Sequence[Task]) -> StageSummary:
    done = sum(task.size if task.winner else _furthest(task) for task in tasks)
    return StageSummary(
        name,
        len(tasks),
        sum(task.winner is not None for task in tasks),
        sum(map(_is_at_work, tasks)),
        sum(task.size for task in tasks),
        done,
    )


def _furthest(task: Task) -> int:
    running = (a.bytes_done for a in task.attempts if a.state is AttemptState.RUNNING)
    return min(task.size, max(running, default=0))


def _task(task: Task) -> TaskSummary:
    state = "done" if task.winner else "running" if task.is_running else "waiting"
    last = task.winner or (task.attempts[-1] if task.attempts else None)
    failures = [attempt.failure for attempt in task.attempts if attempt.failure is not None]
    error = str(failures[-1]) if failures else ""
    return TaskSummary(task.name, state, len(task.attempts), last.node if last else "", error)


def _records(machine: JobMachine) -> dict[str, int]:
    records = {"map_in": 0, "map_out": 0, "reduce_in": 0, "reduce_out": 0}
    reduces = machine.reduces
    if machine.plan.bad_records:
        records["bad"], reduces = machine.bad_records, reduces[:-1]
    tasks = (*machine.maps, *reduces)
    for output in _outputs(tasks):
        stage = "map" if isinstance(output, MapOutput) else "reduce"
        records[f"{stage}_in"] += output.records_in
        records[f"{stage}_out"] += output.records_out
    return records


def _counters(tasks: Sequence[Task]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for output in _outputs(tasks):
        total.update(output.counters)
    return dict(total)


def _outputs(tasks: Sequence[Task]) -> list[MapOutput | ReduceOutput]:
    winners = [task.winner for task in tasks if task.winner is not None]
    return [winner.output for winner in winners if winner.output is not None]
