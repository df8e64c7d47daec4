"""What an OSError of a file means to a job, decided once: a full disk, a forbidden path, a vanished file.

Pure.  Two ends meet here: attempts, whose failures have a cause, and chores, whose refusals go to the user.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from ringmill.cluster.errors import DiskFull, InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["failure_of", "is_spoilt", "refusal_of"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failure_of(error: OSError, what: str) -> TaskFailed:
    """Why an attempt failed that met `error` while it did `what`.

    A folder that may not be written is the user's to open, so it is charged as his error.
    """
    text = f"{what}: {_told(error)}"
    if error.errno in _FULL:
        return TaskFailed(Cause.DISK_FULL, text)
    if error.errno in _FORBIDDEN:
        return TaskFailed(Cause.USER_ERROR, f"{text}; the user that the nodes run as may not do that")
    return TaskFailed(Cause.ENGINE_ERROR, text)


def refusal_of(error: OSError, what: str) -> RingmillError:
    """What the user is told when `what` met `error`."""
    text = f"{what}: {_told(error)}"
    if error.errno in _FULL:
        return DiskFull(text, hint="make room on that file system and run the job again")
    if error.errno in _FORBIDDEN:
        return InvalidArgument(text, hint="the user that the nodes run as needs that right")
    return RingmillError(text)


def is_spoilt(error: BaseException | None, folders: Sequence[str]) -> bool:
    """Whether a file is gone or locked that lies where nobody but the attempt itself writes."""
    if not isinstance(error, FileNotFoundError | PermissionError) or not isinstance(error.filename, str):
        return False
    return any(f"{error.filename}/".startswith(f"{folder}/") for folder in folders)


def _told(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
