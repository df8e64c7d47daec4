"""The events and instructions of a job's state machine.

Pure values.  node/jobs sends them over the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import StagePlace
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice, ReduceOutput

__all__ = [
    "NOT_LOADED",
    "AttemptFailed",
    "AttemptId",
    "AttemptProgressed",
    "AttemptStarted",
    "CancelAttempt",
    "CommitDelayed",
    "CommitDone",
    "CommitFailed",
    "CommitJob",
    "EndJob",
    "Event",
    "Instruction",
    "JobPhase",
    "KillRequested",
    "LoadMoved",
    "MapDone",
    "NodeDown",
    "NodeUp",
    "PauseRequested",
    "PlanStage",
    "ReduceDone",
    "ResumeRequested",
    "SliceSource",
    "StagePlanned",
    "StageRefused",
    "StagingLost",
    "StartMap",
    "StartReduce",
    "TakenOver",
    "Winner",
]

Stage: TypeAlias = Literal["map", "reduce"]
JobPhase: TypeAlias = Literal["PENDING", "RUNNING", "COMMITTING", "PLANNING", "SUCCEEDED", "FAILED", "KILLED"]
"""PLANNING is between two stages of a chain."""


class AttemptId(NamedTuple):
    """One attempt of one task of the job; numbers count from 1 and are never used twice."""

    stage: Stage
    task: int
    number: int

    def __str__(self) -> str:
        return f"{self.stage}-{self.task}.{self.number}"


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A worker is there.  `start` names its start: a new one means that it lost everything it had."""

    node: NodeId
    start: str


@dataclass(frozen=True, slots=True)
class NodeDown:
    """Membership says that a worker is dead."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt is given to a node; what a reduce reads follows from the maps that have won.

    `is_near` says of a map whether its input lies on the node, and is None where it lies on none (rule J23).
    """

    attempt: AttemptId
    node: NodeId
    is_near: bool | None = None


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    attempt: AttemptId
    bytes_done: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class MapDone:
    """A map attempt's output lies on its node and can be fetched."""

    attempt: AttemptId
    output: MapOutput
    figures: AttemptFigures | None = None


@dataclass(frozen=True, slots=True)
class ReduceDone:
    """A reduce attempt's part file is staged and synced."""

    attempt: AttemptId
    output: ReduceOutput
    figures: AttemptFigures | None = None


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt has failed.

    With cause FETCH_FAILED or CORRUPT_DATA, `source` names the map attempt that could not be read.
    """

    attempt: AttemptId
    failure: TaskFailed
    source: AttemptId | None = None
    figures: AttemptFigures | None = None


@dataclass(frozen=True, slots=True)
class StagingLost:
    """The folder of all reduce attempts is gone; `error` says why."""

    error: RingmillError


@dataclass(frozen=True, slots=True)
class KillRequested:
    """A user asked to kill the job."""


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """A user asked that the job begins nothing more for now (rule J21)."""


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """A user asked that a paused job goes on."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Another node coordinates the job from here on."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class CommitDone:
    """The output is visible, and on the disk."""


@dataclass(frozen=True, slots=True)
class StagePlanned:
    """The next stage of a chain may begin (rule J24).  `reducers` counts the partitions of its maps."""

    place: StagePlace
    splits: tuple[Split, ...]
    reducers: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageRefused:
    """The next stage of a chain cannot begin; `error` says why."""

    error: RingmillError


@dataclass(frozen=True, slots=True)
class CommitDelayed:
    """An error was met while the output was made visible, and the commit is repeated."""

    error: RingmillError


@dataclass(frozen=True, slots=True)
class LoadMoved:
    """The output's records before number `records` are in their keyspace.

    Those from there on are being put, under names that were born at `born_ms` (rule J18).
    """

    records: int
    born_ms: int


NOT_LOADED: Final = LoadMoved(0, 0)


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """The output does not show and will not; `error` says why."""

    error: RingmillError


Event: TypeAlias = (
    NodeUp
    | NodeDown
    | AttemptStarted
    | AttemptProgressed
    | MapDone
    | ReduceDone
    | AttemptFailed
    | StagingLost
    | KillRequested
    | PauseRequested
    | ResumeRequested
    | TakenOver
    | CommitDelayed
    | LoadMoved
    | CommitDone
    | CommitFailed
    | StagePlanned
    | StageRefused
)


@dataclass(frozen=True, slots=True)
class SliceSource:
    """Where a reducer fetches one map task's part of its input."""

    attempt: AttemptId
    node: NodeId
    file: str
    where: PartitionSlice


@dataclass(frozen=True, slots=True)
class StartMap:
    attempt: AttemptId
    node: NodeId
    split: Split
    memory_factor: int


@dataclass(frozen=True, slots=True)
class StartReduce:
    """`sources` are in the order of the map tasks, which is the order of values in a group."""

    attempt: AttemptId
    node: NodeId
    partition: int
    sources: tuple[SliceSource, ...]
    memory_factor: int


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """Stop an attempt if it runs, and drop its output; harmless when it has ended."""

    attempt: AttemptId
    node: NodeId


@dataclass(frozen=True, slots=True)
class Winner:
    """The attempt whose part becomes the output, and which map attempts it read (by task)."""

    attempt: AttemptId
    node: NodeId
    output: MapOutput | ReduceOutput  # of a map where nothing reduces
    sources: tuple[AttemptId, ...]


@dataclass(frozen=True, slots=True)
class CommitJob:
    """Commit the winners' parts as the output, then report CommitDone or CommitFailed.  Given once."""

    winners: tuple[Winner, ...]


@dataclass(frozen=True, slots=True)
class PlanStage:
    """Plan the next stage of the chain, then report StagePlanned or StageRefused."""


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job is over: nothing of it runs any more once the cancellations before this are carried out."""

    state: JobPhase
    error: RingmillError | None = None


Instruction: TypeAlias = StartMap | StartReduce | CancelAttempt | CommitJob | PlanStage | EndJob
