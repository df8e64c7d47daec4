"""What a job coordinator and a worker tell each other, as values with one encoding each (msgpack arrays).

    task.start   MapOrder | ReduceOrder   coordinator -> worker: run this attempt; answered by Polled
    task.cancel  Cancel                   coordinator -> worker: stop one attempt, or drop the whole job
    task.poll    Poll                     coordinator -> worker: who are you now, what do you run? Polled
    task.report  Report                   worker -> coordinator: progress, done or failed

Specs cross as encoded bytes, splits and outputs in their own wire forms: these messages only carry them.
Texts may hold lone surrogates: bytes of paths that are not UTF-8, and whatever user code says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgpack

from cluster.errors import ProtocolMismatch
from cluster.ids import NodeId
from cluster.mapreduce.job_events import AttemptId, Source

__all__ = [
    "Cancel",
    "MapOrder",
    "Order",
    "Poll",
    "Polled",
    "ReduceOrder",
    "RemoteSlice",
    "Report",
    "decode_order",
]

_VERSION = 1


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
    def of(cls, source: Source) -> RemoteSlice:
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
class MapOrder:
    job: str
    attempt: AttemptId
    coordinator: NodeId
    spec: bytes
    memory_factor: int
    split: list[Any]  # Split.to_wire()

    def encode(self) -> bytes:
        return _packed(self.job, self.attempt, self.coordinator, self.spec, self.memory_factor, self.split)


@dataclass(frozen=True, slots=True)
class ReduceOrder:
    job: str
    attempt: AttemptId
    coordinator: NodeId
    spec: bytes
    memory_factor: int
    slices: tuple[RemoteSlice, ...]  # of every map task, in task order; empty ones included
    staging: str  # the folder to write in: on the output's own file system, this attempt's alone

    def encode(self) -> bytes:
        return _packed(
            self.job, self.attempt, self.coordinator, self.spec, self.memory_factor, self.slices, self.staging
        )


Order: TypeAlias = MapOrder | ReduceOrder


def decode_order(body: bytes) -> Order:
    """The order that `encode` made."""
    job, attempt, coordinator, spec, memory_factor, *rest = _unpacked(body)
    identity = AttemptId(*attempt)
    if identity.stage == "map":
        return MapOrder(job, identity, coordinator, spec, memory_factor, rest[0])
    slices = tuple(RemoteSlice(*row) for row in rest[0])
    return ReduceOrder(job, identity, coordinator, spec, memory_factor, slices, rest[1])


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop one attempt; without one, stop all of the job and drop its files."""

    job: str
    attempt: AttemptId | None = None

    def encode(self) -> bytes:
        return _packed(self.job, self.attempt)

    @classmethod
    def decode(cls, body: bytes) -> Cancel:
        job, attempt = _unpacked(body)
        return cls(job, AttemptId(*attempt) if attempt else None)


@dataclass(frozen=True, slots=True)
class Poll:
    job: str

    def encode(self) -> bytes:
        return _packed(self.job)

    @classmethod
    def decode(cls, body: bytes) -> Poll:
        return cls(*_unpacked(body))


@dataclass(frozen=True, slots=True)
class Polled:
    """`start` changes when the worker has forgotten everything."""

    start: str
    slots: int = 1
    running: tuple[AttemptId, ...] = ()  # of the job; accepted, and not yet reported as ended

    def encode(self) -> bytes:
        return _packed(self.start, self.slots, self.running)

    @classmethod
    def decode(cls, body: bytes) -> Polled:
        start, slots, running = _unpacked(body)
        return cls(start, slots, tuple(AttemptId(*row) for row in running))


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an attempt.

    kind "progress": `body` is [bytes done, bytes in all, status, position].  "done": `body` is to_wire() of
    MapOutput or ReduceOutput.  "failed": `failure` is TaskFailed.to_wire(), `lost` the slice that could not
    be had.
    """

    job: str
    attempt: AttemptId
    node: NodeId
    start: str
    kind: str
    body: Any = None
    failure: Any = None
    lost: RemoteSlice | None = None
    peak_bytes: int = 0  # of memory, when it failed
    output: bytes = b""  # the tail of what it printed

    def encode(self) -> bytes:
        return _packed(
            self.job,
            self.attempt,
            self.node,
            self.start,
            self.kind,
            self.body,
            self.failure,
            self.lost,
            self.peak_bytes,
            self.output,
        )

    @classmethod
    def decode(cls, body: bytes) -> Report:
        job, attempt, node, start, kind, content, failure, lost, peak_bytes, output = _unpacked(body)
        slice_ = RemoteSlice(*lost) if lost else None
        identity = AttemptId(*attempt)
        return cls(job, identity, node, start, kind, content, failure, slice_, peak_bytes, output)


def _packed(*fields: Any) -> bytes:
    return bytes(msgpack.packb([_VERSION, *fields], unicode_errors="surrogatepass"))


def _unpacked(body: bytes) -> list[Any]:
    fields: list[Any]
    version, *fields = msgpack.unpackb(body, unicode_errors="surrogatepass")
    if version != _VERSION:
        raise ProtocolMismatch(f"a message about jobs of version {version}; this side knows {_VERSION}")
    return fields
