"""Cuts the input of a job into splits, the inputs of its map tasks.

Pure: from names and sizes alone, so that every planner cuts alike.  A split's pieces begin and end at any
byte; the reader of a piece takes the records that start in it, so nothing is read here to find boundaries.
Order is part of the result: files by sorted path, pieces by offset.

The size follows from the input's size alone, unless the job sets it: with more input splits become both
larger and more numerous.  It does not follow from the number of nodes, because a map that uses random
numbers, and a combine that rounds, give other bytes for other splits.  Small files are packed together.

See: docs/formats/job.md, "Splits"; docs/decisions/splits-follow-from-the-input.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isqrt
from typing import Any, Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.files.file_kinds import is_packed

__all__ = [
    "SPLIT_SIZES",
    "InputFile",
    "PartitionSpan",
    "Piece",
    "Split",
    "SplitSizes",
    "check_slices",
    "plan_splits",
    "split_bytes",
]

MIB: Final = 1 << 20
MAX_PIECES: Final = 1024  # files packed into one split
MAX_SPLITS: Final = 100_000
MAX_SLICES: Final = 2_000_000
MAX_LATER_SLICES: Final = 4 * MAX_SLICES  # what a stage reads is known only when the one before is done
"""Splits times reducers.  A coordinator holds each slice in some 250 bytes of memory, and in the journal."""
PART_BYTES: Final = 256 << 10
"""A part of records that has this much is a split of its own: so it can be read where it was written."""
SAMPLE_PLACES: Final = 32
SAMPLE_BYTES: Final = 16 << 10

_WHOLE_FORMATS: Final = frozenset({"csv", "file", "kv", "records"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSizes:
    """The rule's numbers: an input of n times `unit_bytes` has about sqrt(n) splits of sqrt(n) units.

    A file may exceed the size by `slack_percent` before it is cut once more: halves of a file that is hardly
    too large would be two tasks with the fixed cost of two, and a combine that combines less.
    """

    least_bytes: int = MIB
    most_bytes: int = 64 * MIB
    unit_bytes: int = MIB
    slack_percent: int = 0

    def pinned(self, split_bytes: int) -> SplitSizes:
        """The same, or splits of `split_bytes` if a job sets that."""
        return SplitSizes(least_bytes=split_bytes, most_bytes=split_bytes) if split_bytes else self


SPLIT_SIZES: Final = SplitSizes(slack_percent=10)
"""What every planner goes by; only a simulation cuts smaller."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file as it was found when the job was planned."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, end) of one file; the task refuses a file whose size or modification time has changed."""

    file: InputFile
    start: int
    end: int

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.end == self.file.size


class PartitionSpan(NamedTuple):
    """Neighbouring partitions of a keyspace, `last` included; `size` is about the bytes that they hold.

    The keyspace is named by its id: one that is dropped and made anew under its name is another one.
    """

    first: int
    last: int
    size: int
    keyspace: tuple[int, int]
    snapshot: str = ""  # the name of the one that is read; empty for what the keyspace holds then
    at_ms: int = 0  # when it was taken


@dataclass(frozen=True, slots=True)
class Split:
    """The input of one map task."""

    index: int
    pieces: tuple[Piece, ...]
    splits: int = 1  # of the job in all
    sample: tuple[Piece, ...] = ()  # of the whole input, where the job is ordered in total
    source: int = 0  # the number of the input that it belongs to, where a job has several
    span: PartitionSpan | None = None  # what is read in place of pieces, where the input is a keyspace
    beside: PartitionSpan | None = None
    """The same partitions of the second keyspace of a co-partitioned join; then there is a piece of each."""
    fatal: tuple[int, ...] = ()  # records that are set aside unseen, 1 for the first (rule J19)

    @property
    def size(self) -> int:
        """Bytes to be read."""
        spans = sum(span.size for span in (self.span, self.beside) if span is not None)
        return sum(piece.end - piece.start for piece in self.pieces) + spans

    def part_of(self, parts: int) -> int:
        """The part that holds this split's records when the output keeps the order of the input."""
        return self.index * parts // max(self.splits, self.index + 1)

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [index, pieces, splits, sample, source, span], then `beside` and `fatal` if
        there are any.

        Of a piece: [path, size, mtime_ns, start, end].  Of a span: its fields, the last two with a snapshot.
        """
        fields = [
            self.index, _rows(self.pieces), self.splits, _rows(self.sample), self.source, _span_row(self.span)
        ]  # fmt: skip
        if self.fatal:
            return [*fields, _span_row(self.beside), list(self.fatal)]
        return fields if self.beside is None else [*fields, _span_row(self.beside)]

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> Split:
        index, pieces, splits, sample, source, span, *more = fields
        beside, fatal = more[0] if more else None, more[1] if len(more) > 1 else ()
        first = cls(index, _from_rows(pieces), splits, _from_rows(sample), source, _span_of(span))
        return replace(first, beside=_span_of(beside), fatal=tuple(fatal))


def split_bytes(input_bytes: int, sizes: SplitSizes = SPLIT_SIZES) -> int:
    """The size aimed at for splits of an input of this many bytes."""
    return min(max(isqrt(input_bytes * sizes.unit_bytes), sizes.least_bytes), sizes.most_bytes)


def plan_splits(
    sources: Sequence[tuple[Sequence[InputFile], str]],
    sizes: SplitSizes = SPLIT_SIZES,
    *,
    sampled: bool = False,
) -> list[Split]:
    """Cut the files of each source, given with their format, into splits.

    They are in the order of sources, and of paths within one; the size aimed at follows from all together.
    `sampled` adds the places of a sample to each.  Raises InvalidArgument when there would be more than
    100,000 splits.
    """
    every = [file for files, _ in sources for file in files]
    target = split_bytes(sum(file.size for file in every), sizes)
    packed = [
        (number, pieces)
        for number, (files, format) in enumerate(sources)
        for pieces in _packed(
            _pieces(files, format, target + target * sizes.slack_percent // 100),
            min(target, PART_BYTES) if format == "records" else target,
        )
    ]
    if len(packed) > MAX_SPLITS:
        raise InvalidArgument(f"the input makes {len(packed)} splits; a job may have {MAX_SPLITS}")
    places = tuple(_places(every, len(packed))) if sampled else ()
    return [
        Split(index, pieces, len(packed), places, source) for index, (source, pieces) in enumerate(packed)
    ]


def check_slices(splits: int, reducers: int, most: int = MAX_SLICES) -> None:
    """Raises InvalidArgument when the maps of a stage would leave too many slices for its reduces."""
    if splits * reducers > most:
        raise InvalidArgument(
            f"{splits} splits for {reducers} reducers make {splits * reducers} slices; a job may have {most}",
            hint="take fewer reducers, in a chain also in the stage before, or larger splits (split_mib)",
        )


def _pieces(input_files: Sequence[InputFile], format: str, most_bytes: int) -> Iterator[Piece]:
    for file in sorted(input_files, key=lambda file: file.path):
        if not file.size and format != "file":
            continue
        whole = format in _WHOLE_FORMATS or is_packed(file.path)
        count = 1 if whole else max(1, -(-file.size // most_bytes))
        cuts = [file.size * number // count for number in range(count + 1)]
        for start, end in pairwise(cuts):
            yield Piece(file, start, end)


def _packed(pieces: Iterator[Piece], target: int) -> Iterator[tuple[Piece, ...]]:
    """Neighbours together, up to the size aimed at."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        length = piece.end - piece.start
        if group and (size + length > target or len(group) == MAX_PIECES):
            yield tuple(group)
            group, size = [], 0
        group.append(piece)
        size += length
    if group:
        yield tuple(group)


def _places(input_files: Sequence[InputFile], splits: int) -> Iterator[Piece]:
    """Small pieces, evenly spread over the input; fewer where many splits carry them."""
    total = sum(file.size for file in input_files)
    count = min(SAMPLE_PLACES, max(4, 20_000 // max(1, splits)))
    starts = iter([total * number // count for number in range(count)])
    wanted, before = next(starts, None), 0
    for file in sorted(input_files, key=lambda file: file.path):
        while wanted is not None and wanted < before + file.size:
            start = 0 if is_packed(file.path) else wanted - before
            yield Piece(file, start, min(start + SAMPLE_BYTES, file.size))
            wanted = next(starts, None)
            while is_packed(file.path) and wanted is not None and wanted < before + file.size:
                wanted = next(starts, None)
        before += file.size


def _span_row(span: PartitionSpan | None) -> list[Any] | None:
    if span is None:
        return None
    return [*span[:3], list(span.keyspace), *((span.snapshot, span.at_ms) if span.snapshot else ())]


def _span_of(row: Sequence[Any] | None) -> PartitionSpan | None:
    if row is None:
        return None
    first, last, size, (epoch, ordinal), *held = row
    return PartitionSpan(first, last, size, (epoch, ordinal), *held)


def _rows(pieces: Sequence[Piece]) -> list[Any]:
    return [[p.file.path, p.file.size, p.file.mtime_ns, p.start, p.end] for p in pieces]


def _from_rows(rows: Sequence[Any]) -> tuple[Piece, ...]:
    return tuple(Piece(InputFile(path, size, mark), start, end) for path, size, mark, start, end in rows)
