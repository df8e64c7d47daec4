"""The entries of a job's journal, and the job that they tell of.

A batch is either the whole job (a snapshot) or the events since the former batch.  It is cut into entries of
at most 256 KiB, numbered from 0 in one sequence whoever writes them.  A batch whose last piece is missing was
never acted on, and does not count.

Pure.  Layout: docs/formats/job.md, "Journal".  Rule J12: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData, ProtocolMismatch, RingmillError
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of, stage_passes_on
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.machine.event_codec import event_row, read_event
from ringmill.cluster.mapreduce.machine.job_events import Event
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot

__all__ = ["SLOTS", "JournalEntry", "StoredJob", "cut", "events_batch", "replay"]

SLOTS: Final = 4096
"""Entry n lies in slot n mod 4,096."""
PIECE_BYTES: Final = 256 * 1024

_VERSION: Final = 3
_KINDS: Final = ("snapshot", "events")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One piece of a batch.  `base` is the number of the first piece of the newest whole snapshot."""

    term: int
    number: int
    base: int
    kind: str
    piece: int
    pieces: int
    data: bytes

    @property
    def slot(self) -> int:
        return self.number % SLOTS

    @property
    def former_version(self) -> int:
        """The version of its slot's register before it is created: how many entries were there before."""
        return self.number // SLOTS

    def encode(self) -> bytes:
        fields = [self.term, self.number, self.base, self.kind, self.piece, self.pieces, self.data]
        return bytes(msgpack.packb([_VERSION, *fields]))

    @classmethod
    def decode(cls, data: bytes) -> JournalEntry:
        """Raises ProtocolMismatch for another version, CorruptData for what is no entry."""
        try:
            version, *fields = msgpack.unpackb(data)
            if version != _VERSION:
                raise ProtocolMismatch(
                    f"an entry of a journal of version {version}; this side knows {_VERSION}"
                )
            entry = cls(*fields)
            numbers = (entry.term, entry.number, entry.base, entry.piece, entry.pieces)
            if any(type(each) is not int or each < 0 for each in numbers) or entry.kind not in _KINDS:
                raise ValueError("fields of a wrong type")
        except (ValueError, TypeError) as error:
            raise CorruptData(f"{len(data)} bytes are no entry of a journal: {error}") from error
        return entry


@dataclass(slots=True)
class StoredJob:
    """A job as its journal tells it.  `at` is the time of its last event, in seconds of the job.

    `trace` is the place of its submission in a trace, b"" for a job that is not traced.
    """

    spec: JobSpec
    submitted_at: float  # wall clock
    at: float
    machine: JobMachine
    trace: bytes = b""

    def catch_up(self, wall: float) -> None:
        """Of a job that is not over, whose journal has no event of late: its time goes on all the same (J12).

        `wall` is the present."""
        if not self.machine.is_over:
            self.at = max(self.at, wall - self.submitted_at)

    @property
    def stage(self) -> JobSpec:
        """What its tasks run now: the job itself, or of a chain its present stage."""
        return stage_of(self.spec, self.machine.chain.place)

    @property
    def passes_on(self) -> bool:
        """Whether the reduces of its present stage write what maps have rendered."""
        place = self.machine.chain.place
        return stage_passes_on(self.spec, place.link, place.passed)

    def encode(self) -> bytes:
        row = [self.spec.encode(), self.submitted_at, self.at, snapshot(self.machine)]
        return _packed([*row, self.trace] if self.trace else row)

    @classmethod
    def decode(cls, data: bytes) -> StoredJob:
        spec, submitted_at, at, machine, *traced = _unpacked(data)
        (trace,) = traced or (b"",)
        return cls(JobSpec.decode(spec), submitted_at, at, restored(machine), bytes(trace))

    def handle_all(self, data: bytes) -> None:
        """The events of a batch."""
        for at, row in _unpacked(data):
            self.at = at
            self.machine.handle(read_event(row), at)


def events_batch(events: Sequence[tuple[float, Event]]) -> bytes:
    """A batch of events, each with its time in seconds of the job."""
    return _packed([[at, event_row(event)] for at, event in events])


def cut(data: bytes) -> list[bytes]:
    """A batch in pieces; at least one."""
    return [data[start : start + PIECE_BYTES] for start in range(0, max(1, len(data)), PIECE_BYTES)]


def replay(entries: Sequence[JournalEntry]) -> StoredJob | None:
    """The job of these entries, which begin with a snapshot; None when there is no whole one.

    Raises CorruptData.
    """
    job: StoredJob | None = None
    try:
        for kind, data in _batches(entries):
            if kind == "snapshot":
                job = StoredJob.decode(data)
            elif job is not None:
                job.handle_all(data)
    except RingmillError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        raise CorruptData(f"a journal cannot be replayed: {type(error).__name__}: {error}") from error
    return job


def _batches(entries: Sequence[JournalEntry]) -> Iterator[tuple[str, bytes]]:
    pieces: list[bytes] = []
    for entry in entries:
        if entry.piece == 0:
            pieces = []
        if entry.piece == len(pieces):
            pieces.append(entry.data)
        if len(pieces) == entry.pieces:
            yield entry.kind, b"".join(pieces)
            pieces = []


def _packed(row: list[Any]) -> bytes:
    return bytes(msgpack.packb(row, unicode_errors="surrogatepass"))


def _unpacked(data: bytes) -> list[Any]:
    row: list[Any] = msgpack.unpackb(data, unicode_errors="surrogatepass")
    return row
