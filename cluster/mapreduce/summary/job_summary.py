"""The summary of a running or finished job: progress by bytes, tasks, records and counters.

Pure: computed from a job's state machine.  Records and counters are those of committed attempts only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ringmill.cluster.mapreduce.context import MOST_COUNTERS
from ringmill.cluster.mapreduce.heavy_keys import KeyShare
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.stage_totals import FinishedStage, first_names, records_of
from ringmill.cluster.mapreduce.machine.task_state import AttemptState, Task
from ringmill.cluster.mapreduce.summary.chain_summary import MOST_STAGES
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup, failure_groups
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary, TaskSummary

__all__ = ["MOST_TASKS", "OPEN", "JobSummary", "summarize"]

MOST_TASKS: Final = 5000
_MOST_TOLD: Final = (1 << 63) - 1

OPEN: Final = "OPEN"
"""The state of a job in a list when all that is known is that it is not over."""


PassesOn: TypeAlias = Callable[[int, int], bool]
"""Whether reduces of the stage of a link, after a number of others, write what its maps have rendered."""


def _nowhere(link: int, passed: int) -> bool:
    return False


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
    heavy_keys: tuple[KeyShare, ...] = ()  # of the present stage, once its maps are done


def summarize(machine: JobMachine, passes_on: PassesOn = _nowhere) -> JobSummary:
    """The job as it stands."""
    tasks, counters = (*machine.maps, *machine.reduces), _counters(machine)
    return JobSummary(
        "PAUSED"
        if machine.is_paused and machine.state in ("PENDING", "RUNNING", "PLANNING")
        else machine.state,
        (*_stages_over(machine), _stage("map", machine.maps), _stage("reduce", machine.reduces)),
        tuple(map(_task, tasks if len(tasks) <= MOST_TASKS else [t for t in tasks if _is_at_work(t)])),
        _records(machine, passes_on),
        counters,
        machine.retried,
        _story(machine, counters),
        failure_groups(machine),
        machine.chain.heavy_keys(machine.maps, machine.plan),
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


def _records(machine: JobMachine, passes_on: PassesOn = _nowhere) -> dict[str, int]:
    link, _, present = machine.chain.place
    reduces = machine.reduces[:-1] if machine.plan.bad_records else machine.reduces
    records = _seen(records_of(machine.maps, reduces), passes_on=passes_on(link, present))
    for passed, each in enumerate(_over(machine)):
        seen = _seen(each.records, passes_on=passes_on(each.link, passed))
        records = {name: count + seen[name] for name, count in records.items()}
    if machine.plan.bad_records:
        records["bad"] = machine.bad_records
    return _told(records)


def _seen(records: Mapping[str, int], *, passes_on: bool) -> dict[str, int]:
    """With the records that went into reduces also where these have counted batches of them."""
    return {**records, "reduce_in": records["reduce_out"]} if passes_on else dict(records)


def _counters(machine: JobMachine) -> dict[str, int]:
    total = Counter(machine.chain.counts.first((*machine.maps, *machine.reduces)))
    for each in _over(machine):
        total.update(each.counters)
    return _told(first_names(total))


def _story(machine: JobMachine, counters: Mapping[str, int]) -> tuple[str, ...]:
    if len(counters) < MOST_COUNTERS:
        return tuple(machine.story)
    told = f"the job counts {MOST_COUNTERS:,} names or more; the first {MOST_COUNTERS:,}, by name, are told"
    return *machine.story, told


def _told(sums: Mapping[str, int]) -> dict[str, int]:
    """Those of many stages together may be more than what is told has room for."""
    return {name: max(-_MOST_TOLD, min(total, _MOST_TOLD)) for name, total in sums.items()}


def _over(machine: JobMachine) -> list[FinishedStage]:
    """The stages of a chain that are over, but for the one that its tasks are still those of."""
    passed = machine.chain.place.passed
    return machine.chain.over[:passed]


def _stages_over(machine: JobMachine) -> Iterator[StageSummary]:
    """The last stages of a chain that are over, of which nothing runs any more."""
    for number, each in [*enumerate(_over(machine), 1)][-MOST_STAGES:]:
        rows = (("map", each.maps, each.map_bytes), ("reduce", each.reduces, each.reduce_bytes))
        for name, tasks, size in rows:
            yield StageSummary(f"{number}:{name}", tasks, tasks, 0, size, size)
