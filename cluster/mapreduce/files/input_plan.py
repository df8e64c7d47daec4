"""Plans a job's input: the files, their splits, and what was left out.

I/O only through the FileSystem passed in.  A local run and a cluster plan with the same function.  Every
input is checked before any task starts, so that a file in another format is refused by name and not read as
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.files.file_kinds import (
    COLUMN_FORMATS,
    HEAD_BYTES,
    why_no_columns,
    why_unreadable,
)
from ringmill.cluster.mapreduce.files.inputs import find_inputs
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, InputFile, Split, SplitSizes, plan_splits
from ringmill.cluster.ports import FileSystem

__all__ = ["InputPlan", "plan_input"]

NAMES_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class InputPlan:
    """`notes` are lines for people about inputs that were named but are not read."""

    splits: tuple[Split, ...]
    notes: tuple[str, ...] = ()

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [splits, notes]."""
        return [[split.to_wire() for split in self.splits], list(self.notes)]

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> InputPlan:
        splits, notes = fields
        return cls(tuple(Split.from_wire(row) for row in splits), tuple(notes))


def plan_input(
    inputs: Sequence[str],
    format: str,
    files: FileSystem,
    sizes: SplitSizes = SPLIT_SIZES,
    *,
    sampled: bool = False,
) -> InputPlan:
    """Find the files, look at each, cut them into splits; `sampled` as plan_splits takes it.

    Raises InvalidArgument, naming the file, for an input that is not there or cannot be read in this format;
    OSError.
    """
    found = find_inputs(inputs, files)
    for file in found.files:
        _check(file, format, files)
    return InputPlan(
        tuple(plan_splits(found.files, format, sizes, sampled=sampled)), _notes(found.passed_over)
    )


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
        why = None if format in ("file", "kv") else why_unreadable(file.path, head, tail)
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
