"""How much memory this process may use: that of the machine, of its cgroups, or of its own limit; and how
much of the first two is left.

Source: proc_meminfo(5), cgroups(7), cgroup-v1/memory and cgroup-v2 of the kernel's documentation.
"""

from __future__ import annotations

import os
import posixpath
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from ringmill.cluster.adapters.processes.pids_group import group_folder, told_groups
from ringmill.cluster.ports import MemoryLeft

__all__ = ["MemoryGauge", "memory_limit", "memory_of_groups"]

_FIRST: Final = "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
_SECOND: Final = "memory.current", ("inactive_file", "active_file", "slab_reclaimable")


def memory_limit() -> int:
    """In bytes, the least of them."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY:
        found.append(own)
    with suppress(OSError):
        found += memory_of_groups(*told_groups())
    return min(found)


def memory_of_groups(own: str, mounts: str) -> Iterator[int]:
    """The limits of this process's group and of those above it; `own` and `mounts` as the kernel tells
    them."""
    for limit in _limits_of_groups(own, mounts):
        with suppress(OSError, ValueError):
            yield _number(limit)


class MemoryGauge:
    """Reads what is left of the memory of this process's machine and of its groups.

    Its groups are those that it is in when this is made; their limits may change.  `machine` is what the
    kernel tells of that.
    """

    def __init__(self, process: str = "/proc/self", machine: str = "/proc/meminfo") -> None:
        self._machine = machine
        self._limits: list[str] = []
        with suppress(OSError):
            self._limits = list(_limits_of_groups(*told_groups(process)))

    def read(self) -> tuple[MemoryLeft, ...]:
        """Of the machine, and of each group that has a limit below it.  What the kernel does not tell is left
        out."""
        with suppress(OSError, ValueError, KeyError):
            told = _table(self._machine)
            of_bytes = (told["MemTotal:"] - _huge_kib(told)) * 1024
            machine = MemoryLeft(told["MemAvailable:"] * 1024, of_bytes)
            return machine, *self._of_groups(of_bytes)
        return tuple(self._of_groups(0))

    def _of_groups(self, of_machine: int) -> Iterator[MemoryLeft]:
        for path in self._limits:
            with suppress(OSError, ValueError):  # "max" is none
                limit = _number(path)
                if limit < of_machine or not of_machine:
                    yield MemoryLeft(max(0, limit - _used(path)), limit, "cgroup")


def _huge_kib(told: Mapping[str, int]) -> int:
    """What is set apart for huge pages, of which tasks have nothing, whether those are in use or not."""
    of_one_size = told.get("HugePages_Total:", 0) * told.get("Hugepagesize:", 0)
    return told.get("Hugetlb:", of_one_size)  # the former of all sizes, by newer kernels


def _used(limit: str) -> int:
    """What a group has in memory, but for what the kernel takes back first: pages of files, and what it knows
    of names.  Version 1 does not tell the latter apart from its other memory, which is little beside it."""
    usage, cached = _SECOND if limit.endswith("max") else _FIRST
    folder = posixpath.dirname(limit)
    told = _table(f"{folder}/memory.stat")
    used = _number(f"{folder}/{usage}") - sum(told.get(name, 0) for name in cached)
    with suppress(OSError, ValueError):
        used -= _number(f"{folder}/memory.kmem.usage_in_bytes")
    return used


def _limits_of_groups(own: str, mounts: str) -> Iterator[str]:
    """The files with the limits of a group and of those above it."""
    for kind, controller, name in (
        ("cgroup2", "", "memory.max"),
        ("cgroup", "memory", "memory.limit_in_bytes"),
    ):
        folder = group_folder(own, mounts, kind, controller)
        while folder and os.path.exists(f"{folder}/cgroup.procs"):
            yield f"{folder}/{name}"
            folder = posixpath.dirname(folder)


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _table(path: str) -> Mapping[str, int]:
    """A number by its name, one a line."""
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}
