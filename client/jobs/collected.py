"""A job whose caller gets the records: where that is asked for, and how they are taken out of the hidden
folder in which the job has left them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, last_job
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.kernel.typed_output import as_collected, records_in
from ringmill.cluster.ports import FileSystem

__all__ = ["collected_by", "collect_records", "take_collected"]

Error = TypeVar("Error", bound=BaseException)


def collected_by(target: Runnable, given: object, *, overwrite: bool) -> CollectOutput | None:
    """How the caller takes the records, as `given` or else the job itself says; None where they go elsewhere.

    Raises InvalidArgument, also for records of a type that has no codec.
    """
    last = last_job(target)
    wanted = last.output if given is None else given
    if not isinstance(wanted, CollectOutput):
        return None
    if overwrite:
        raise InvalidArgument("the caller collects the output: overwrite is for folders")
    _ = as_collected(last).types
    return wanted


async def collect_records(job: Runnable, folder: str, files: FileSystem) -> tuple[tuple[Any, Any], ...]:
    """Take what a job collected, on a thread; a cancellation meanwhile leaves the folder."""
    taken = await files.off_loop(_read, job, folder, files)
    await files.off_loop(_remove, folder, files)
    return taken


def take_collected(job: Runnable, folder: str, files: FileSystem) -> tuple[tuple[Any, Any], ...]:
    """The records in the order of the parts; the folder is removed once they are in memory.

    Raises CorruptData for files that are not as the job has written them, OSError, MemoryError; a note of the
    error says where the records still are.
    """
    taken = _read(job, folder, files)
    _remove(folder, files)
    return taken


def _read(job: Runnable, folder: str, files: FileSystem) -> tuple[tuple[Any, Any], ...]:
    types = as_collected(last_job(job)).types
    assert types is not None
    try:
        return tuple(records_in(types, folder, files))
    except TaskFailed as failure:
        raise _noted(CorruptData(f"{failure.position}: {failure.message}"), folder) from failure
    except BaseException as error:
        _noted(error, folder)
        raise


def _noted(error: Error, folder: str) -> Error:
    """The only copy may be that of hours of work."""
    error.add_note(
        f"the job has succeeded, and its records are still in {folder}: ringmill.read_result(job, folder) "
        'reads them, of a job with output=CollectOutput() or FileOutput("records")'
    )
    return error


def _remove(folder: str, files: FileSystem) -> None:
    """What cannot be removed is left: the records count."""
    with suppress(OSError):
        files.remove_tree(folder)
