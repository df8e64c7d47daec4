"""Turns an OSError of a file into an error of a job: a full disk, a forbidden path, a missing file.

Pure.  For attempts it gives the failure with its cause, for job steps the error that the user gets.
cluster/os_errors.py decides what an errno means.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.errors import DiskFull, InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.failures import TaskFailed, cause_of
from ringmill.cluster.os_errors import Meaning, error_text, meaning_of

__all__ = ["failure_of", "is_spoilt", "refusal_of"]


def failure_of(error: OSError, what: str) -> TaskFailed:
    """The failure of an attempt that met `error` while it did `what`."""
    hint = "; the user that the nodes run as may not do that"
    is_forbidden = meaning_of(error) is Meaning.FORBIDDEN
    return TaskFailed(cause_of(error), f"{what}: {error_text(error)}{hint if is_forbidden else ''}")


def refusal_of(error: OSError, what: str) -> RingmillError:
    """What the user is told when `what` met `error`."""
    text = f"{what}: {error_text(error)}"
    match meaning_of(error):
        case Meaning.FULL:
            return DiskFull(text, hint="make room on that file system and run the job again")
        case Meaning.FORBIDDEN:
            return InvalidArgument(text, hint="the user that the nodes run as needs that right")
    return RingmillError(text)


def is_spoilt(error: BaseException | None, folders: Sequence[str]) -> bool:
    """Whether a file is gone, locked or there already where nobody but the attempt itself writes."""
    if not isinstance(error, FileNotFoundError | PermissionError | FileExistsError) or not isinstance(
        error.filename, str
    ):
        return False
    return any(f"{error.filename}/".startswith(f"{folder}/") for folder in folders)
