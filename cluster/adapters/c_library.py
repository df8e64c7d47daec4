"""The C library of this process, for what the system can do and Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

__all__ = ["C_LIBRARY", "last_error"]

C_LIBRARY: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
"""None where there is no Linux, whose calls alone are made here."""


def last_error() -> OSError:
    """Why the last call has failed."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
