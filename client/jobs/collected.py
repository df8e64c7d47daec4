"""A job whose caller gets the records: where that is asked for, and how they are taken out of the hidden
folder in which the job has left them.
"""

from __future__ import annotations

from typing import Any

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, last_job
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.kernel.typed_output import as_collected, records_in
from ringmill.cluster.ports import FileSystem

__all__ = ["collected_by", "take_collected"]


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


def take_collected(job: Runnable, folder: str, files: FileSystem) -> tuple[tuple[Any, Any], ...]:
    """The records in the order of the parts; the folder is removed.

    Raises CorruptData for files that are not as the job has written them, OSError.
    """
    types = as_collected(last_job(job)).types
    assert types is not None
    try:
        return tuple(records_in(types, folder, files))
    except TaskFailed as failure:
        raise CorruptData(f"{failure.position}: {failure.message}") from failure
    finally:
        files.remove_tree(folder)
