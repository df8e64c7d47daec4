"""The values that show jobs to people and programs; the jobs themselves do not use them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ringmill.cluster.errors import JobFailed, JobKilled, RingmillError, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_passes_on
from ringmill.cluster.mapreduce.api.chains.stages import may_ask
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.messages.reach import uses_network
from ringmill.cluster.mapreduce.summary.chain_summary import ChainSummary, chain_summary
from ringmill.cluster.mapreduce.summary.job_flow import NO_FLOW, JobFlow, flow_of
from ringmill.cluster.mapreduce.summary.job_summary import JobSummary, summarize
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.mapreduce.summary.time_left import TimeLeft, time_left

__all__ = ["AttemptLog", "CoordinatorView", "JobView", "ListView", "view_of", "without_tasks"]


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The output of one ended attempt; `cause` is "" when it succeeded."""

    task: str
    attempt: int
    node: NodeId
    cause: str
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorView:
    """Who coordinates jobs: `node` is None when nobody does.  `term` is that of the last one."""

    node: NodeId | None
    term: int
    open_jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """The state of a job at one moment."""

    job: str
    title: str  # module:object
    node: NodeId  # keeps the job
    output: str
    submitted_at: float  # wall clock, seconds
    seconds: float
    summary: JobSummary
    error: list[Any] | None  # ringmill.cluster.errors.to_wire, when FAILED or KILLED
    left: TimeLeft | None = None
    weight: int = 1
    flow: JobFlow = NO_FLOW
    chain: ChainSummary | None = None  # of a chain, where it is
    network: bool = False  # whether its tasks may open connections
    lacks: tuple[NodeLack, ...] = ()  # of nodes that offer no slots, while it is not over

    @property
    def state(self) -> str:
        """PENDING, RUNNING, PAUSED, SUCCEEDED, FAILED or KILLED; committing and planning are running, too.
        In a list also OPEN."""
        return "RUNNING" if self.summary.state in ("COMMITTING", "PLANNING") else self.summary.state

    @property
    def why(self) -> str:
        """The message of its error, "" without one."""
        return "" if self.error is None else str(self.error[1])

    @property
    def is_over(self) -> bool:
        return self.state in {"SUCCEEDED", "FAILED", "KILLED"}

    def running(self) -> JobView:
        """The same of a job whose end may not be told yet."""
        return replace(
            self, summary=replace(self.summary, state="RUNNING"), error=None, left=None, flow=NO_FLOW
        )


@dataclass(frozen=True, slots=True)
class ListView:
    """The jobs that a node knows, newest first.  `term` is that of the coordinator that wrote the cluster's
    list last; 0 when it could not be read."""

    jobs: tuple[JobView, ...]
    term: int


def view_of(job: StoredJob, node: NodeId, crash: RingmillError | None = None) -> JobView:
    """A job as its state machine has it; `crash` is a fault of its coordinator that ended it."""
    machine, spec = job.machine, job.spec
    error, summary = machine.error, summarize(machine, partial(stage_passes_on, spec))
    if crash is not None:
        error, summary = crash, replace(summary, state="FAILED")
    if machine.state == "KILLED":
        error = JobKilled(f"job {spec.job} was killed", detail={"job": spec.job})
    asks = bool(spec.chain) and may_ask(spec.chain[machine.chain.place.link], machine.chain.place)
    return JobView(
        job=spec.job,
        title=spec.title,
        node=node,
        output=spec.shown_output,
        submitted_at=job.submitted_at,
        seconds=job.at,
        summary=summary,
        weight=spec.weight,
        network=uses_network(spec),
        flow=flow_of(machine),
        error=to_wire(_with_replay(error, spec)) if error is not None else None,
        chain=chain_summary(machine, job.at),
        left=time_left(machine, job.at, asks=asks) if crash is None else None,
    )


def _with_replay(error: RingmillError, spec: JobSpec) -> RingmillError:
    """An error of the job's code in a map, with how to see it happen."""
    task, cause = error.detail.get("task", ""), error.detail.get("cause", "")
    if cause != Cause.USER_ERROR or not str(task).startswith("map-") or error.hint or spec.reads_keyspace:
        return error
    flags = " --pdb" if error.detail.get("frames") else ""  # else there is no line at which pdb could stop
    hint = f"`ringmill job replay {spec.job} {task}{flags}` runs the task again where you type it"
    return JobFailed(error.message, detail=error.detail, hint=hint)


def without_tasks(machine: JobMachine) -> JobMachine:
    """What is left of a job that is over: it ended so, and none of its tasks is known any more."""
    plan = replace(machine.plan, splits=(), reducers=0)
    return JobMachine(plan, machine.state, machine.error)
