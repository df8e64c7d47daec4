"""Checks what a caller says of a job, and packs it for a submission."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
from ringmill.client.jobs.job_modules import Target, load_job
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.outputs_of_jobs import with_outputs
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import Entropy, FileSystem
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = ["OpenFiles", "PackedJob", "chunks_of", "packed_job_of"]

CHUNK_BYTES: Final = 1 << 20

OpenFiles = Callable[[], AbstractContextManager[FileSystem]]


@dataclass(frozen=True, slots=True)
class PackedJob:
    """A submission: the code, the description, and the definition that it was made of."""

    bundle: Bundle
    spec: JobSpec
    definition: Runnable


async def packed_job_of(
    target: Target,
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
) -> PackedJob:
    """Load and pack a job; `status` tells of jobs whose output is the input.

    Raises InvalidArgument for a module, job or argument that is not valid.
    """
    reducers, given = checked_reducers(reducers), checked_params(params)
    overwrite, weight = checked_flag("overwrite", overwrite), checked_weight(weight)
    try:
        with files() as opened:
            loaded = load_job(target, opened, os.getcwd())
    except OSError as error:
        raise InvalidArgument(f"the sources of the job cannot be read: {error}") from error
    job = _new_id(loaded.name, entropy)
    side_files = checked_side(loaded.definition, side)
    inputs = checked_inputs(loaded.definition, await with_outputs(input, status))
    end = checked_output(loaded.definition, output, job, overwrite=overwrite)
    spec = spec_of(
        loaded.definition,
        job=job,
        module=loaded.module,
        name=loaded.name,
        bundle_sha256=loaded.bundle.sha256,
        inputs=inputs,
        output=end.folder,
        reducers=reducers,
        params=given,
        overwrite=end.overwrite,
        split_mib=split_mib,
        side=side_files,
        on_bad_record=on_bad_record,
        output_keyspace=end.keyspace,
        weight=weight,
        network=checked_flag("network", network),
        collect_bytes=end.collect_bytes,
        output_url=end.url,
    )
    return PackedJob(loaded.bundle, spec, loaded.definition)


def _new_id(name: str, entropy: Entropy) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "job"
    return f"{stem}-{entropy.random_bytes('client.job', 3).hex()}"


async def chunks_of(bundle: Bundle) -> AsyncIterator[jobs_pb2.BundleChunk]:
    """The messages that upload it."""
    for start in range(0, max(1, len(bundle.data)), CHUNK_BYTES):
        yield jobs_pb2.BundleChunk(sha256=bundle.sha256, data=bundle.data[start : start + CHUNK_BYTES])
