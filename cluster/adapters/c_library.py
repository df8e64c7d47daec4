"""The C library of this process, for what the system can do and Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

__all__ = ["C_LIBRARY", "give_back_memory", "last_error"]

C_LIBRARY: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
"""None where there is no Linux, whose calls alone are made here."""


def give_back_memory() -> None:
    """Let the system have the memory that this process has freed, where the C library can do that.

    glibc keeps what lies between blocks that are in use.  It takes some milliseconds.
    """
    if (trim := getattr(C_LIBRARY, "malloc_trim", None)) is not None:
        trim(0)


def last_error() -> OSError:
    """Why the last call has failed."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
