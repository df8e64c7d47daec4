"""Plans a job's input: the files, their splits, and what was left out.

I/O only through the FileSystem passed in.  A local run and a cluster plan with the same function.  Every
input is checked before any task starts, so that a file in another format is refused by name and not read as
text.  Rule J20: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.files.file_kinds import (
    COLUMN_FORMATS,
    HEAD_BYTES,
    is_packed,
    why_no_columns,
    why_unreadable,
)
from ringmill.cluster.mapreduce.files.inputs import SourcePaths, find_inputs
from ringmill.cluster.mapreduce.files.splits import (
    SPLIT_SIZES,
    InputFile,
    Piece,
    Split,
    SplitSizes,
    plan_splits,
)
from ringmill.cluster.ports import FileSystem

__all__ = ["ANY_SIZE", "InputPlan", "copartitioned_plan", "plan_input", "source_key"]

NAMES_TOLD: Final = 5
ANY_SIZE: Final = 1 << 62
MAX_NOTED: Final = 1000  # files, as they are part of the job's description
PACKED_FACTOR: Final = 8


@dataclass(frozen=True, slots=True)
class InputPlan:
    """`notes` are lines for people about inputs that were named but are not read.

    `noted` are files that are in no split, because every task reads them, by the name of what they are.
    """

    splits: tuple[Split, ...]
    notes: tuple[str, ...] = ()
    noted: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [splits, notes, noted].

        Of a file that was noted: [path, size, mtime_ns].
        """
        noted = {name: list(map(astuple, files)) for name, files in self.noted.items()}
        return [[split.to_wire() for split in self.splits], list(self.notes), noted]

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> InputPlan:
        splits, notes, noted = fields
        files = {name: tuple(InputFile(*row) for row in rows) for name, rows in noted.items()}
        return cls(tuple(Split.from_wire(row) for row in splits), tuple(notes), files)


def plan_input(
    readings: Sequence[SourcePaths],
    files: FileSystem,
    sizes: SplitSizes = SPLIT_SIZES,
    *,
    sampled: bool = False,
    side: Mapping[str, str] | None = None,
    broadcast: Sequence[str] = (),
    broadcast_bytes: int = 0,
) -> InputPlan:
    """Find the files, look at each, cut them into splits; `sampled` as plan_splits takes it.

    Notes the file of each `side`.  Of the sources named by `broadcast`, the one with the least bytes, if it
    has at most `broadcast_bytes`, is noted and not cut.  Raises InvalidArgument, naming the file, for an
    input that is not there or cannot be read in its format; OSError.
    """
    found = [find_inputs(each.paths, files) for each in readings]
    for each, reading in zip(found, readings, strict=True):
        for file in each.files:
            _check(file, reading.format, files)
    noted: dict[str, tuple[InputFile, ...]]
    noted = {name: (_side_file(name, path, files),) for name, path in (side or {}).items()}
    by_name = {reading.source: each.files for each, reading in zip(found, readings, strict=True)}
    small = _smallest({name: by_name[name] for name in broadcast}, broadcast_bytes)
    if small is not None:
        noted[source_key(small, noted)] = by_name[small]
    sources = [(() if name == small else by_name[name], format) for name, format, _ in readings]
    passed_over = sorted({path for each in found for path in each.passed_over})
    return InputPlan(tuple(plan_splits(sources, sizes, sampled=sampled)), _notes(passed_over), noted)


def copartitioned_plan(readings: Sequence[SourcePaths], files: FileSystem) -> InputPlan:
    """Of a local run, in which a file stands for each keyspace: one split of both."""
    found = [find_inputs(each.paths, files).files[0] for each in readings]
    return InputPlan((Split(0, tuple(Piece(file, 0, file.size) for file in found)),))


def source_key(source: str, side: Collection[str]) -> str:
    """Under which name the files of a source are noted: its own, unless side data has that name.

    Then it is one that no side data can have.
    """
    return f"{source}/source" if source in side else source


def _side_file(name: str, path: str, files: FileSystem) -> InputFile:
    if not files.is_file(path):
        raise InvalidArgument(f"side data {name}: {path} is no regular file that is there")
    return InputFile(path, files.size(path), files.mtime_ns(path))


def _smallest(sources: Mapping[str, Sequence[InputFile]], most_bytes: int) -> str | None:
    """The source with the least bytes, of equal ones the last; None when that has too many, or files."""
    if not sources:
        return None
    sizes = {name: sum(map(_unpacked_size, found)) for name, found in sources.items()}
    small = min(reversed(list(sizes)), key=sizes.__getitem__)
    count = len(sources[small])
    if most_bytes == ANY_SIZE and count > MAX_NOTED:
        raise InvalidArgument(
            f"source {small} has {count} files, and at most {MAX_NOTED} can go to every task",
            hint="put them together into fewer, or join by strategy='merge'",
        )
    return small if sizes[small] <= most_bytes and count <= MAX_NOTED else None


def _unpacked_size(file: InputFile) -> int:
    """About what it has once it is unpacked."""
    return file.size * (PACKED_FACTOR if is_packed(file.path) else 1)


def _check(file: InputFile, format: str, files: FileSystem) -> None:
    opened = files.open_read(file.path)
    try:
        head = opened.pread(HEAD_BYTES, 0)
        tail = opened.pread(4, max(0, file.size - 4))
    finally:
        opened.close()
    if head and not file.size:
        raise InvalidArgument(
            f"input {file.path} has a size of 0 bytes and gives data: it is made up while it is read",
            hint="copy it into an ordinary file first",
        )
    if format in COLUMN_FORMATS:
        why = why_no_columns(format, file.path, head, tail)
    else:
        why = None if format in ("file", "kv", "records") else why_unreadable(file.path, head, tail)
    if why is not None:
        reason, advice = why
        raise InvalidArgument(f"input {file.path} cannot be read as {format}: {reason}", hint=advice)


def _notes(passed_over: Sequence[str]) -> tuple[str, ...]:
    if not passed_over:
        return ()
    more = len(passed_over) - NAMES_TOLD
    names = ", ".join(passed_over[:NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")
    what = "1 name" if len(passed_over) == 1 else f"{len(passed_over)} names"
    return (f"passed over {what} of the input: {names}",)
