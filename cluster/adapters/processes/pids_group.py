"""A pids cgroup for each task's family, and a cpu cgroup, where the kernel lets this user make them.

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

__all__ = ["PidsGroup", "PidsGroups", "group_folder", "groups_of_this_process", "place_of_groups"]

_PREFIX: Final = "ringmill-"
_CPU_SHARES: Final = 335  # of 1024: the weight of a process at nice 5, as that of tasks (sched(7))
_ENDING_SHARES: Final = 10_240  # killed processes need a processor to end, and others wait for that
_TRIES: Final = 8
_HEADROOM: Final = 64  # threads count too, and the watch is to name the family before the kernel refuses it


class PidsGroup:
    """The group of one family, with its cpu group if it has one.  Its maker removes it once it is empty."""

    def __init__(self, folder: str, limit: int, cpu_folder: str | None = None) -> None:
        self._folder = folder
        self._limit = limit
        self._cpu_folder = cpu_folder
        self._refused_at_ends = 0  # births that only `without_births` has refused

    def enter(self) -> None:
        """Put this process into the group; what it makes from now on is in it.  Raises OSError."""
        for folder in filter(None, (self._cpu_folder, self._folder)):
            _write(f"{folder}/cgroup.procs", "0")

    def members(self) -> list[int]:
        """All processes in it; empty when it is gone."""
        with contextlib.suppress(OSError), open(f"{self._folder}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file]
        return []

    @property
    def was_full(self) -> bool:
        """Whether the kernel has refused it a process or a thread for its limit."""
        return self._refused() > self._refused_at_ends

    def _refused(self) -> int:
        with contextlib.suppress(OSError), open(f"{self._folder}/pids.events", encoding="ascii") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("max "))
        return 0

    @contextlib.contextmanager
    def without_births(self) -> Iterator[None]:
        """No process in the group can fork or start a thread inside this block: it is being ended."""
        before = self._refused()
        with contextlib.suppress(OSError):
            _write(f"{self._folder}/pids.max", "0")
        self._weigh(_ENDING_SHARES)
        try:
            yield
        finally:
            self._weigh(_CPU_SHARES)
            with contextlib.suppress(OSError):
                _write(f"{self._folder}/pids.max", str(self._limit))
            self._refused_at_ends += self._refused() - before

    def _weigh(self, shares: int) -> None:
        if self._cpu_folder is not None:
            with contextlib.suppress(OSError):
                _write(f"{self._cpu_folder}/cpu.shares", str(shares))

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        for folder in filter(None, (self._cpu_folder, self._folder)):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class PidsGroups:
    """Makes groups below this process's own.  Once the kernel has refused one, `make` tries no other.

    `cpu_place` is that of cpu groups, of version 1.
    """

    def __init__(self, place: str | None, cpu_place: str | None = None) -> None:
        self._place = place
        self._cpu_place = cpu_place
        self._has_made = False

    def make(self, name: str, processes: int) -> PidsGroup | None:
        """A group for a family of at most `processes`; None where no group can be made."""
        if self._place is None or not processes:
            return None
        folder, limit = f"{self._place}/{_PREFIX}{name}", processes + _HEADROOM
        try:
            os.mkdir(folder)
        except FileExistsError:  # of a former process with this number, and in use
            return self.make(f"{name}-again", processes) if name.count("-again") < _TRIES else None
        except OSError:
            self._place = None
            return None
        self._has_made = True
        group = PidsGroup(folder, limit, self._make_cpu_group(name))
        try:
            _write(f"{folder}/pids.max", str(limit))
        except OSError:  # version 2 without the controller: a limit is what the group is for
            group.remove()
            self._place = None
            return None
        return group

    def _make_cpu_group(self, name: str) -> str | None:
        """So that a family has the share of one process, however many sessions it makes.

        Linux shares processors among the sessions of the root group (autogroup, sched(7)), and takes the nice
        values of processes in one session only among each other.
        """
        if self._cpu_place is None:
            return None
        folder = f"{self._cpu_place}/{_PREFIX}{name}"
        try:
            os.mkdir(folder)
        except FileExistsError:
            return self._make_cpu_group(f"{name}-again") if name.count("-again") < _TRIES else None
        except OSError:
            self._cpu_place = None
            return None
        try:
            _write(f"{folder}/cpu.shares", str(_CPU_SHARES))
        except OSError:
            self._cpu_place = None
            os.rmdir(folder)
            return None
        return folder

    def remove_deserted(self) -> None:
        """Groups whose maker was killed: a name begins with his pid.  The kernel keeps those in use.

        While this process has made none, those with its number are of a former one.
        """
        for place in filter(None, (self._place, self._cpu_place)):
            with contextlib.suppress(OSError):
                for name in os.listdir(place):
                    maker = name.removeprefix(_PREFIX).partition("-")[0]
                    is_former = maker == str(os.getpid()) and not self._has_made
                    is_gone = is_former or not os.path.exists(f"/proc/{maker}")
                    if name.startswith(_PREFIX) and maker.isdigit() and is_gone:
                        PidsGroup(f"{place}/{name}", 0).remove()


def groups_of_this_process() -> PidsGroups:
    """Groups below that of this process, as far as the system has any."""
    try:
        with (
            open("/proc/self/cgroup", encoding="utf-8") as own,
            open("/proc/self/mountinfo", encoding="utf-8") as mounts,
        ):
            groups, mounted = own.read(), mounts.read()
            return PidsGroups(
                place_of_groups(groups, mounted), group_folder(groups, mounted, "cgroup", "cpu")
            )
    except OSError:
        return PidsGroups(None)


def place_of_groups(own: str, mounts: str) -> str | None:
    """The folder below which groups can be made, from /proc/self/cgroup and /proc/self/mountinfo.

    A hierarchy with the pids controller of version 1 comes first, as its limits need no delegation.
    """
    return group_folder(own, mounts, "cgroup", "pids") or group_folder(own, mounts, "cgroup2", "")


def group_folder(own: str, mounts: str, kind: str, controller: str) -> str | None:
    """The folder of this process's group in the hierarchy of one controller; "" is that of version 2."""
    rows = (line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2)
    path = next((path for _, controllers, path in rows if controller in controllers.split(",")), None)
    if path is None:
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, described = before.split(), after.split()
        if len(fields) < 5 or len(described) < 3 or described[0] != kind:
            continue
        if controller and controller not in described[2].split(","):
            continue
        root, mount_point = fields[3], fields[4]
        inner = os.path.relpath(path, root)
        if not inner.startswith(".."):
            return os.path.normpath(f"{mount_point}/{inner}")
    return None


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
