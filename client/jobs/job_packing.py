"""Checks what a caller says of a job, and packs it for a submission."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Final

from ringmill.client.arguments import (
    Inputs,
    PathLike,
    checked_flag,
    checked_params,
    checked_reducers,
    checked_weight,
)
from ringmill.client.jobs.job_ends import checked_inputs, checked_output, checked_side
from ringmill.client.jobs.job_modules import (
    LoadedJob,
    Target,
    find_job,
    imported_job,
    load_job,
    named_job,
)
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.outputs_of_jobs import with_outputs
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, last_job
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.definition_checks import check_split_mib, check_task_memory
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.codecs.typed_records import record_type
from ringmill.cluster.ports import Entropy, FileSystem
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = [
    "ID_BYTES", "JobOptions", "OpenFiles", "PackedJob", "chunks_of", "described_job", "job_id_stem",
    "loaded_here", "load_meanwhile", "packed_job_of",
]  # fmt: skip

CHUNK_BYTES: Final = 1 << 20
ID_BYTES: Final = 8
"""Random bytes at the end of an id.  Two jobs of one id are one job, so none may be drawn twice."""

OpenFiles = Callable[[], AbstractContextManager[FileSystem]]


@dataclass(frozen=True, slots=True)
class PackedJob:
    """A submission: the code, the description, and the definition that it was made of."""

    bundle: Bundle
    spec: JobSpec
    definition: Runnable


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How one run of a job differs from what the job itself says; None where it does not.

    Raises InvalidArgument for what no job takes.
    """

    reducers: int | None = None
    params: Mapping[str, str] | None = None
    overwrite: bool = False
    split_mib: int | None = None
    side: Mapping[str, str] | None = None
    on_bad_record: str | None = None
    weight: int = 1
    network: bool = False
    task_memory_mib: int | None = None

    def __post_init__(self) -> None:
        checked_reducers(self.reducers)
        checked_params(self.params)
        checked_flag("overwrite", self.overwrite)
        if self.split_mib is not None:
            check_split_mib(self.split_mib)
        if self.task_memory_mib is not None:
            check_task_memory(self.task_memory_mib)
        checked_weight(self.weight)
        checked_flag("network", self.network)


def loaded_here(target: Target, files: OpenFiles) -> LoadedJob:
    """Load a job in the caller's thread, for as long as its import takes.  Raises InvalidArgument."""
    with _told_of_sources(), files() as opened:
        return load_job(target, opened, os.getcwd())


async def load_meanwhile(target: Target, files: OpenFiles) -> LoadedJob:
    """Load a job; of that only imports of what is not yet imported hold the caller's loop."""
    with _told_of_sources(), files() as opened:
        named = named_job(target, os.getcwd())
        return imported_job(await opened.off_loop(find_job, named, opened))


@contextmanager
def _told_of_sources() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgument(f"the sources of the job cannot be read: {error}") from error


async def packed_job_of(
    target: Target | LoadedJob,
    *,
    files: OpenFiles,
    entropy: Entropy,
    status: Callable[[str], Awaitable[JobState]],
    input: Inputs | None,
    output: PathLike | CollectOutput | None,
    reducers: int | None,
    params: Mapping[str, str] | None,
    overwrite: bool,
    split_mib: int | None,
    side: Mapping[str, str] | None,
    on_bad_record: str | None,
    weight: int,
    network: bool,
    task_memory_mib: int | None,
) -> PackedJob:
    """Load and pack a job, unless it is loaded; `status` tells of jobs whose output is the input.

    Raises InvalidArgument for a module, job or argument that is not valid.
    """
    options = JobOptions(
        reducers=reducers,
        params=params,
        overwrite=overwrite,
        split_mib=split_mib,
        side=side,
        on_bad_record=on_bad_record,
        weight=weight,
        network=network,
        task_memory_mib=task_memory_mib,
    )
    loaded = target if isinstance(target, LoadedJob) else await load_meanwhile(target, files)
    job = f"{job_id_stem(loaded.name)}-{entropy.random_bytes('client.job', ID_BYTES).hex()}"
    inputs = await with_outputs(input, status)
    spec = described_job(loaded, job, inputs, output, options)
    if loaded.in_file is not loaded.definition:
        in_file = described_job(replace(loaded, definition=loaded.in_file), job, inputs, output, options)
        _check_is_unchanged(loaded, spec, in_file)
    return PackedJob(loaded.bundle, spec, loaded.definition)


def _check_is_unchanged(loaded: LoadedJob, spec: JobSpec, in_file: JobSpec) -> None:
    """Raises InvalidArgument where nodes, which import the file as it is now, would run another job than the
    caller has: with other settings, or records of other types."""
    changed = [each.name for each in fields(spec) if getattr(spec, each.name) != getattr(in_file, each.name)]
    given, found = last_job(loaded.definition), last_job(loaded.in_file)
    if [record_type(each) for each in given.gives] != [record_type(each) for each in found.gives]:
        changed.append("the types of its records")
    if changed:
        raise InvalidArgument(
            f"the file of job {loaded.name!r} has changed since it was imported: {', '.join(changed)}",
            hint="nodes run it as it is now: import it anew, or run it by its name, FILE.py:NAME",
        )


def described_job(
    loaded: LoadedJob,
    job: str,
    input: Inputs | None,
    output: PathLike | CollectOutput | None,
    options: JobOptions,
) -> JobSpec:
    """The description of one run, whose id is `job`.  Relative paths start at the current folder, and parts
    for a keyspace or a store are staged there.

    Raises InvalidArgument for what does not go with the job.
    """
    definition = loaded.definition
    side_files = checked_side(definition, options.side)
    inputs = checked_inputs(definition, input)
    end = checked_output(definition, output, job, overwrite=options.overwrite)
    return spec_of(
        definition,
        job=job,
        module=loaded.module,
        name=loaded.name,
        bundle_sha256=loaded.bundle.sha256,
        inputs=inputs,
        output=end.folder,
        reducers=checked_reducers(options.reducers),
        params=checked_params(options.params),
        overwrite=end.overwrite,
        split_mib=options.split_mib,
        side=side_files,
        on_bad_record=options.on_bad_record,
        output_keyspace=end.keyspace,
        weight=checked_weight(options.weight),
        network=options.network,
        task_memory_mib=options.task_memory_mib,
        collect_bytes=end.collect_bytes,
        output_url=end.url,
    )


def job_id_stem(name: str) -> str:
    """The beginning of the ids of a job of this name, at most 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "job"


async def chunks_of(bundle: Bundle) -> AsyncIterator[jobs_pb2.BundleChunk]:
    """The messages that upload it."""
    for start in range(0, max(1, len(bundle.data)), CHUNK_BYTES):
        yield jobs_pb2.BundleChunk(sha256=bundle.sha256, data=bundle.data[start : start + CHUNK_BYTES])
