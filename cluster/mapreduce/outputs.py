"""The outputs of map and reduce attempts, made by the kernels and used by the job's state machine.

Pure.  This file is below both, so that neither imports the other.  User code shares the process of an attempt
and may have forged what it tells, so whoever decodes an output gets sound fields or one of two errors.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ringmill.cluster.mapreduce.context import MAX_COUNT, MAX_COUNTER_CHARS, MOST_COUNTERS
from ringmill.cluster.mapreduce.heavy_keys import HeavyKey, heavy_from_wire
from ringmill.cluster.mapreduce.well_formed import text, whole_number

__all__ = [
    "MOST_COUNTED",
    "MapOutput",
    "PartitionSlice",
    "ReduceOutput",
    "SUCCESS",
    "Slice",
    "part_name",
    "staging_folder",
    "without_heavy_keys",
]


SUCCESS: Final = "_SUCCESS"
"""The file of an output that lists its parts; the output is whole once it is there."""
MOST_COUNTED: Final = 1 << 46
"""Bytes, records and groups that one attempt may tell of: those of 100,000 stay below 2^63 together."""
_MOST_SPILLS: Final = (1 << 31) - 1
_FIELDS_OF_A_MAP: Final = 8  # without heavy keys
_SUFFIXES: Final = {"none": "", "gzip": ".gz", "zstd": ".zst"}


class PartitionSlice(NamedTuple):
    """Where a partition lies in a run; `crc32c` is of its stored bytes."""

    offset: int
    length: int
    raw_bytes: int
    records: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A partition of one run, as a reader finds it: in the run itself or in a copy of its bytes."""

    path: str
    offset: int
    length: int
    raw_bytes: int
    records: int


@dataclass(frozen=True, slots=True)
class MapOutput:
    """A finished map attempt: one run, and where each partition lies in it.

    `heavy` are keys that have much of what is in there (ringmill.cluster.mapreduce.heavy_keys).
    """

    file: str
    partitions: tuple[PartitionSlice, ...]
    counters: Mapping[str, int]
    bytes_in: int
    records_in: int
    records_out: int
    spills: int = 0
    log: tuple[str, ...] = ()
    heavy: tuple[HeavyKey, ...] = ()

    def slice(self, partition: int) -> Slice:
        """A partition as a reducer on the same files reads it."""
        where = self.partitions[partition]
        return Slice(self.file, where.offset, where.length, where.raw_bytes, where.records)

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order; heavy keys are left out where there are none, as
        earlier releases know none."""
        row = [self.file, [list(each) for each in self.partitions], dict(self.counters), self.bytes_in,
               self.records_in, self.records_out, self.spills, list(self.log)]  # fmt: skip
        return [*row, [list(each) for each in self.heavy]] if self.heavy else row

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> MapOutput:
        """Raises ValueError or TypeError for what no attempt can have made."""
        file, partitions, counters, bytes_in, records_in, records_out, spills, log, *more = fields
        (heavy,) = more or ((),)
        rows = tuple(PartitionSlice(*_numbers(row)) for row in partitions)
        _numbers(map(sum, zip(*((row.length, row.raw_bytes, row.records) for row in rows), strict=True)))
        _numbers((bytes_in, records_in, records_out))
        whole_number(spills, most=_MOST_SPILLS)
        return cls(
            text(file), rows, _counted(counters), bytes_in, records_in, records_out, spills,
            tuple(map(text, log)), heavy_from_wire(heavy, [row.records for row in rows]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReduceOutput:
    """A finished reduce attempt: a synced part file.  `records_in` counts what the slices held."""

    partition: int
    file: str
    size: int
    crc32c: int
    counters: Mapping[str, int]
    groups: int
    records_in: int
    records_out: int
    log: tuple[str, ...] = ()

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order."""
        return [self.partition, self.file, self.size, self.crc32c, dict(self.counters), self.groups,
                self.records_in, self.records_out, list(self.log)]  # fmt: skip

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> ReduceOutput:
        """Raises ValueError or TypeError for what no attempt can have made."""
        partition, file, size, crc32c, counters, groups, records_in, records_out, log = fields
        _numbers((partition, size, crc32c, groups, records_in, records_out))
        return cls(
            partition, text(file), size, crc32c, _counted(counters), groups, records_in, records_out,
            tuple(map(text, log)),
        )  # fmt: skip


def without_heavy_keys(row: Sequence[Any]) -> list[Any]:
    """What MapOutput.to_wire gives, as earlier releases read it."""
    return list(row[:_FIELDS_OF_A_MAP])


def staging_folder(output: str, staging: str) -> str:
    """The hidden folder beside the output, in its file system, that holds all attempts of a job.

    `staging` is JobSpec.staging, of one acceptance of one job: a coordinator that was stopped while it
    planned makes its own folder, whoever has the job by then.
    """
    parent, name = posixpath.split(output.rstrip("/"))
    return posixpath.join(parent, f".{name}.ringmill-{staging}")


def part_name(partition: int, compression: str = "none") -> str:
    """File name of a reducer's output: part-00000, part-00000.gz."""
    return f"part-{partition:05d}{_SUFFIXES[compression]}"


def _counted(counters: Any) -> Mapping[str, int]:
    """Check counters from a task process, which user code may have forged.  Raises ValueError."""
    if not isinstance(counters, dict):
        raise ValueError(f"no counters: {type(counters).__name__}")
    if len(counters) > MOST_COUNTERS:
        raise ValueError(f"{len(counters)} counters; a task may have {MOST_COUNTERS}")
    for name, count in counters.items():
        if not isinstance(name, str) or not isinstance(count, int | float):
            raise ValueError(f"no counter: {name!r:.80} {type(count).__name__}")
        if len(name) > MAX_COUNTER_CHARS:
            raise ValueError(f"the name of a counter has {len(name)} characters: {name!r:.80}")
        if type(count) is not int or abs(count) > MAX_COUNT:
            raise ValueError(f"no counter: {name!r:.80} {count!r:.80}")
    return counters


def _numbers(values: Iterable[Any]) -> list[int]:
    """Counts of bytes or records.  Raises ValueError."""
    return [whole_number(each, most=MOST_COUNTED) for each in values]
