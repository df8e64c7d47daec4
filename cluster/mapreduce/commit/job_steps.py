"""The steps of a job or of a stage: plan cuts the input into splits, publish commits the output.

Both visit every file of the input or output, and sync.  A node runs them in a task process without user code,
so that its own loop never waits for a file.

I/O only through the FileSystem passed in.  Rule J6: docs/protocol/jobs.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

import msgpack

from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.chains.stage_specs import later_inputs, stage_of
from ringmill.cluster.mapreduce.api.chains.stages import STAGES, START
from ringmill.cluster.mapreduce.api.formats import refuse_too_much
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import (
    OutputMayShow,
    StagedPart,
    commit_output,
    refuse_existing,
    remove_staging,
    require_sight,
)
from ringmill.cluster.mapreduce.commit.url_commit import commit_to_store, remove_copies
from ringmill.cluster.mapreduce.file_errors import refusal_of
from ringmill.cluster.mapreduce.file_urls import refuse_local_store
from ringmill.cluster.mapreduce.files.input_plan import InputPlan, copartitioned_plan, plan_input
from ringmill.cluster.mapreduce.files.inputs import find_inputs
from ringmill.cluster.mapreduce.files.splits import MAX_LATER_SLICES, SPLIT_SIZES, SplitSizes, check_slices
from ringmill.cluster.mapreduce.outputs import staging_folder
from ringmill.cluster.os_errors import Meaning, meaning_of
from ringmill.cluster.ports import FileSystem

__all__ = ["input_plan_of", "plan_job", "plan_stage", "publish_output", "withdraw_output"]

MAX_PLAN_BYTES: Final = 15 << 20  # a message of a task process has room for 16 MiB


def plan_job(spec: JobSpec, files: FileSystem, sizes: SplitSizes = SPLIT_SIZES) -> InputPlan:
    """Cut the input into splits and make the staging folder; a keyspace is cut by a node, which can read it.

    Raises InvalidArgument, which names the path, for an input that does not exist or cannot be read, or an
    output that may not be written; and for a plan that is too large.  Raises DiskFull.
    """
    try:
        refuse_existing(files, spec.output, overwrite=spec.overwrite)
        if spec.output_url:
            refuse_local_store(spec.output_url)
            refuse_existing(files, spec.output_url, overwrite=spec.overwrite)
        plan = _of_one_message(input_plan_of(spec, files, sizes))
        check_slices(len(plan.splits), stage_of(spec, START).partitions)
        if later := later_inputs(spec):
            find_inputs(later, files)  # what later stages read is looked for now, and read then
        remove_staging(files, spec.staging, spec.output)  # of a first try, or of a cluster that is no more
        _make_staging(stage_of(spec, START), files)
    except OSError as error:
        raise _refusal(error) from error
    return plan


def plan_stage(
    spec: JobSpec, files: FileSystem, sizes: SplitSizes = SPLIT_SIZES, *, former: str = ""
) -> InputPlan:
    """Cut the input of a later stage of a chain, and make its folder; what nobody reads any more is removed.

    It may be done again, and late, by a coordinator that another one has followed: so nothing is removed that
    a stage may still write.  Raises like `plan_job`.
    """
    try:
        refuse_existing(files, spec.output, overwrite=spec.overwrite)
        plan = _of_one_message(input_plan_of(spec, files, sizes))
        check_slices(len(plan.splits), spec.partitions, MAX_LATER_SLICES)
        _make_staging(spec, files)
        if former:
            files.remove_tree(former)
    except OSError as error:
        raise _refusal(error) from error
    return plan


def _make_staging(spec: JobSpec, files: FileSystem) -> None:
    staging = staging_folder(spec.output, spec.staging)
    folder = posixpath.dirname(staging)
    named_in = [folder]
    while not files.exists(folder) and folder != posixpath.dirname(folder):  # it is made, too
        folder = posixpath.dirname(folder)
        named_in.append(folder)
    files.mkdir(staging)
    for each in named_in:  # a job that was accepted outlives a power cut (J6)
        files.fsync_dir(each)
    if len(named_in) == 1 and posixpath.basename(folder).endswith(STAGES):
        files.fsync_dir(posixpath.dirname(folder))


def _refusal(error: OSError) -> RingmillError:
    if meaning_of(error) in (Meaning.ABSENT, Meaning.TAKEN):
        return InvalidArgument(f"{error.filename}: {error.strerror}")
    return refusal_of(error, "planning the job")


def input_plan_of(spec: JobSpec, files: FileSystem, sizes: SplitSizes) -> InputPlan:
    """What the tasks of a job read; a keyspace is planned elsewhere.  Raises InvalidArgument, OSError."""
    if spec.join_by == "copartitioned" and not spec.reads_keyspace:
        return copartitioned_plan(spec.readings, files)
    return plan_input(
        spec.file_readings,
        files,
        sizes.pinned(spec.split_bytes),
        sampled=spec.order == "total",
        side=spec.side,
        broadcast=spec.broadcast,
        broadcast_bytes=spec.broadcast_bytes,
    )


def _of_one_message(plan: InputPlan) -> InputPlan:
    """Raises InvalidArgument for a plan that is too large: a task process tells it to its node at once."""
    size = len(msgpack.packb(plan.to_wire(), unicode_errors="surrogatepass"))
    if size > MAX_PLAN_BYTES:
        pieces = sum(len(split.pieces) for split in plan.splits)
        raise InvalidArgument(
            f"the plan of the input has {size} bytes, for {pieces} files or pieces of files in "
            f"{len(plan.splits)} splits; {MAX_PLAN_BYTES} are allowed",
            hint="name fewer files, with shorter paths or put together, or run several jobs",
        )
    return plan


def publish_output(spec: JobSpec, parts: Sequence[StagedPart], files: FileSystem, *, again: bool) -> None:
    """Commit the parts as the output.  `again` says that an earlier call may have done some of it.

    Raises InvalidArgument when another job has made the output meanwhile, or its path may not be written;
    CorruptData when a part is gone; DiskFull.  An error with outcome "unknown" means that the output may be
    visible, one with outcome "failed" that it is not.  Raises JobFailed for more than the caller takes.
    """
    refuse_too_much(sum(part.size for part in parts), spec.collect_bytes)
    try:
        if spec.output_url:
            commit_to_store(files, spec.output_url, parts, overwrite=spec.overwrite, again=again)
            return
        if again:
            require_sight(files, spec.staging, spec.output)
        else:
            refuse_existing(files, spec.output, overwrite=spec.overwrite)
        commit_output(files, spec.staging, spec.output, parts, overwrite=spec.overwrite)
    except OutputMayShow as error:
        raise refusal_of(error, f"output {spec.shown_output}").with_outcome("unknown") from error
    except OSError as error:
        raise refusal_of(error, f"output {spec.shown_output}") from error


def withdraw_output(spec: JobSpec, parts: Sequence[StagedPart], files: FileSystem) -> None:
    """Remove from a store what the commit of a job has left there that its journal tells as failed."""
    try:
        remove_copies(files, spec.output_url, parts)
    except OSError as error:
        raise refusal_of(error, f"output {spec.shown_output}") from error
