"""Runs one map or reduce attempt in a task process, with all I/O through the FileSystem passed in.

The same two functions run a job in process (local.py) and on a cluster, which is why both give the same
bytes.  Everything an attempt writes lies in its own folder; nothing of it counts before its commit.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.api.chains.chain import JobChain
from ringmill.cluster.mapreduce.api.formats import too_much
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.codecs.arrow_hints import extra_hint
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, classify
from ringmill.cluster.mapreduce.files.part_file import PartFile
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.kernel.broadcasting import as_planned, broadcast_form, check_side_data
from ringmill.cluster.mapreduce.kernel.collector_pace import rare_collections
from ringmill.cluster.mapreduce.kernel.hashed.copartitioned import CopartitionedTask
from ringmill.cluster.mapreduce.kernel.hashed.hash_join import HashJoin
from ringmill.cluster.mapreduce.kernel.key_ranges import key_ranges
from ringmill.cluster.mapreduce.kernel.map_kernel import MapKernel
from ringmill.cluster.mapreduce.kernel.reduce_kernel import ReduceKernel
from ringmill.cluster.mapreduce.kernel.set_aside import SetAside
from ringmill.cluster.mapreduce.kernel.states_part import StatesPart
from ringmill.cluster.mapreduce.kernel.typed_output import as_collected
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, Slice, part_name
from ringmill.cluster.mapreduce.progress import AttemptProgress, Progress
from ringmill.cluster.ports import FileSystem

__all__ = [
    "MapAttempt",
    "ReduceAttempt",
    "job_from_bundle",
    "run_map",
    "run_reduce",
]


@dataclass(frozen=True, slots=True)
class MapAttempt:
    """One attempt of a map task; `task` is the split's index.

    Its buffer has the same bound in every attempt, as a combine that rounds gives other bytes where the
    buffer is full elsewhere.  So has that of a reduce; what functions of a join or a group may keep in
    memory (Context.memory_bytes) changes no bytes, and is more in a reduce that has failed for want of it.
    """

    spec: JobSpec
    split: Split
    task: int
    attempt: int
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class ReduceAttempt:
    """One attempt of a reduce task; `inputs` hold its partition of each map task, in task order."""

    spec: JobSpec
    partition: int
    inputs: tuple[Slice, ...]
    attempt: int
    deadline: float | None = None
    memory_factor: int = 1


def run_map(
    job: JobDefinition,
    task: MapAttempt,
    files: FileSystem,
    folder: str,
    progress: Progress,
) -> MapOutput:
    """Run one map attempt in `folder`, which is new and empty; a part of the output is left there synced.

    Raises TaskFailed with its cause.
    """
    spec, split = task.spec, task.split
    with _told_of_files(job):
        check_side_data(spec, files)
        job = as_planned(job, spec, files, split.source)
    if spec.collect_bytes:
        job = as_collected(job)
    context = _context(spec, f"map-{task.task}", task)
    if spec.join_by == "copartitioned":
        return _run_copartitioned(job, task, files, folder, progress, context)
    reader = SplitReader(
        split, spec.format_of(split.source), job.map_signature.second,
        files=files, context=context, key_hint=job.map_signature.first, columns=job.columns,
        where=job.map_signature.where,
    )  # fmt: skip
    aside = None
    if spec.bad_records:  # rule J19
        at_record = progress.at_record if spec.has_sure_numbers(split.source) else None
        aside = SetAside(spec.bad_records, job.user_files, reader, context, split.fatal, at_record)
    progress.follow(
        lambda: AttemptProgress(reader.bytes_done, split.size, context.status_text, reader.position)
    )
    try:
        final = _part_of_map(job, files, folder, task) if spec.is_map_only else None
        kernel = MapKernel(
            job,
            files=files,
            folder=folder,
            partitions=spec.reducers,
            part=split.part_of(spec.reducers),
            ranges=key_ranges(job, spec, split, files) if spec.order == "total" else None,
            memory_bytes=spec.memory_bytes,
            compression=spec.compression,
            output_format=spec.output_format,
            context=context,
            aside=aside,
            final=final,
            phases=progress.phases,
        )
        with rare_collections():
            if job.is_batch:
                totals = kernel.run_batches(reader.batches(job.map_signature.second))
            else:
                totals = kernel.run(reader.records())
        if final is not None:
            files.fsync_dir(folder)
    except (Exception, SystemExit) as error:
        raise classify(error, job.user_files, reader.position, reader.record) from error
    return MapOutput(
        totals.path,
        totals.partitions,
        dict(context.counters),
        split.size,
        reader.records_read,
        totals.records_out,
        totals.spills,
        tuple(context.log_lines),
        totals.heavy,
    )


def _run_copartitioned(
    job: JobDefinition,
    task: MapAttempt,
    files: FileSystem,
    folder: str,
    progress: Progress,
    context: Context,
) -> MapOutput:
    spec, split = task.spec, task.split
    both = CopartitionedTask(
        job, spec, split, files=files, folder=folder, context=context, phases=progress.phases
    )
    progress.follow(
        lambda: AttemptProgress(both.bytes_done, split.size, context.status_text, both.reader.position)
    )
    try:
        part = _part_of_map(job, files, folder, task)
        with rare_collections():
            both.run(part)
        files.fsync_dir(folder)
    except (Exception, SystemExit) as error:
        raise classify(error, job.user_files, both.reader.position, both.reader.record) from error
    return MapOutput(
        part.path,
        (part.totals.as_slice,),
        dict(context.counters),
        split.size,
        both.records_read,
        part.totals.records,
        log=tuple(context.log_lines),
    )


def run_reduce(
    job: JobDefinition,
    task: ReduceAttempt,
    files: FileSystem,
    folder: str,
    progress: Progress,
) -> ReduceOutput:
    """Run one reduce attempt; its part file is left in `folder`, synced.  Raises TaskFailed."""
    spec = task.spec
    with _told_of_files(job):
        check_side_data(spec, files)
    if spec.broadcast_source is not None:
        job = broadcast_form(job)
    if spec.collect_bytes:
        job = as_collected(job)
    context = _context(spec, f"reduce-{task.partition}", task)
    states = None
    if job.update is not None:
        with _told_of_files(job):
            states = StatesPart(job, files, spec.inputs[0], task.partition)
    total = sum(each.length for each in task.inputs) + (states.size if states is not None else 0)
    records_in = sum(each.records for each in task.inputs)
    compression = spec.compression_of(task.partition)
    path = f"{folder}/{part_name(task.partition, compression)}"

    def look() -> AttemptProgress:
        done = int(total * kernel.share)
        return AttemptProgress(done, total, context.status_text, f"group {kernel.groups}")

    try:
        kernel = ReduceKernel(
            job,
            files=files,
            folder=folder,
            memory_bytes=spec.memory_bytes,
            compression=spec.compression,
            output_format=spec.output_format,
            context=context,
            phases=progress.phases,
            states=states,
            hash_join=_hash_join(job, spec, files, folder, context),
        )
        progress.follow(look)
        with rare_collections():
            if task.partition < spec.reducers:
                totals = kernel.run(task.inputs, _part_file(job, files, path, spec, compression))
            else:  # bad records have a form of their own
                totals = kernel.run_aside(task.inputs, _part_file(None, files, path, spec, compression))
        files.fsync_dir(folder)
    except (Exception, SystemExit) as error:
        raise classify(error, job.user_files) from error
    progress.follow(lambda: AttemptProgress(total, total, context.status_text))
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


def _hash_join(
    job: JobDefinition, spec: JobSpec, files: FileSystem, folder: str, context: Context
) -> HashJoin | None:
    """Where the rows of a join meet that are not sorted; None for other jobs.

    Its memory is what the job says, not what this attempt has (rule J31).
    """
    if job.joining is None or spec.join_by != "hash" or spec.broadcast_source is not None:
        return None
    return HashJoin(
        job.joining, files=files, folder=folder, memory_bytes=spec.memory_bytes,
        compression=spec.compression, context=context,
    )  # fmt: skip


def _part_of_map(job: JobDefinition, files: FileSystem, folder: str, task: MapAttempt) -> PartFile:
    compression = task.spec.output_compression
    return _part_file(job, files, f"{folder}/{part_name(task.task, compression)}", task.spec, compression)


def _part_file(
    job: JobDefinition | None, files: FileSystem, path: str, spec: JobSpec, compression: str
) -> PartFile:
    most, form = spec.collect_bytes, None if job is None else job.part_form()
    return PartFile(files, path, compression, most_bytes=most, why=too_much(most), form=form)


@contextmanager
def _told_of_files(job: JobDefinition) -> Iterator[None]:
    """An error at the files that every task reads has a cause, as one at its own input has."""
    try:
        yield
    except OSError as error:
        raise classify(error, job.user_files) from error


def job_from_bundle(bundle_path: str, module: str, name: str) -> JobDefinition:
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
        advice = f"; {extra}" if (extra := extra_hint(error)) else ""
        raise TaskFailed(Cause.BAD_BUNDLE, f"module {module} does not import: {error}{advice}") from error
    except RingmillError as error:
        raise TaskFailed(Cause.USER_ERROR, f"module {module} does not import: {error}") from error
    except (Exception, SystemExit) as error:
        base = f"{bundle_path}/{module.replace('.', '/')}"
        failure = classify(error, {f"{base}.py", f"{base}/__init__.py"})
        message = f"module {module} does not import: {failure.message}"
        raise TaskFailed(Cause.USER_ERROR, message, failure.frames) from error
    name, _, link = name.partition(".")
    found = getattr(loaded, name, None)
    if isinstance(found, JobChain) and link.isdecimal() and int(link) < len(found.links):
        return found.links[int(link)].step
    if isinstance(found, JobDefinition):
        return found
    what = "does not exist" if found is None else f"is a {type(found).__name__}, not a job"
    jobs = sorted(each for each, value in vars(loaded).items() if isinstance(value, JobDefinition))
    there = f"there are {', '.join(jobs)}" if jobs else "there is none"
    raise TaskFailed(Cause.BAD_BUNDLE, f"job {name!r} in module {module} {what}; {there}")


def _context(spec: JobSpec, name: str, task: MapAttempt | ReduceAttempt) -> Context:
    factor = task.memory_factor if isinstance(task, ReduceAttempt) else 1
    chance = TaskRandom(f"{spec.seed}/{name}")
    # Copies, as the description is kept for the next tasks of this process, and code may change what it gets.
    return Context(
        name, chance, dict(spec.params), task.deadline, spec.memory_bytes * factor, dict(spec.side)
    )
