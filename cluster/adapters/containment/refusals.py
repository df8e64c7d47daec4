"""Tells an error that containment has caused from one that the system would have given anyway."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from ringmill.cluster.adapters.containment.contain import Contained

__all__ = ["hint_of"]

_GUIDE: Final = 'operations.md, "Contained jobs"'
_MOST_ERRORS: Final = 20  # of a chain, which user code may have closed to a ring


def hint_of(error: BaseException | None, contained: Contained) -> str:
    """What to do about an error that containment has caused, in this one or in one behind it; "" for none."""
    for each in _chain(error):
        if isinstance(each, OSError) and (hint := _hint(each, contained)):
            return hint
    return ""


def _hint(error: OSError, contained: Contained) -> str:
    if error.errno in (errno.EACCES, errno.EXDEV):  # a link or a move out of the permitted folders
        paths = [path for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
        return next(filter(None, (_hint_about(os.fsdecode(path), contained) for path in paths)), "")
    if error.errno != errno.EPERM:
        return ""
    if not _is_of_sockets(error.__traceback__):
        return f"tasks are contained: no other processes, no modes or owners of files ({_GUIDE})"
    if contained.network:
        return f"tasks are contained: of sockets they have TCP and UDP alone ({_GUIDE})"
    return f"tasks are contained: ask for connections by job(network=True) or --network ({_GUIDE})"


def _hint_about(path: str, contained: Contained) -> str:
    """The system would have permitted it, so containment has not."""
    if contained.may_write(path):
        return ""
    is_there = os.path.exists(path)
    can_read = is_there and os.access(path, os.R_OK)
    can_write = os.access(path if is_there else os.path.dirname(path) or ".", os.W_OK)
    if contained.is_secret(path) and (can_read or can_write):
        return f"tasks are contained: this is of the cluster itself ({_GUIDE})"
    if can_read and not contained.may_read(path):
        return f"tasks are contained: to read it, name it as side data, job(side={{NAME: PATH}}) ({_GUIDE})"
    if can_write:
        return f"tasks are contained: they write in their own folder, the current one ({_GUIDE})"
    return ""


def _is_of_sockets(trace: TracebackType | None) -> bool:
    while trace is not None:
        if os.path.basename(trace.tb_frame.f_code.co_filename) in ("socket.py", "ssl.py"):
            return True
        trace = trace.tb_next
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and errors that it holds as a reason, as urllib does."""
    waiting, seen = [error], 0
    while waiting and seen < _MOST_ERRORS:
        each = waiting.pop(0)
        if isinstance(each, BaseException):
            seen += 1
            yield each
            waiting += [each.__cause__, each.__context__, *each.args]
