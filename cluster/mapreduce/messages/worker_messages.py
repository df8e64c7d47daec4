"""The messages between a job coordinator and a worker (msgpack arrays).

    task.start   Assignments              coordinator -> worker: run these attempts; PollAnswer
    task.cancel  Cancel                   coordinator -> worker: stop one attempt, or drop the whole job
    task.poll    Poll                     coordinator -> worker: who are you now, what do you run? PollAnswer
    task.report  AttemptReports           worker -> coordinator: progress, done or failed; further Assignments

Each order names the term of its coordinator; a worker refuses those of a lower term than it has heard of.
Specs cross as encoded bytes, splits and outputs in their own wire forms: these messages only carry them.
No message names a folder to write in: both sides derive it from the spec, the job and the attempt.  Bytes
that are no such message are refused as ProtocolMismatch.  Texts may hold lone surrogates: bytes of paths
that are not UTF-8, and whatever user code says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import as_lost
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine.job_events import AttemptId, SliceSource, StartMap, StartReduce
from ringmill.cluster.mapreduce.outputs import without_heavy_keys
from ringmill.cluster.mapreduce.well_formed import text, well_formed, whole_number

__all__ = [
    "TASK_CANCEL",
    "TASK_POLL",
    "TASK_REPORT",
    "TASK_START",
    "Cancel",
    "MapAssignment",
    "Assignment",
    "Poll",
    "PollAnswer",
    "ReduceAssignment",
    "RemoteSlice",
    "AttemptReport",
    "assignment_of",
    "decode_assignments",
    "decode_reports",
    "encode_assignments",
    "encode_reports",
]

TASK_START: Final = "task.start"
TASK_CANCEL: Final = "task.cancel"
TASK_POLL: Final = "task.poll"
TASK_REPORT: Final = "task.report"

_VERSION: Final = 5
_MAX_FACTOR: Final = 1024
_MAX_SLOTS: Final = 1024
_MAX_SLOTS_OF_MACHINE: Final = 1 << 20
_MAX_WHY_CHARS: Final = 300
_KINDS: Final = ("progress", "done", "failed")


class RemoteSlice(NamedTuple):
    """One partition of one committed map output: where it is and how to tell that it is sound."""

    node: NodeId
    task: int
    attempt: int
    offset: int
    length: int  # bytes
    raw_bytes: int
    records: int
    crc32c: int  # of all its bytes

    @classmethod
    def of(cls, source: SliceSource) -> RemoteSlice:
        where = source.where
        return cls(
            source.node, source.attempt.task, source.attempt.number, where.offset, where.length,
            where.raw_bytes, where.records, where.crc32c,
        )  # fmt: skip

    @property
    def source(self) -> AttemptId:
        """The map attempt that made it."""
        return AttemptId("map", self.task, self.attempt)


@dataclass(frozen=True, slots=True)
class MapAssignment:
    job: str
    attempt: AttemptId
    term: int
    coordinator: NodeId
    spec: bytes
    memory_factor: int
    split: list[Any]  # Split.to_wire()

    @property
    def work(self) -> list[Any]:
        return self.split

    @property
    def bytes_in(self) -> int:
        """What it reads; 0 for what is no split, which the attempt finds out."""
        try:
            return Split.from_wire(self.split).size
        except (ValueError, TypeError):
            return 0


@dataclass(frozen=True, slots=True)
class ReduceAssignment:
    job: str
    attempt: AttemptId
    term: int
    coordinator: NodeId
    spec: bytes
    memory_factor: int
    slices: tuple[RemoteSlice, ...]  # of every map task, in task order; empty ones included

    @property
    def work(self) -> tuple[RemoteSlice, ...]:
        return self.slices

    @property
    def bytes_in(self) -> int:
        """What it reads, decompressed."""
        return sum(each.raw_bytes for each in self.slices)


Assignment: TypeAlias = MapAssignment | ReduceAssignment


def assignment_of(
    start: StartMap | StartReduce, job: str, term: int, coordinator: NodeId, spec: bytes
) -> Assignment:
    """The order to run an attempt."""
    if isinstance(start, StartMap):
        split = start.split.to_wire()
        return MapAssignment(job, start.attempt, term, coordinator, spec, start.memory_factor, split)
    slices = tuple(map(RemoteSlice.of, start.sources))
    return ReduceAssignment(job, start.attempt, term, coordinator, spec, start.memory_factor, slices)


def encode_assignments(orders: Sequence[Assignment]) -> bytes:
    """Orders of one job, given by one coordinator in one term; at least one."""
    first = orders[0]
    rows = [(each.attempt, each.memory_factor, each.work) for each in orders]
    return _packed(first.job, first.term, first.coordinator, first.spec, rows)


def decode_assignments(body: bytes) -> list[Assignment]:
    """What `encode_assignments` made.  Raises ProtocolMismatch for anything else."""
    with well_formed("an assignment"):
        job, term, coordinator, spec, rows = _unpacked(body)
        head = text(job), whole_number(term), NodeId(text(coordinator)), _data(spec)
        orders = [_assignment(*head, *row) for row in rows]
        if not orders:
            raise ValueError("no attempt")
        return orders


def _assignment(
    job: str, term: int, coordinator: NodeId, spec: bytes, attempt: Any, factor: Any, work: Any
) -> Assignment:
    identity = _attempt(attempt)
    memory_factor = whole_number(factor, least=1, most=_MAX_FACTOR)
    if identity.stage == "map":
        return MapAssignment(job, identity, term, coordinator, spec, memory_factor, list(work))
    slices = tuple(map(_slice, work))
    return ReduceAssignment(job, identity, term, coordinator, spec, memory_factor, slices)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop one attempt; without one, stop all of the job and drop its files."""

    job: str
    term: int
    attempt: AttemptId | None = None

    def encode(self) -> bytes:
        return _packed(self.job, self.term, self.attempt)

    @classmethod
    def decode(cls, body: bytes) -> Cancel:
        with well_formed("a cancellation"):
            job, term, attempt = _unpacked(body)
            return cls(text(job), whole_number(term), None if attempt is None else _attempt(attempt))


@dataclass(frozen=True, slots=True)
class Poll:
    """Workers of earlier releases refuse what they do not know behind the term."""

    job: str
    term: int
    asks_machine: bool = False  # earlier releases do not, and cannot read an answer that tells it
    reads_heavy_keys: bool = False  # in reports; who does also asks for the machine
    asks_why: bool = (
        False  # there are no slots, and knows the cause NodeMemory; who does also reads heavy keys
    )

    def encode(self) -> bytes:
        level = 3 if self.asks_why else 2 if self.reads_heavy_keys else int(self.asks_machine)
        return _packed(self.job, self.term, *[True] * level)

    @classmethod
    def decode(cls, body: bytes) -> Poll:
        with well_formed("a poll"):
            job, term, *asked = _unpacked(body)
            if len(asked) > 3 or not all(each is True for each in asked):
                raise ValueError(f"{asked!r:.40} behind the term")
            return cls(text(job), whole_number(term), bool(asked), len(asked) > 1, len(asked) > 2)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a worker runs on: nodes that tell one name share its processors."""

    name: str = ""  # "" for a machine that is no other node's
    slots: int = 0  # that its nodes may use together; 0 for any number


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """`start` changes when the worker has forgotten everything of the job.

    The machine, and why it has no slots, are for who has asked for it: coordinators of earlier releases read
    no such answer.
    """

    start: str
    slots: int = 1
    running: tuple[AttemptId, ...] = ()  # of the job; accepted, and not yet reported as ended
    machine: Machine | None = None  # None where it is not told
    why: str | None = None  # it offers no slots, a part of a sentence; told with the machine, if at all

    def encode(self) -> bytes:
        of_machine = () if self.machine is None else (self.machine.name, self.machine.slots)
        why = () if self.machine is None or self.why is None else (self.why,)
        return _packed(self.start, self.slots, self.running, *of_machine, *why)

    @classmethod
    def decode(cls, body: bytes) -> PollAnswer:
        with well_formed("a worker's answer"):
            start, slots, running, *of_machine = _unpacked(body)
            machine: Machine | None = None
            why: list[Any] = []
            if of_machine:
                name, together, *why = of_machine
                machine = Machine(text(name), whole_number(together, most=_MAX_SLOTS_OF_MACHINE))
            attempts = tuple(map(_attempt, running))
            told = text(*why)[:_MAX_WHY_CHARS] if why else None
            return cls(text(start), whole_number(slots, most=_MAX_SLOTS), attempts, machine, told)


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """A report on an attempt.

    kind "progress": `body` is [bytes done, bytes in all, status, position].  "done": `body` is to_wire() of
    MapOutput or ReduceOutput.  "failed": `failure` is TaskFailed.to_wire(), `lost` the slice that could not
    be had.  Of both, `figures` is AttemptFigures.to_wire().
    """

    job: str
    attempt: AttemptId
    node: NodeId
    start: str
    kind: str
    body: Any = None
    failure: Any = None
    lost: RemoteSlice | None = None
    figures: Any = None
    output: bytes = b""  # the tail of what it printed
    ran_s: float = 0.0  # in its slot, as the worker has measured it

    @property
    def has_ended(self) -> bool:
        """Whether it tells of the end of the attempt."""
        return self.kind != "progress"


def encode_reports(
    reports: Sequence[AttemptReport], *, with_heavy_keys: bool = True, with_node_memory: bool = True
) -> bytes:
    """Reports on attempts of one job by one worker in one start; at least one.

    Coordinators of earlier releases refuse those with heavy keys, and do not know the cause NodeMemory.
    Raises InvalidArgument for a report that no message can carry.
    """
    first = reports[0]
    rows = [
        (
            each.attempt,
            each.kind,
            each.body if with_heavy_keys or not _is_of_a_map(each) else without_heavy_keys(each.body),
            each.failure if with_node_memory else as_lost(each.failure),
            each.lost,
            each.figures,
            each.output,
            round(each.ran_s * 1e6),
        )
        for each in reports
    ]
    try:
        return _packed(first.job, first.node, first.start, rows)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidArgument(
            f"a report that cannot be sent: {type(error).__name__}: {error!s:.200}"
        ) from error


def _is_of_a_map(report: AttemptReport) -> bool:
    """Whether it tells of a map that is done."""
    return report.kind == "done" and report.attempt.stage == "map"


def decode_reports(body: bytes) -> list[AttemptReport]:
    """What `encode_reports` made.  ringmill.node.jobs.reported checks `body`, `failure` and `figures`.

    Raises ProtocolMismatch for anything else.
    """
    with well_formed("a report"):
        job, node, start, rows = _unpacked(body)
        head = text(job), NodeId(text(node)), text(start)
        reports = [_report(*head, *row) for row in rows]
        if not reports:
            raise ValueError("no attempt")
        return reports


def _report(
    job: str, node: NodeId, start: str, attempt: Any, kind: Any, content: Any, failure: Any, lost: Any,
    figures: Any, output: Any, ran_us: Any,
) -> AttemptReport:  # fmt: skip
    if kind not in _KINDS:
        raise ValueError(f"kind {kind!r:.40}")
    return AttemptReport(
        job, _attempt(attempt), node, start, kind, content, failure,
        None if lost is None else _slice(lost), figures, _data(output), whole_number(ran_us) / 1e6,
    )  # fmt: skip


def _data(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r:.40} is no byte string")
    return value


def _attempt(row: Any) -> AttemptId:
    """Checked, as its name becomes that of a folder."""
    stage, task, number = row
    if stage not in ("map", "reduce"):
        raise ValueError(f"stage {stage!r:.40}")
    return AttemptId(stage, whole_number(task), whole_number(number, least=1))


def _slice(row: Any) -> RemoteSlice:
    node, *numbers = row
    return RemoteSlice(NodeId(text(node)), *map(whole_number, numbers))


def _packed(*fields: Any) -> bytes:
    return bytes(msgpack.packb([_VERSION, *fields], unicode_errors="surrogatepass"))


def _unpacked(body: bytes) -> list[Any]:
    fields: list[Any]
    version, *fields = msgpack.unpackb(body, unicode_errors="surrogatepass")
    if version != _VERSION:
        raise ProtocolMismatch(f"a message about jobs of version {version}; this side knows {_VERSION}")
    return fields
