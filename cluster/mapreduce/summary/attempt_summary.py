"""What is told of each attempt of a job: when and where it ran, what it took, what went through it.

Pure: computed from a job's state machine.  A reduce that passes on what maps have rendered counts batches;
what is told is records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState, Task
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput

__all__ = ["AttemptSummary", "attempts_of"]

_NO_FIGURES = AttemptFigures()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSummary:
    """One attempt.  Times are seconds since the job was submitted; sizes are bytes.

    `state` is "running", "lost" (its node is down), "done", "failed" or "cancelled".  `counts` says that its
    output is that of its task.  `bytes_in` of one that runs is what it will read, and `bytes_done` how far it
    is.  Records are known of one that is done; of a map, `bytes_out` is what it left for the reduces.
    """

    task: str  # "map-3"
    attempt: int
    node: str
    state: str
    counts: bool
    began_s: float
    ended_s: float | None  # None while it runs
    bytes_in: int = 0
    bytes_done: int = 0
    bytes_out: int = 0
    records_in: int = 0
    records_out: int = 0
    spills: int = 0
    figures: AttemptFigures = field(default=_NO_FIGURES)
    cause: str = ""
    error: str = ""
    bytes_travelled: int = 0  # of what a reduce reads, as it lies on other nodes
    bytes_unpacked: int = 0  # all of what it reads, decompressed
    is_backup: bool = False  # another attempt of the task ran when it began
    is_near: bool | None = None  # of a map: whether its input lay on its node; None where it lay on none

    @property
    def name(self) -> str:
        """ "map-3.1" """
        return f"{self.task}.{self.attempt}"

    @property
    def stage(self) -> str:
        """ "map" or "reduce" """
        return self.task.partition("-")[0]

    def end_s(self, now_s: float) -> float:
        """When it ended; `now_s` while it runs."""
        return now_s if self.ended_s is None else self.ended_s

    def seconds(self, now_s: float) -> float:
        """How long it ran, or has run by `now_s`."""
        return max(0.0, self.end_s(now_s) - self.began_s)


def attempts_of(job: StoredJob) -> Iterator[AttemptSummary]:
    """All attempts: the maps by task, then the reduces."""
    machine, passes_on = job.machine, job.passes_on
    for task in (*machine.maps, *machine.reduces):
        for attempt in task.attempts:
            told = _summary(task, attempt, *_travelled(machine.maps, task, attempt))
            passed = passes_on and isinstance(attempt.output, ReduceOutput)
            yield replace(told, records_in=told.records_out) if passed else told


def _travelled(maps: Sequence[Task], task: Task, attempt: Attempt) -> tuple[int, int]:
    """What a reduce read from other nodes, and all that it read decompressed; of a map (0, 0)."""
    travelled = unpacked = 0
    for each, source in zip(maps, attempt.sources, strict=False):  # a map has no sources
        made = each.attempt(source.number)
        if made is not None and isinstance(made.output, MapOutput):
            where = made.output.partitions[task.index]
            travelled += where.length if made.node != attempt.node else 0
            unpacked += where.raw_bytes
    return travelled, unpacked


def _summary(task: Task, attempt: Attempt, travelled: int, unpacked: int) -> AttemptSummary:
    output, failure = attempt.output, attempt.failure
    bytes_out = records_in = records_out = spills = 0
    if isinstance(output, MapOutput):
        bytes_out, spills = sum(each.length for each in output.partitions), output.spills
    elif isinstance(output, ReduceOutput):
        bytes_out = output.size
    if output is not None:
        records_in, records_out = output.records_in, output.records_out
    return AttemptSummary(
        task=task.name,
        attempt=attempt.id.number,
        node=attempt.node,
        state=attempt.state.value,
        counts=attempt is task.winner,
        began_s=attempt.began_at,
        ended_s=None if attempt.state is AttemptState.RUNNING else attempt.ended_at,
        bytes_in=task.size,
        bytes_done=attempt.bytes_done,
        bytes_out=bytes_out,
        records_in=records_in,
        records_out=records_out,
        spills=spills,
        bytes_travelled=travelled,
        bytes_unpacked=unpacked,
        figures=attempt.figures or _NO_FIGURES,
        cause="" if failure is None else str(failure.cause),
        error="" if failure is None else failure.message,
        is_backup=attempt.is_backup,
        is_near=attempt.is_near,
    )
