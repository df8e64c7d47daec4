"""Looks into the kernel's process table (Linux /proc): children, families, how many threads there are.

Only the forkserver asks, to find descendants that user code left behind or made in masses.  On a system
without /proc every answer is empty, and process groups alone have to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Process", "children_of", "family", "processes", "threads_of_machine"]


class Process(NamedTuple):
    pid: int
    parent: int
    session: int


def threads_of_machine() -> int:
    """How many threads exist now, of anyone; one cheap read.  0 when the system does not tell."""
    try:
        with open("/proc/loadavg", "rb") as file:
            return int(file.read().split()[3].split(b"/")[1])
    except (OSError, ValueError, IndexError):
        return 0


def children_of(pid: int) -> list[int]:
    """Direct children of a single-threaded process, ended ones that wait to be reaped included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def processes() -> list[Process]:
    """Every process of the machine."""
    found = []
    for name in _pids():
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended while we looked
        found.append(Process(int(name), int(fields[1]), int(fields[3])))
    return found


def family(leader: int, everyone: Iterable[Process]) -> list[int]:
    """Pids of a session's leader, of its session and of all their descendants, in ascending order."""
    by_parent: dict[int, list[int]] = {}
    found = {leader}
    for process in everyone:
        by_parent.setdefault(process.parent, []).append(process.pid)
        if process.session == leader:
            found.add(process.pid)
    unvisited = list(found)
    while unvisited:
        for child in by_parent.get(unvisited.pop(), ()):
            if child not in found:
                found.add(child)
                unvisited.append(child)
    return sorted(found)


def _pids() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
