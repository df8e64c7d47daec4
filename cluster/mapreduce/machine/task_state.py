"""One task of a job: its attempts, the fault of each failure, and when it may be tried again.

Pure.  A task has 4 attempts for faults of the job's code, 8 for faults of the infrastructure, and 2 for
memory, the second with twice as much.  Those that nodes end or do not begin for want of their own memory
count against none of these: 32 of one task show that it takes that memory itself.  The pause after failure n
of one fault is min(2^(n-1) x 0.25 s, 15 s), with jitter from the attempt's name.  A UserError that repeats at
the same record would come every time, so it fails the task at once.  Two ends of a process at one record, in
a job that may set records aside, are not charged: the task goes on without that record, for 16 records at
most.  The attempt after a first UserError starts without a pause, because it shows whether the error repeats.
Nor is there a pause after a lost node.
Rules: docs/formats/job.md, "Attempts"; J34, docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from xxhash import xxh3_64_intdigest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine.job_events import AttemptId, Stage
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput

__all__ = ["Attempt", "AttemptState", "Blame", "Task", "blame_for", "failure_pause_s"]

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 15.0
MOST_FATAL: Final = 16  # records of one task that are left out: a job whose code ends everywhere has to end
OTHERS_TURN_S: Final = 10.0  # chosen: long beside a poll of workers and short beside a slow node
_TWICE: Final = 2


class AttemptState(Enum):
    RUNNING = "running"
    LOST = "lost"  # its node was reported dead; a late result may still win
    DONE = "done"  # committed, or was
    FAILED = "failed"
    CANCELLED = "cancelled"


class Blame(Enum):
    """The fault of a failure; each has its own budget of attempts."""

    USER = "user"
    INFRASTRUCTURE = "infrastructure"
    MEMORY = "memory"
    NODE_MEMORY = "node memory"
    JOB = "job"  # trying again cannot help
    NOBODY = "nobody"


BUDGETS: Final = {Blame.USER: 4, Blame.INFRASTRUCTURE: 8, Blame.MEMORY: 2, Blame.NODE_MEMORY: 32}

_BLAME: Final = {
    Cause.USER_ERROR: Blame.USER,
    Cause.KILLED: Blame.USER,
    Cause.TIMEOUT: Blame.USER,
    Cause.NO_PROGRESS: Blame.USER,
    Cause.OUT_OF_MEMORY: Blame.MEMORY,
    Cause.NODE_MEMORY: Blame.NODE_MEMORY,
    Cause.LOST_NODE: Blame.INFRASTRUCTURE,
    Cause.FETCH_FAILED: Blame.INFRASTRUCTURE,
    Cause.CORRUPT_DATA: Blame.INFRASTRUCTURE,
    Cause.DISK_FULL: Blame.INFRASTRUCTURE,
    Cause.ENGINE_ERROR: Blame.INFRASTRUCTURE,
    Cause.BAD_BUNDLE: Blame.JOB,
    Cause.INPUT_CHANGED: Blame.JOB,
    Cause.CANCELLED: Blame.NOBODY,
}

_OF_A_MOMENT: Final = (Cause.LOST_NODE, Cause.NODE_MEMORY)


def blame_for(cause: Cause) -> Blame:
    """Which budget a failure is charged to."""
    return _BLAME[cause]


def failure_pause_s(name: str, failures: int) -> float:
    """How long to wait after a number of failures in a row; `name` draws the jitter."""
    longest = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 6), LONGEST_PAUSE_S)
    jitter = xxh3_64_intdigest(name.encode()) / 2**64
    return float(longest * (0.5 + jitter / 2))


@dataclass(slots=True)
class Attempt:
    """One try at a task on one node."""

    id: AttemptId
    node: NodeId
    start: str  # the node's start; its files are gone after another one
    sources: tuple[AttemptId, ...] = ()  # map attempts a reduce reads, by map task
    began_at: float = 0.0  # in seconds of the job
    ended_at: float = 0.0  # the same; meaningless while it is RUNNING
    is_backup: bool = False  # another attempt of the task ran when it began
    state: AttemptState = AttemptState.RUNNING
    bytes_done: int = 0
    status: str = ""
    failure: TaskFailed | None = None
    output: MapOutput | ReduceOutput | None = None
    figures: AttemptFigures | None = None  # once it has ended and told
    is_near: bool | None = None  # of a map: whether its input lies on its node; None when it lies nowhere

    @property
    def is_open(self) -> bool:
        """Whether it may still deliver a result."""
        return self.state in (AttemptState.RUNNING, AttemptState.LOST)

    def moved(self, bytes_done: int, status: str) -> None:
        """It has told how far it is; a word that comes late changes nothing."""
        if self.state is AttemptState.RUNNING:
            self.bytes_done = max(self.bytes_done, bytes_done)
            self.status = status or self.status

    @property
    def seconds(self) -> float:
        """How long it ran; of one that has ended."""
        return max(0.0, self.ended_at - self.began_at)


@dataclass(slots=True)
class Task:
    """A split to map or a partition to reduce."""

    stage: Stage
    index: int
    size: int  # bytes it reads; a reduce knows them when the maps are done
    attempts: list[Attempt] = field(default_factory=list)
    winner: Attempt | None = None
    not_before: float = 0.0
    charged: dict[Blame, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.index}"

    @property
    def is_running(self) -> bool:
        # The last one first: it is asked of every task, again and again, and most have one or none.
        attempts = self.attempts
        return bool(attempts) and (
            attempts[-1].state is AttemptState.RUNNING
            or any(attempt.state is AttemptState.RUNNING for attempt in attempts[:-1])
        )

    @property
    def is_waiting(self) -> bool:
        return self.winner is None and not self.is_running

    @property
    def fatal_records(self) -> tuple[int, ...]:
        """The records of the split, 1 for the first, at which two attempts have ended: it is read without
        them from then on."""
        deaths = Counter(a.failure.fatal_record for a in self.attempts if a.failure is not None)
        return tuple(sorted(record for record, count in deaths.items() if record and count > 1))

    def reads(self, split: Split) -> Split:
        """The split as the next attempt reads it."""
        return replace(split, fatal=fatal) if (fatal := self.fatal_records) else split

    @property
    def memory_factor(self) -> int:
        """Doubled after each failure for lack of memory."""
        return 1 << self.charged.get(Blame.MEMORY, 0)

    @property
    def open_to_all_at(self) -> float:
        """From when on it may begin where it was lost, too: other nodes have left it waiting for so long."""
        ended_at = self.attempts[-1].ended_at if self.attempts else 0.0
        return max(self.not_before, ended_at) + OTHERS_TURN_S

    def has_failed_on(self, node: NodeId) -> bool:
        return any(a.node == node and a.state is AttemptState.FAILED for a in self.attempts)

    def was_only_lost_on(self, node: NodeId) -> bool:
        """Whether each failure there says nothing against the node as it is now: it had lost the attempt, or
        had no memory for it."""
        failures = [a.failure for a in self.attempts if a.node == node and a.state is AttemptState.FAILED]
        return all(failure is not None and failure.cause in _OF_A_MOMENT for failure in failures)

    def next_attempt(self, least: int) -> AttemptId:
        """The name of the next attempt: above those of all others, and at least `least`."""
        last = self.attempts[-1].id.number if self.attempts else 0
        return AttemptId(self.stage, self.index, max(last + 1, least))

    def begin(
        self,
        attempt_id: AttemptId,
        node: NodeId,
        start: str,
        now: float,
        sources: tuple[AttemptId, ...] = (),
        *,
        is_near: bool | None = None,
    ) -> Attempt:
        """A new attempt; a backup when another one of the task runs."""
        attempt = Attempt(attempt_id, node, start, sources, now, is_backup=self.is_running, is_near=is_near)
        self.attempts.append(attempt)
        return attempt

    def attempt(self, number: int) -> Attempt | None:
        for each in self.attempts:  # most tasks have one, and each report asks for it
            if each.id.number == number:
                return each
        return None

    def charge(self, failure: TaskFailed, now: float) -> bool:
        """Count a failure and set the pause before the next attempt; False when its budget is used up."""
        blame = blame_for(failure.cause)
        if blame is Blame.NOBODY:
            return True
        if self._is_narrowed_by(failure):
            self._take_back(failure.fatal_record)  # the next attempt reads other records
            return True
        count = self.charged[blame] = self.charged.get(blame, 0) + 1
        if failure.cause is Cause.USER_ERROR and self._has_failed_like(failure):
            return False
        is_first_of_user = failure.cause is Cause.USER_ERROR and count == 1
        if failure.cause is not Cause.LOST_NODE and not is_first_of_user:
            self.not_before = now + failure_pause_s(f"{self.name}.{len(self.attempts)}", count)
        return count < BUDGETS.get(blame, 0)

    def _is_narrowed_by(self, failure: TaskFailed) -> bool:
        """Whether this failure is the second one at a record that may be left out (rule J19)."""
        record = failure.fatal_record
        if not record or len(self.fatal_records) > MOST_FATAL:
            return False
        return (
            sum(a.failure is not None and a.failure.fatal_record == record for a in self.attempts) == _TWICE
        )

    def _take_back(self, record: int) -> None:
        """Forget what the ends at a record were charged to.

        Each may have a cause of its own, and a budget may have been forgotten for another record.
        """
        for each in self.attempts:
            if each.failure is not None and each.failure.fatal_record == record:
                self.charged.pop(blame_for(each.failure.cause), None)

    def _has_failed_like(self, failure: TaskFailed) -> bool:
        """Whether an earlier attempt ended with the same error at the same record."""
        former = [a.failure for a in self.attempts if a.failure is not None and a.failure is not failure]
        return any((each.essence, each.position) == (failure.essence, failure.position) for each in former)
