"""Reads from /proc the processes of this machine: parents, states, memory.

It is used to find descendants that user code left behind or forked in masses.  On a system without /proc
every answer is empty, and process groups must suffice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import Final

__all__ = ["ProcessTable", "children_of", "marked", "memory_of", "session_of", "threads_of_machine"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KIB: Final = 1024
_PAUSE_S: Final = 0.001


class ProcessTable:
    """LiveProcesses (ringmill.cluster.adapters.processes.family_end) of this machine.

    A signal goes to the whole process group of its receiver, so that it also reaches a process forked at that
    moment. If the group is in `spared`, it goes only to the receiver.
    """

    def __init__(self, spared: Iterable[int] = ()) -> None:
        self._spared = frozenset((*spared, os.getpgrp()))

    def children(self, pid: int) -> list[int]:
        return [child for thread in _names(f"/proc/{pid}/task") for child in _children(pid, thread)]

    def can_run(self, pid: int) -> bool:
        return _state(pid) not in ("", "T", "t", "Z", "X")

    def send(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            if group not in self._spared:
                os.killpg(group, number)
            os.kill(pid, number)

    def pause(self) -> None:
        time.sleep(_PAUSE_S)


def children_of(pid: int) -> list[int]:
    """Direct children of a single-threaded process, ended ones that wait to be reaped included."""
    return _children(pid, str(pid))


def threads_of_machine() -> int:
    """How many threads exist now, of anyone; one cheap read.  0 when the system does not tell."""
    try:
        return int(_content("/proc/loadavg").split()[3].split(b"/")[1])
    except (ValueError, IndexError):
        return 0


def session_of(pid: int) -> int:
    """Its session's number; 0 when it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def memory_of(pids: list[int], *, above: int) -> int:
    """Bytes in memory that the processes use together, shared pages counted once.

    The exact figure costs a walk through page tables, so it is worked out only where the cheap one, which
    counts shared pages once for each process, is over `above`; below it the cheap one is the answer.
    """
    cheap = sum(_resident(pid) for pid in pids)
    return cheap if cheap <= above else sum(_proportional(pid) for pid in pids)


def marked(mark: bytes) -> list[int]:
    """Processes that were started with `mark` (NAME=value) in their environment, or forked from such."""
    return [int(name) for name in _pids() if mark in _content(f"/proc/{name}/environ").split(b"\0")]


def _resident(pid: int) -> int:
    fields = _content(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def _proportional(pid: int) -> int:
    for line in _content(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * _KIB
    return _resident(pid)  # a kernel that does not tell


def _state(pid: int) -> str:
    """One letter as in ps; "" when there is no such process."""
    return _content(f"/proc/{pid}/stat").rpartition(b")")[2][1:2].decode()


def _children(pid: int, thread: str) -> list[int]:
    return [int(child) for child in _content(f"/proc/{pid}/task/{thread}/children").split()]


def _pids() -> list[str]:
    return [name for name in _names("/proc") if name.isdigit()]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _content(path: str) -> bytes:
    """Empty when the process has ended, or is none of ours."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
