"""How much memory this process may use: that of the machine, of its cgroups, or of its own limit.

Source: cgroups(7), cgroup-v1/memory and cgroup-v2 of the kernel's documentation.
"""

from __future__ import annotations

import os
import posixpath
import resource
from collections.abc import Iterator
from contextlib import suppress

from ringmill.cluster.adapters.processes.pids_group import group_folder

__all__ = ["memory_limit", "memory_of_groups"]


def memory_limit() -> int:
    """In bytes, the least of them."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY:
        found.append(own)
    with (
        suppress(OSError),
        open("/proc/self/cgroup", encoding="utf-8") as groups,
        open("/proc/self/mountinfo", encoding="utf-8") as mounts,
    ):
        found += memory_of_groups(groups.read(), mounts.read())
    return min(found)


def memory_of_groups(own: str, mounts: str) -> Iterator[int]:
    """The limits of this process's group and of those above it; `own` and `mounts` as the kernel tells
    them."""
    for kind, controller, name in (
        ("cgroup2", "", "memory.max"),
        ("cgroup", "memory", "memory.limit_in_bytes"),
    ):
        folder = group_folder(own, mounts, kind, controller)
        while folder and os.path.exists(f"{folder}/cgroup.procs"):
            with suppress(OSError, ValueError), open(f"{folder}/{name}", encoding="ascii") as file:
                yield int(file.read())  # "max" is none
            folder = posixpath.dirname(folder)
