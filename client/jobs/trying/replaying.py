"""Runs one map task of a job of a cluster again, in this process, where a debugger can look.

A composition root: it opens the real FileSystem door.  Nothing of what the task writes stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType

from ringmill.client.jobs.job_modules import FoundJob, find_job, named_job
from ringmill.client.jobs.trying.task_rows import MapTask
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, run_map
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.mapreduce.progress import Progress
from ringmill.cluster.ports import FileSystem

__all__ = ["code_of", "file_of", "replayed"]


def file_of(task: MapTask) -> str:
    """Where the job of a task is, below the folder that its module is imported from: FILE.py:NAME.

    Whoever submitted the job has chosen the names: raises InvalidArgument for those of no module or object.
    """
    parts = task.spec.module.split(".")
    name = task.spec.name.partition(".")[0]
    if not all(part.isidentifier() for part in (*parts, name)):
        raise InvalidArgument(
            f"the job {task.spec.title!r:.200} names no module below a folder",
            hint="give the file that holds its code as FILE.py:NAME, if you trust it",
        )
    return f"{'/'.join(parts)}.py:{name}"


def code_of(task: MapTask, target: str | None, files: FileSystem, folder: str) -> FoundJob:
    """The sources of the job of a task, not yet imported: of `target`, or those below `folder`.

    Only a target, which the user names, may be other code than the job ran.  Raises InvalidArgument.
    """
    if target is not None:
        return find_job(named_job(target, folder), files)
    file = file_of(task)
    found = find_job(named_job(file, folder), files)
    if found.sources.bundle.sha256 != task.spec.bundle_sha256:
        raise InvalidArgument(
            f"the code in {found.sources.path} is not what job {task.spec.job} ran, and was not imported",
            hint=f"to run that code nevertheless, name it behind the task: {file}",
        )
    return found


def replayed(
    task: MapTask,
    job: Runnable,
    folder: str,
    look: Callable[[BaseException, TracebackType], None] | None = None,
) -> MapOutput:
    """Run the task with a job that was loaded here, in a folder that exists and is empty.

    `look` gets the error at which the job's code failed, and its traceback from the first line of that code
    on, before the job's error is raised.  Raises InvalidArgument for a task that reads a keyspace, JobFailed.
    """
    if task.split.span is not None:
        raise InvalidArgument(
            f"{task.spec.title} reads a keyspace, whose records only nodes can read",
            hint="ringmill.run_local(job, records=...) tries such a job on records of yours",
        )
    definition = _step_of(task, job)
    attempt = MapAttempt(task.spec, task.split, task.split.index, 1)
    with closing(UrlFiles()) as files:
        try:
            return run_map(definition, attempt, files, folder, Progress())
        except TaskFailed as failure:
            found = _Found.of(failure, definition.user_files)
            if look is not None and found is not None:
                look(found.error, found.traceback)
            raise failure.as_job_error(f"map-{task.split.index}", 1) from failure


def _step_of(task: MapTask, job: Runnable) -> JobDefinition:
    """The job of a pipeline that the task is of."""
    if isinstance(job, JobDefinition):
        return job
    number = task.spec.name.rpartition(".")[2]
    if not number.isdecimal() or int(number) >= len(job.links):
        raise InvalidArgument(f"{task.spec.title} is no job of this pipeline, which has {len(job.links)}")
    return job.links[int(number)].step


@dataclass(frozen=True, slots=True)
class _Found:
    """An error of the job's code, and where the traceback enters that."""

    error: BaseException
    traceback: TracebackType

    @classmethod
    def of(cls, failure: TaskFailed, user_files: frozenset[str]) -> _Found | None:
        error = failure.__cause__
        while isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
            error = error.__cause__
        at = error.__traceback__ if error is not None else None
        while at is not None and at.tb_frame.f_code.co_filename not in user_files:
            at = at.tb_next
        return None if error is None or at is None else cls(error, at)
