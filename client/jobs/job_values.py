"""The values a user gets about a job: its state, its error, the logs of its attempts.

Plain values, made from the messages of proto/jobs.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, overload

import msgpack

from ringmill.cluster.errors import JobFailed, JobKilled, RingmillError, from_wire
from ringmill.cluster.mapreduce.attempt_figures import PHASES, AttemptFigures
from ringmill.cluster.mapreduce.heavy_keys import KeyShare
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.chain_summary import ChainStage, ChainSummary
from ringmill.cluster.mapreduce.summary.failure_groups import FailureGroup
from ringmill.cluster.mapreduce.summary.job_flow import NO_FLOW, JobFlow
from ringmill.cluster.mapreduce.summary.job_summary import OPEN
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary, TaskSummary
from ringmill.cluster.mapreduce.summary.time_left import TimeLeft
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = [
    "ENDED",
    "CoordinatorState",
    "JobList",
    "JobState",
    "TaskLog",
    "attempt_summary",
    "how_much_tells",
    "job_state",
    "task_log",
]

ENDED: Final = ("SUCCEEDED", "FAILED", "KILLED")
_FLOW: Final = ("map_in", "map_out", "reduce_in", "reduce_out")


@dataclass(frozen=True, slots=True)
class CoordinatorState:
    """Which node coordinates the jobs, "" when nobody does; the term of the last one; the jobs that are not
    over."""

    node: str
    term: int
    open_jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskLog:
    """The output of one attempt, and the cause of its failure ("" when it succeeded)."""

    task: str
    attempt: int
    node: str
    cause: str
    output: bytes


@dataclass(frozen=True, slots=True)
class JobState:
    """A job at one moment.

    `state` is PENDING, RUNNING, PAUSED, SUCCEEDED, FAILED or KILLED; `node` coordinates it.  Where the
    coordinator does not answer, `node` is "", and the rest is what the job's journal has: not how far
    attempts are.  In a list such a job is OPEN: not over.
    """

    job: str
    name: str
    state: str
    node: str
    output: str
    seconds: float
    submitted_at: float
    stages: tuple[StageSummary, ...]
    tasks: tuple[TaskSummary, ...]
    retried: int
    records: Mapping[str, int]
    counters: Mapping[str, int]
    events: tuple[str, ...]
    error: RingmillError | None
    failures: tuple[FailureGroup, ...] = ()
    weight: int = 1  # of its share of the slots, beside other jobs
    flow: JobFlow = NO_FLOW  # what went through it as a whole
    chain: ChainSummary | None = None  # of a pipeline, where it is; None in a list
    network: bool = False  # whether its tasks may open connections where nodes contain them
    left: TimeLeft | None = None  # how long it will probably still take, when that can be said
    heavy_keys: tuple[KeyShare, ...] = ()  # by which a reduce has more to do than others; not in a list
    lacks: tuple[NodeLack, ...] = ()  # of nodes that offer no slots, while it is not over; not in a list
    collected: tuple[tuple[Any, Any], ...] = field(default=(), repr=False)  # of `run` with CollectOutput

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    @property
    def is_of_journal(self) -> bool:
        """Whether this is what the journal of a job has that is not over, as its coordinator did not
        answer."""
        return not self.node and not self.is_over and self.state != OPEN

    @property
    def ended_at(self) -> float | None:
        """Wall clock in seconds, of a job that is over."""
        return self.submitted_at + self.seconds if self.is_over else None

    def raise_unless_succeeded(self) -> None:
        """Raises JobFailed with the error of the task, or JobKilled."""
        if self.state == "KILLED":
            raise JobKilled(f"job {self.job} was killed", detail={"job": self.job})
        if self.state == "FAILED":
            raise self.error or JobFailed(f"job {self.job} failed", detail={"job": self.job})

    def to_dict(self) -> dict[str, object]:
        """The state as JSON values; `error` is None or has code, message and hint."""
        error = self.error
        return {
            "job": self.job,
            "name": self.name,
            "state": self.state,
            "node": self.node,
            "of_journal": self.is_of_journal,
            "output": self.output,
            "seconds": self.seconds,
            "submitted_at": self.submitted_at,
            "stages": [asdict(stage) for stage in self.stages],
            "tasks": [asdict(task) for task in self.tasks],
            "retried": self.retried,
            "records": dict(self.records),
            "counters": dict(self.counters),
            "events": list(self.events),
            "failures": [asdict(group) for group in self.failures],
            "weight": self.weight,
            "network": self.network,
            "flow": self.flow._asdict(),
            "chain": None if self.chain is None else asdict(self.chain),
            "left": None if self.left is None else asdict(self.left),
            "heavy_keys": [each._asdict() for each in self.heavy_keys],
            "lacks": [each._asdict() for each in self.lacks],
            "error": None
            if error is None
            else {"code": error.code, "message": error.message, "hint": error.hint},
        }

    @property
    def present_stages(self) -> tuple[StageSummary, ...]:
        """The maps and the reduces of where the job is: of a pipeline those of its present or last stage."""
        return self.stages if self.chain is None else self.stages[-2:]

    def stage(self, name: str) -> StageSummary:
        """The stage of that name; an empty one before the job was planned."""
        return next((one for one in self.stages if one.name == name), StageSummary(name, 0, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class JobList(Sequence[JobState]):
    """Jobs, newest first.

    `silent` names members that did not answer; the jobs they coordinate are OPEN, or missing where nobody
    could read the list of jobs.  `term` is that of the coordinator that wrote this list last, 0 if it is not
    known.
    """

    jobs: tuple[JobState, ...]
    silent: tuple[str, ...] = ()
    term: int = 0

    @property
    def open_jobs(self) -> tuple[str, ...]:
        """The jobs that are not over, and that no member which answered coordinates."""
        return tuple(one.job for one in self.jobs if one.state == OPEN)

    @property
    def over(self) -> tuple[JobState, ...]:
        """The history: those that are over, newest first."""
        return tuple(one for one in self.jobs if one.is_over)

    @overload
    def __getitem__(self, index: int) -> JobState: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[JobState, ...]: ...

    def __getitem__(self, index: int | slice) -> JobState | tuple[JobState, ...]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)


def job_state(message: jobs_pb2.JobStatus) -> JobState:
    return JobState(
        job=message.job,
        name=message.name,
        state=message.state,
        node=message.node,
        output=message.output,
        seconds=message.seconds,
        submitted_at=message.submitted_at,
        stages=tuple(
            StageSummary(one.name, one.total, one.done, one.running, one.bytes_total, one.bytes_done)
            for one in message.stages
        ),
        tasks=tuple(
            TaskSummary(one.task, one.state, one.attempts, one.node, one.last_error) for one in message.tasks
        ),
        retried=message.retried,
        records=_in_order_of_flow(message.records),
        counters=dict(sorted(message.counters.items())),
        events=tuple(message.events),
        error=_error(message),
        failures=tuple(FailureGroup(one.cause, one.error, one.count, one.first) for one in message.failures),
        weight=message.weight,
        network=message.network,
        flow=JobFlow(
            message.flow.records_in, message.flow.bytes_in, message.flow.records_out, message.flow.bytes_out
        ),
        chain=_chain(message.chain) if message.HasField("chain") else None,
        left=TimeLeft(message.left_least_s, message.left_most_s) if message.HasField("left_most_s") else None,
        heavy_keys=tuple(KeyShare(one.key, one.task, one.records, one.share) for one in message.heavy_keys),
        lacks=tuple(NodeLack(one.node, one.why) for one in message.lacks),
    )


def how_much_tells(state: JobState) -> int:
    """How much an answer tells of a job: whoever coordinates it knows its stages, others only whether it is
    over."""
    return 2 if state.stages else int(state.state != OPEN)


def _chain(message: jobs_pb2.ChainStatus) -> ChainSummary:
    return ChainSummary(
        jobs=message.jobs,
        job=message.job,
        round=message.round,
        most_rounds=message.most_rounds,
        over=message.over,
        stages=tuple(
            ChainStage(
                stage=one.stage, job=one.job, round=one.round, began_s=one.began_s,
                ended_s=one.ended_s if one.HasField("ended_s") else None, maps=one.maps,
                reduces=one.reduces, bytes_in=one.bytes_in, records_in=one.records_in,
                records_out=one.records_out,
            )
            for one in message.stages
        ),
    )  # fmt: skip


def attempt_summary(message: jobs_pb2.AttemptStatus) -> AttemptSummary:
    phases = {name: message.phases_s[name] for name in PHASES if name in message.phases_s}
    return AttemptSummary(
        task=message.task,
        attempt=message.attempt,
        node=message.node,
        state=message.state,
        counts=message.counts,
        began_s=message.began_s,
        ended_s=message.ended_s if message.HasField("ended_s") else None,
        bytes_in=message.bytes_in,
        bytes_done=message.bytes_done,
        bytes_out=message.bytes_out,
        records_in=message.records_in,
        records_out=message.records_out,
        spills=message.spills,
        figures=AttemptFigures(phases, message.cpu_s, message.peak_bytes, message.containment),
        cause=message.cause,
        error=message.error,
        bytes_travelled=message.bytes_travelled,
        bytes_unpacked=message.bytes_unpacked,
        is_backup=message.backup,
        is_near=message.near if message.HasField("near") else None,
    )


def task_log(message: jobs_pb2.TaskLog) -> TaskLog:
    return TaskLog(message.task, message.attempt, message.node, message.cause, message.output)


def _error(message: jobs_pb2.JobStatus) -> RingmillError | None:
    if not message.error:
        return None
    error = from_wire(msgpack.unpackb(message.error))
    error.detail.setdefault("job", message.job)
    error.hint = error.hint or f"ringmill job logs {message.job}"
    return error


def _in_order_of_flow(records: Mapping[str, int]) -> dict[str, int]:
    """Sort counters for people: records in the order they flow, then the others by name (protobuf has no
    order)."""
    known = [name for name in _FLOW if name in records]
    return {name: records[name] for name in [*known, *sorted(set(records) - set(_FLOW))]}
