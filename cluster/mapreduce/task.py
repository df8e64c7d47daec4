"""What a task process runs: one map or one reduce attempt, all I/O through the FileSystem passed in.

The same two functions run a job in process (local.py) and on a cluster, which is why both give the same
bytes.  Everything an attempt writes lies in its own folder; nothing of it counts before its commit.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.errors import RingmillError
from cluster.mapreduce.chance import TaskRandom
from cluster.mapreduce.context import MAX_COUNT, Context
from cluster.mapreduce.definition import JobDefinition
from cluster.mapreduce.failures import Cause, TaskFailed, classify
from cluster.mapreduce.garbage import rare_collections
from cluster.mapreduce.map_kernel import MapKernel
from cluster.mapreduce.part_file import PartFile
from cluster.mapreduce.readers import SplitReader
from cluster.mapreduce.reduce_kernel import ReduceKernel
from cluster.mapreduce.run_file import PartitionSlice, Slice
from cluster.mapreduce.spec import JobSpec
from cluster.mapreduce.splits import Split
from cluster.ports import FileSystem

__all__ = [
    "MapOutput",
    "MapTask",
    "Progress",
    "ReduceOutput",
    "ReduceTask",
    "Report",
    "load_job",
    "Watch",
    "part_name",
    "run_map",
    "run_reduce",
    "unwatched",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an attempt is, of the bytes it will read."""

    bytes_done: int
    bytes_total: int
    status: str = ""  # what the job's code said last
    position: str = ""  # the record or group handed to it last


Report: TypeAlias = Callable[[Progress], None]
Watch: TypeAlias = Callable[[Callable[[], Progress]], None]


@dataclass(frozen=True, slots=True)
class MapTask:
    """One attempt of a map task; `task` is the split's index."""

    spec: JobSpec
    split: Split
    task: int
    attempt: int
    deadline: float | None = None
    memory_factor: int = 1


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
class ReduceTask:
    """One attempt of a reduce task; `inputs` hold its partition of each map task, in task order."""

    spec: JobSpec
    partition: int
    inputs: tuple[Slice, ...]
    attempt: int
    deadline: float | None = None
    memory_factor: int = 1


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


def part_name(partition: int) -> str:
    """File name of a reducer's output: part-00000."""
    return f"part-{partition:05d}"


def unwatched(look: Callable[[], Progress]) -> None:
    """The Watch of a run that nobody looks at."""


def run_map(
    job: JobDefinition,
    task: MapTask,
    files: FileSystem,
    folder: str,
    progress: Report,
    *,
    watch: Watch = unwatched,
) -> MapOutput:
    """Run one map attempt in `folder`, which is new and empty.

    `watch` is given a function that tells the present state from any thread: slow code reports rarely.

    Raises TaskFailed with its cause; a killed process says nothing.
    """
    spec, split = task.spec, task.split
    context = _context(spec, f"map-{task.task}", task.deadline)
    reader = SplitReader(split, spec.input_format, job.map_signature.second, files=files, context=context)

    def look() -> Progress:
        return Progress(reader.bytes_done, split.size, context.status_text, reader.position)

    def report() -> None:
        progress(look())

    watch(look)

    try:
        kernel = MapKernel(
            job,
            files=files,
            folder=folder,
            partitions=spec.reducers,
            memory_bytes=spec.memory_bytes * task.memory_factor,
            compression=spec.compression,
            context=context,
            on_batch=report,
        )
        with rare_collections():
            totals = kernel.run(reader.records())
    except Exception as error:
        raise classify(error, job.user_files, reader.position, reader.record) from error
    report()
    return MapOutput(
        totals.path,
        totals.partitions,
        dict(context.counters),
        split.size,
        reader.records_read,
        totals.records_out,
        totals.spills,
        tuple(context.log_lines),
    )


def run_reduce(
    job: JobDefinition,
    task: ReduceTask,
    files: FileSystem,
    folder: str,
    progress: Report,
    *,
    watch: Watch = unwatched,
) -> ReduceOutput:
    """Run one reduce attempt; its part file is left in `folder`, synced.  Raises TaskFailed."""
    spec = task.spec
    context = _context(spec, f"reduce-{task.partition}", task.deadline)
    total = sum(each.length for each in task.inputs)
    records_in = sum(each.records for each in task.inputs)
    path = f"{folder}/{part_name(task.partition)}"

    def look() -> Progress:
        done = total * min(kernel.groups, records_in) // max(1, records_in)
        return Progress(done, total, context.status_text, f"group {kernel.groups}")

    def report() -> None:
        progress(look())

    try:
        kernel = ReduceKernel(
            job,
            files=files,
            folder=folder,
            memory_bytes=spec.memory_bytes * task.memory_factor,
            compression=spec.compression,
            context=context,
        )
        watch(look)
        with rare_collections():
            totals = kernel.run(task.inputs, PartFile(files, path, spec.output_format), report)
        files.fsync_dir(folder)
    except Exception as error:
        raise classify(error, job.user_files) from error
    progress(Progress(total, total, context.status_text))
    return ReduceOutput(
        task.partition,
        path,
        totals.size,
        totals.crc32c,
        dict(context.counters),
        kernel.groups,
        records_in,
        totals.records,
        tuple(context.log_lines),
    )


def load_job(bundle_path: str, module: str, name: str) -> JobDefinition:
    """Import the job object from a bundle file, or from the root folder of its sources.

    The path stays in sys.path, as functions may import when they run.  Raises TaskFailed: BAD_BUNDLE when
    module or job are not there, USER_ERROR when the module's own code fails.
    """
    if bundle_path not in sys.path:
        sys.path.insert(0, bundle_path)
        importlib.invalidate_caches()
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise TaskFailed(Cause.BAD_BUNDLE, f"module {module} does not import: {error}") from error
    except RingmillError as error:
        raise TaskFailed(Cause.USER_ERROR, f"module {module} does not import: {error}") from error
    except Exception as error:
        base = f"{bundle_path}/{module.replace('.', '/')}"
        failure = classify(error, {f"{base}.py", f"{base}/__init__.py"})
        message = f"module {module} does not import: {failure.message}"
        raise TaskFailed(Cause.USER_ERROR, message, failure.frames) from error
    found = getattr(loaded, name, None)
    if isinstance(found, JobDefinition):
        return found
    what = "does not exist" if found is None else f"is a {type(found).__name__}, not a job"
    jobs = sorted(each for each, value in vars(loaded).items() if isinstance(value, JobDefinition))
    there = f"there are {', '.join(jobs)}" if jobs else "there is none"
    raise TaskFailed(Cause.BAD_BUNDLE, f"job {name!r} in module {module} {what}; {there}")


def _counted(counters: Any) -> Mapping[str, int]:
    """Counters as a task process tells them, which user code may have forged.  Raises ValueError."""
    if not isinstance(counters, dict):
        raise ValueError(f"no counters: {counters!r:.80}")
    for name, count in counters.items():
        if not isinstance(name, str) or type(count) is not int or abs(count) > MAX_COUNT:
            raise ValueError(f"no counter: {name!r:.80} {count!r:.80}")
    return counters


def _context(spec: JobSpec, task: str, deadline: float | None) -> Context:
    return Context(task, TaskRandom(f"{spec.seed}/{task}"), spec.params, deadline)
