"""Looks for broken laws of a job in the first records of its input.

A composition root: it opens the real FileSystem door.  It does not load gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ringmill.client.jobs.run_local import Input, absolute_inputs, absolute_side
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.api.commands import ExternalCommand
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.laws import broken_laws
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.codecs.record_forms import form_of
from ringmill.cluster.mapreduce.commit.job_steps import input_plan_of
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, Split
from ringmill.cluster.ports import FileSystem

__all__ = ["CheckedJob", "check_job"]


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """How many records the job's functions were tried on, and the laws that they broke, a line each."""

    records: int
    broken: tuple[str, ...]


def check_job(
    job: Runnable,
    input: Input,
    *,
    records: int = 1000,
    params: Mapping[str, str] | None = None,
    side: Mapping[str, str] | None = None,
) -> CheckedJob:
    """Try the job's functions on the first `records` records of its input, of each source.

    Raises InvalidArgument for bad arguments, a job that reads a keyspace, a pipeline and a job of programs;
    JobFailed for input that cannot be read; what the job's functions raise; OSError.
    """
    if not isinstance(job, JobDefinition) or job.reads_keyspace:
        what = "a job that reads a keyspace" if isinstance(job, JobDefinition) else "a pipeline"
        raise InvalidArgument(
            f"the first records of an input are tried, and this is {what}",
            hint="ringmill.broken_laws(job, sample) takes records of yours",
        )
    if any(isinstance(each, ExternalCommand) for each in (job.map, job.reduce)):
        raise InvalidArgument("a program cannot be called again on parts of what it has read")
    named = absolute_inputs(job, input)
    paths = absolute_side(job, side)
    spec = JobSpec.of(
        job, job="check", module=job.map.__module__, name="job", bundle_sha256="",
        inputs=named if job.source_names else named[""], output="/check", params=params, side=paths,
    )  # fmt: skip
    with closing(UrlFiles()) as files:
        splits = input_plan_of(spec, files, SPLIT_SIZES).splits
        samples = []
        for number in range(max(1, len(job.source_names))):
            branch = job.of_source(number)
            values = _values(branch, spec, [each for each in splits if each.source == number], files)
            try:
                samples.append(list(islice(values, records)))
            except TaskFailed as failure:
                raise failure.as_job_error("the sample", 1) from failure
    names = job.source_names
    sample: Any = dict(zip(names, samples, strict=True)) if names else samples[0]
    return CheckedJob(sum(map(len, samples)), tuple(broken_laws(job, sample, params, side=paths)))


def _values(job: JobDefinition, spec: JobSpec, splits: list[Split], files: FileSystem) -> Iterator[Any]:
    """What `broken_laws` takes of the records of these splits."""
    signature = job.map_signature
    for split in splits:
        reader = SplitReader(
            split, spec.format_of(split.source), signature.second,
            files=files, context=Context("check", TaskRandom("0/check")), key_hint=signature.first,
            columns=job.columns, where=signature.where,
        )  # fmt: skip
        if job.is_batch:
            for _, batch in reader.batches(signature.second):
                yield from _each_of(batch, job.input.format, signature.second)
        else:
            pairs = chain.from_iterable(reader.records())
            yield from pairs if job.input.format == "records" else (value for _, value in pairs)


def _each_of(batch: Any, format: str, hint: Any) -> list[Any]:
    """The values of a batch: lines of a block, rows of columns as dicts."""
    if form_of(format, hint, is_batch=True) is bytes:
        return list(batch.removesuffix(b"\n").split(b"\n"))
    return list(batch.to_pylist()) if hasattr(batch, "to_pylist") else list(batch)
