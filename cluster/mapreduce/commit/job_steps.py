"""The two things a job needs done to files besides its tasks: planning before it, publishing after it.

Both look at as many names as the input or output has, and sync; so a node has them done in a task process,
which has no user code to run then, and its own loop never waits for a file.

I/O only through the FileSystem passed in.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import (
    StagedPart,
    commit_output,
    refuse_existing,
    staging_folder,
)
from ringmill.cluster.mapreduce.file_errors import refusal_of
from ringmill.cluster.mapreduce.files.input_plan import InputPlan, plan_input
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, SplitSizes
from ringmill.cluster.os_errors import Meaning, meaning_of
from ringmill.cluster.ports import FileSystem

__all__ = ["plan_job", "publish_output"]


def plan_job(spec: JobSpec, files: FileSystem, sizes: SplitSizes = SPLIT_SIZES) -> InputPlan:
    """Cut the input into splits and make the staging folder.

    Raises InvalidArgument, naming the path, for an input that is not there or cannot be read, or an output
    that may not be.  Raises DiskFull.
    """
    try:
        refuse_existing(files, spec.output, overwrite=spec.overwrite)
        plan = plan_input(spec.inputs, spec.input_format, files, sizes)
        staging = staging_folder(spec.output, spec.job)
        files.remove_tree(staging)
        files.mkdir(staging)
    except OSError as error:
        if meaning_of(error) in (Meaning.ABSENT, Meaning.TAKEN):
            raise InvalidArgument(f"{error.filename}: {error.strerror}") from error
        raise refusal_of(error, "planning the job") from error
    return plan


def publish_output(spec: JobSpec, parts: Sequence[StagedPart], files: FileSystem, *, again: bool) -> None:
    """Make the parts the output.  `again` when a former call may have got anywhere.

    Raises InvalidArgument when somebody else has made the output meanwhile, CorruptData when a part is gone,
    DiskFull; InvalidArgument also for a path that may not be written.
    """
    try:
        if not again:
            refuse_existing(files, spec.output, overwrite=spec.overwrite)
        commit_output(files, spec.job, spec.output, parts, overwrite=spec.overwrite)
    except OSError as error:
        raise refusal_of(error, f"output {spec.output}") from error
