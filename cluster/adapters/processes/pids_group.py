"""A pids cgroup for each task's family, where the kernel lets this user make one.

No process can leave its group: a descendant is in it whatever its session and parent, the limit binds root as
well, and a limit of 0 prevents forks while the family is killed.  Where no group can be made (no Linux, no
controller, no permission), the forkserver's watch must suffice.

Version 1 of cgroups has a hierarchy for the controller.  Version 2 has one hierarchy for all, and a limit is
possible only where the controller was delegated to the node's user.  Source: cgroups(7), cgroup-v1/pids and
cgroup-v2 of the kernel's documentation.  See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["PidsGroup", "PidsGroups", "groups_of_this_process", "place_of_groups"]

_PREFIX: Final = "ringmill-"
_HEADROOM: Final = 64  # threads count too, and the watch is to name the family before the kernel refuses it


class PidsGroup:
    """The group of one family.  Its maker has to remove it once it is empty."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    def enter(self) -> None:
        """Put this process into the group; what it makes from now on is in it.  Raises OSError."""
        _write(f"{self._folder}/cgroup.procs", "0")

    def members(self) -> list[int]:
        """All processes in it; empty when it is gone."""
        with contextlib.suppress(OSError), open(f"{self._folder}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file]
        return []

    @property
    def was_full(self) -> bool:
        """Whether the kernel has refused it a process or a thread."""
        with contextlib.suppress(OSError), open(f"{self._folder}/pids.events", encoding="ascii") as file:
            return any(line.split() not in ([], ["max", "0"]) and line.startswith("max ") for line in file)
        return False

    @contextlib.contextmanager
    def without_births(self) -> Iterator[None]:
        """No process in the group can fork or start a thread inside this block."""
        with contextlib.suppress(OSError):
            _write(f"{self._folder}/pids.max", "0")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                _write(f"{self._folder}/pids.max", str(self._limit))

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        try:
            os.rmdir(self._folder)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class PidsGroups:
    """Makes groups below this process's own.  Once the kernel has refused one, `make` tries no other."""

    def __init__(self, place: str | None) -> None:
        self._place = place

    def make(self, name: str, processes: int) -> PidsGroup | None:
        """A group for a family of at most `processes`; None where no group can be made."""
        if self._place is None or not processes:
            return None
        folder, limit = f"{self._place}/{_PREFIX}{name}", processes + _HEADROOM
        try:
            os.mkdir(folder)
        except OSError:
            self._place = None
            return None
        group = PidsGroup(folder, limit)
        try:
            _write(f"{folder}/pids.max", str(limit))
        except OSError:  # version 2 without the controller: a limit is what the group is for
            group.remove()
            self._place = None
            return None
        return group

    def remove_deserted(self) -> None:
        """Groups whose maker was killed: a name begins with his pid.  The kernel keeps those in use."""
        if self._place is None:
            return
        with contextlib.suppress(OSError):
            for name in os.listdir(self._place):
                maker = name.removeprefix(_PREFIX).partition("-")[0]
                if name.startswith(_PREFIX) and maker.isdigit() and not os.path.exists(f"/proc/{maker}"):
                    PidsGroup(f"{self._place}/{name}", 0).remove()


def groups_of_this_process() -> PidsGroups:
    """Groups below that of this process, as far as the system has any."""
    try:
        with (
            open("/proc/self/cgroup", encoding="utf-8") as own,
            open("/proc/self/mountinfo", encoding="utf-8") as mounts,
        ):
            return PidsGroups(place_of_groups(own.read(), mounts.read()))
    except OSError:
        return PidsGroups(None)


def place_of_groups(own: str, mounts: str) -> str | None:
    """The folder below which groups can be made, from /proc/self/cgroup and /proc/self/mountinfo.

    A hierarchy with the pids controller of version 1 comes first, as its limits need no delegation.
    """
    paths = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2)
    }
    for kind, option in (("cgroup", "pids"), ("cgroup2", "")):
        controllers = next((each for each in paths if option in each.split(",")), None)
        if controllers is None:
            continue
        for line in mounts.splitlines():
            before, _, after = line.partition(" - ")
            fields, described = before.split(), after.split()
            if len(fields) < 5 or len(described) < 3 or described[0] != kind:
                continue
            if option and option not in described[2].split(","):
                continue
            root, mount_point = fields[3], fields[4]
            inner = os.path.relpath(paths[controllers], root)
            if not inner.startswith(".."):
                return os.path.normpath(f"{mount_point}/{inner}")
    return None


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
