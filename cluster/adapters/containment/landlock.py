"""Landlock by its three system calls: this thread and what it starts may use the named files, and no others.

A restriction cannot be taken back, only tightened, and it binds root as well.  It is for the calling thread
and for threads and processes that begin after it, so a process applies it while it has one thread.

What it does not cover, at version 7: the existence and attributes of files (stat), descriptors that are open
already, changes of mode, owner and times, and connections to Unix sockets that have a path.  seccomp.py
forbids some of that.  Source: landlock(7), Documentation/userspace-api/landlock.rst of Linux.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from functools import cache
from typing import Final

from ringmill.cluster.adapters.c_library import C_LIBRARY, last_error

__all__ = ["READ", "WRITE", "Ruleset", "landlock_version", "promise_no_new_privileges"]

_CREATE_RULESET: Final = 444  # the same numbers on all architectures
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (
    1 << bit for bit in range(6, 13)
)
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_FILES_BY_VERSION: Final = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_TCP: Final = 0b11  # bind and connect, since version 4
_SCOPES: Final = 0b11  # abstract Unix sockets and signals, since version 6

READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
WRITE: Final = (
    READ
    | _WRITE_FILE
    | _TRUNCATE
    | _REFER
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_SYM
)
"""No devices: those are made by root alone, who is to be held, too."""


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@cache
def landlock_version() -> int:
    """The version of Landlock that this kernel has; 0 for none, or when it is turned off or hidden."""
    if C_LIBRARY is None:
        return 0
    return max(0, int(C_LIBRARY.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)))


class Ruleset:
    """What will be permitted; all else that this version of Landlock knows is refused.

    `version` is that of the kernel, at least 1.  With `network`, TCP is not looked at.  `close` it; what it
    has restricted stays so.  Raises OSError.
    """

    def __init__(self, version: int, *, network: bool) -> None:
        self._files = sum(access for since, access in _FILES_BY_VERSION if version >= since)
        attributes = _RulesetAttributes(self._files, 0, 0)
        size = 8
        if version >= 4:
            attributes.handled_access_net, size = 0 if network else _TCP, 16
        if version >= 6:
            attributes.scoped, size = _SCOPES, 24
        self._descriptor = _checked(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
        self._rule = _PathBeneath()
        self._rule_at = ctypes.byref(self._rule)

    def permit(self, path: str, access: int) -> None:
        """Permit `access`, READ or WRITE, to a file, or to a folder with all below it.

        What does not exist, or may not be looked at, is passed over: there is nothing to permit.
        """
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            self._rule.allowed_access = access & self._files & (-1 if is_folder else _OF_FILES)
            self._rule.parent_fd = descriptor
            _checked(_ADD_RULE, self._descriptor, _PATH_BENEATH, self._rule_at, 0)
        finally:
            os.close(descriptor)

    def permit_all(self, paths: Iterable[str], access: int) -> None:
        for path in paths:
            self.permit(path, access)

    def restrict(self) -> None:
        """From now on this thread, and what it starts, is held to what was permitted.  Raises OSError."""
        promise_no_new_privileges()
        _checked(_RESTRICT_SELF, self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


def promise_no_new_privileges() -> None:
    """No program that this thread executes gets more rights than it has: set-uid bits count for nothing.

    Both Landlock and seccomp ask for it.  Raises OSError.
    """
    if C_LIBRARY is not None and C_LIBRARY.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise last_error()


def _checked(number: int, *arguments: object) -> int:
    assert C_LIBRARY is not None
    result = int(C_LIBRARY.syscall(number, *arguments))
    if result < 0:
        raise last_error()
    return result
