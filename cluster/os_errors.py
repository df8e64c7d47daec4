"""The only table of what an OSError means, by its errno.

The FileSystem door raises OSError unchanged.  Code that converts one asks here what happened, so that a full
disk and a forbidden path are not distinguished in one place and confused in another.  Pure.
"""

from __future__ import annotations

import errno
from enum import Enum, auto
from typing import Final

__all__ = ["Meaning", "is_full", "is_other_kind", "meaning_of", "no_space", "passes", "error_text"]


class Meaning(Enum):
    FULL = auto()  # no space, or no quota: passes when somebody makes room
    FORBIDDEN = auto()  # this user may not do that to this path
    ABSENT = auto()  # the path leads to nothing, or to another kind of file
    TAKEN = auto()  # something is there already
    EXHAUSTED = auto()  # this process or machine has no descriptors, memory or locks left: passes by itself
    BROKEN = auto()  # all else: the device fails


_MEANINGS: Final[dict[int, Meaning]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), Meaning.FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), Meaning.FORBIDDEN),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG), Meaning.ABSENT
    ),
    **dict.fromkeys((errno.EEXIST, errno.ENOTEMPTY), Meaning.TAKEN),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN), Meaning.EXHAUSTED),
}

_OTHER_KIND: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.ENODEV})


def meaning_of(error: OSError) -> Meaning:
    """The meaning of an error.  An errno that is not listed means a failing device."""
    return _MEANINGS.get(error.errno or 0, Meaning.BROKEN)


def passes(error: OSError) -> bool:
    """Whether the same may succeed later on this device."""
    return meaning_of(error) in {Meaning.FULL, Meaning.EXHAUSTED}


def is_full(error: OSError) -> bool:
    return meaning_of(error) is Meaning.FULL


def is_other_kind(error: OSError) -> bool:
    """Whether a link, a pipe, a device or a folder is where a file was to be opened below a folder."""
    return error.errno in _OTHER_KIND


def error_text(error: OSError) -> str:
    """The error as people read it: what the system says, then the path."""
    said = str(error.strerror or error)
    return f"{said}: {error.filename}" if error.filename else said


def no_space(why: str, path: str) -> OSError:
    """The error of a full disk, for a write that is given up without being tried."""
    return OSError(errno.ENOSPC, why, path)
