"""Gives up what root may do beyond any other user, in this process and in what it starts.

Kept is the right to files whatever their owner and mode, as jobs of a node that runs as root read the files
that root reads.  All else is of no use to a task, and some of it goes past Landlock: with CAP_PERFMON a
process reads the environment and the memory map of every other.  Source: capabilities(7), capset(2).
"""

from __future__ import annotations

import ctypes
from typing import Final

from ringmill.cluster.adapters.c_library import C_LIBRARY, last_error

__all__ = ["drop_capabilities"]

_VERSION_3: Final = 0x20080522
_FILES_OF_ALL: Final = 1 << 1 | 1 << 2 | 1 << 3  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities() -> None:
    """Keep at most those that open files; call it once no new privileges can be had.  Raises OSError."""
    if C_LIBRARY is None:
        return
    header, halves = _Header(_VERSION_3, 0), (_Half * 2)()
    if C_LIBRARY.capget(ctypes.byref(header), halves) == 0:
        for half, kept in zip(halves, (_FILES_OF_ALL, 0), strict=True):
            half.effective &= kept
            half.permitted &= kept
            half.inheritable = 0
        if C_LIBRARY.capset(ctypes.byref(header), halves) == 0:
            return
    raise last_error()
