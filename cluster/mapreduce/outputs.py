"""The outputs of map and reduce attempts, made by the kernels and used by the job's state machine.

Pure.  This file is below both, so that neither imports the other.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ringmill.cluster.mapreduce.context import MAX_COUNT

__all__ = ["MapOutput", "PartitionSlice", "ReduceOutput", "Slice", "part_name", "staging_folder"]


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
    """A finished map attempt: one run, and where each partition lies in it."""

    file: str
    partitions: tuple[PartitionSlice, ...]
    counters: Mapping[str, int]
    bytes_in: int
    records_in: int
    records_out: int
    spills: int = 0
    log: tuple[str, ...] = ()

    def slice(self, partition: int) -> Slice:
        """A partition as a reducer on the same files reads it."""
        where = self.partitions[partition]
        return Slice(self.file, where.offset, where.length, where.raw_bytes, where.records)

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order."""
        return [self.file, [list(each) for each in self.partitions], dict(self.counters), self.bytes_in,
                self.records_in, self.records_out, self.spills, list(self.log)]  # fmt: skip

    @classmethod
    def from_wire(cls, fields: Sequence[Any]) -> MapOutput:
        file, partitions, counters, bytes_in, records_in, records_out, spills, log = fields
        rows = tuple(PartitionSlice(*row) for row in partitions)
        return cls(file, rows, _counted(counters), bytes_in, records_in, records_out, spills, tuple(log))


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
        partition, file, size, crc32c, counters, groups, records_in, records_out, log = fields
        return cls(
            partition, file, size, crc32c, _counted(counters), groups, records_in, records_out, tuple(log)
        )


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
        raise ValueError(f"no counters: {counters!r:.80}")
    for name, count in counters.items():
        if not isinstance(name, str) or type(count) is not int or abs(count) > MAX_COUNT:
            raise ValueError(f"no counter: {name!r:.80} {count!r:.80}")
    return counters
