"""A pids cgroup for each task's family, with cpu and memory cgroups, where the kernel permits.

No process can leave its group: a descendant is in it whatever its session and parent, the limit binds root as
well, and a limit of 0 prevents forks while the family is killed.  The memory of a group is what its processes
have touched, not what they have reserved, and the kernel ends one of them before the group has more than its
limit.  Where no group can be made (no Linux, no controller, no permission), the forkserver's watch must do.

Version 1 of cgroups has a hierarchy for each controller.  Version 2 has one hierarchy for all, and a limit is
possible only where the controller was delegated to the node's user.  Source: cgroups(7), cgroup-v1/pids,
cgroup-v1/memory and cgroup-v2 of the kernel's documentation.  See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

__all__ = [
    "PidsGroup",
    "PidsGroups",
    "group_folder",
    "groups_of_this_process",
    "place_of_groups",
    "told_groups",
]

_PREFIX: Final = "ringmill-"
_CPU_SHARES: Final = 335  # of 1024: the weight of a process at nice 5, as that of tasks (sched(7))
_ENDING_PASSES: Final = 20
_NEARLY: Final = 0.98  # memory is counted by batches of pages, and the last batch was refused
_TRIES: Final = 8
_HEADROOM: Final = 64  # threads count too, and the watch is to name the family before the kernel refuses it


class PidsGroup:
    """The group of one family, with its cpu and memory groups if it has them.  Its maker removes it once it
    is empty.

    `memory_folder` is that of a group whose limit of memory is set: in version 2 the group itself.
    """

    def __init__(
        self, folder: str, limit: int, cpu_folder: str | None = None, memory_folder: str | None = None
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._cpu_folder = cpu_folder
        self._memory_folder = memory_folder
        self._refused_at_ends = 0  # births that only `without_births` has refused

    @property
    def _folders(self) -> list[str]:
        """The group itself is the last one."""
        return list(dict.fromkeys(filter(None, (self._memory_folder, self._cpu_folder, self._folder))))

    def enter(self) -> None:
        """Put this process into the group; what it makes from now on is in it.  Raises OSError."""
        for folder in self._folders:
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
        return _counted(f"{self._folder}/pids.events", "max")

    @property
    def holds_memory(self) -> bool:
        """Whether the kernel keeps the family below its limit of memory."""
        return self._memory_folder is not None

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has ended one of its processes, as the group had as much memory as it may have.

        It also counts those that it ends because the machine has no more: then the group was not full.
        """
        if self._memory_folder is None:
            return False
        first, second = f"{self._memory_folder}/memory.oom_control", f"{self._memory_folder}/memory.events"
        if _counted(first, "oom_kill"):
            limit = _number(f"{self._memory_folder}/memory.limit_in_bytes")
            return self.most_memory_bytes >= limit * _NEARLY  # failcnt stays 0 on newer kernels
        return bool(_counted(second, "oom_kill") and _counted(second, "oom"))

    @property
    def most_memory_bytes(self) -> int:
        """The most memory that it had at once, in bytes; 0 where the kernel does not tell."""
        names = ("memory.max_usage_in_bytes", "memory.peak")
        return max(_number(f"{self._memory_folder}/{name}") for name in names)

    def end_members(self) -> bool:
        """SIGKILL to all processes in it, which are given no time to fork.  False when births could not be
        prevented, and more were found after many passes.

        One signal for each: to stop them first, as family_end.py must where there is no group, takes the
        forkserver 100 times as long, and its nodes have no processor meanwhile.
        """
        killed: set[int] = set()
        with self.without_births():
            for _ in range(_ENDING_PASSES):  # one that was being born at the first is found at the second
                found = [pid for pid in self.members() if pid not in killed]
                if not found:
                    return True
                for pid in found:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                killed.update(found)
        return False

    @contextlib.contextmanager
    def without_births(self) -> Iterator[None]:
        """No process in the group can fork or start a thread inside this block: it is being ended."""
        before = self._refused()
        with contextlib.suppress(OSError):
            _write(f"{self._folder}/pids.max", "0")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                _write(f"{self._folder}/pids.max", str(self._limit))
            self._refused_at_ends += self._refused() - before

    def remove(self) -> bool:
        """Remove the group; False while a process is still in it."""
        for folder in self._folders:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class PidsGroups:
    """Makes groups below this process's own.  Once the kernel has refused one, `make` tries no other.

    `cpu_place` and `memory_place` are those of cpu and memory groups, of version 1.
    """

    def __init__(
        self, place: str | None, cpu_place: str | None = None, memory_place: str | None = None
    ) -> None:
        self._place = place
        self._cpu_place = cpu_place
        self._memory_place = memory_place
        self._has_made = False

    def make(self, name: str, processes: int, memory_bytes: int = 0) -> PidsGroup | None:
        """A group for a family of at most `processes`; None where no group can be made.

        It holds the family's memory to `memory_bytes` where the kernel permits; 0 is no limit.
        """
        if self._place is None or not processes:
            return None
        limit = processes + _HEADROOM
        try:
            folder = _made_with(self._place, name, "pids.max", limit)
        except OSError:  # as of version 2 without the controller: a limit is what the group is for
            self._place = None
            return None
        if folder is None:
            return None
        self._has_made = True
        memory_folder = self._limit_memory(name, folder, memory_bytes) if memory_bytes else None
        return PidsGroup(folder, limit, self._make_cpu_group(name), memory_folder)

    def _make_cpu_group(self, name: str) -> str | None:
        """So that a family has the share of one process, however many sessions it makes.

        Linux shares processors among the sessions of the root group (autogroup, sched(7)), and takes the nice
        values of processes in one session only among each other.
        """
        if self._cpu_place is None:
            return None
        try:
            return _made_with(self._cpu_place, name, "cpu.shares", _CPU_SHARES)
        except OSError:
            self._cpu_place = None
            return None

    def _limit_memory(self, name: str, folder: str, memory_bytes: int) -> str | None:
        """The folder with the limit: a group of version 1, or `folder` in version 2.  None where neither can
        be had.  What the kernel swaps out counts, too: else a machine with swap would have no limit."""
        if self._memory_place is not None:
            try:
                found = _made_with(self._memory_place, name, "memory.limit_in_bytes", memory_bytes)
            except OSError:
                self._memory_place = None
                return None
            if found is not None:
                with contextlib.suppress(OSError):  # a kernel that does not count swap
                    _write(f"{found}/memory.memsw.limit_in_bytes", str(memory_bytes))
            return found
        try:
            _write(f"{folder}/memory.max", str(memory_bytes))
        except OSError:
            return None
        for setting, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(OSError):
                _write(f"{folder}/{setting}", value)
        return folder

    def remove_deserted(self) -> None:
        """Groups whose maker was killed: a name begins with his pid.  The kernel keeps those in use.

        While this process has made none, those with its number are of a former one.
        """
        for place in filter(None, (self._place, self._cpu_place, self._memory_place)):
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
        groups, mounted = told_groups()
    except OSError:
        return PidsGroups(None)
    cpu, memory = (group_folder(groups, mounted, "cgroup", name) for name in ("cpu", "memory"))
    return PidsGroups(place_of_groups(groups, mounted), cpu, memory)


def told_groups(process: str = "/proc/self") -> tuple[str, str]:
    """What the kernel tells of the groups of a process, and of what is mounted.  Raises OSError."""
    with (  # names of mounts are bytes: anybody may have mounted "caf\xe9"
        open(f"{process}/cgroup", encoding="utf-8", errors="surrogateescape") as own,
        open(f"{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts,
    ):
        return own.read(), mounts.read()


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


def _made_with(place: str, name: str, setting: str, value: int) -> str | None:
    """A group with this setting; None when all its names are in use.  Raises OSError."""
    for tried in range(_TRIES):
        folder = f"{place}/{_PREFIX}{name}" + "-again" * tried
        try:
            os.mkdir(folder)
        except FileExistsError:  # of a former process with this number, and in use
            continue
        try:
            _write(f"{folder}/{setting}", str(value))
        except OSError:
            os.rmdir(folder)
            raise
        return folder
    return None


def _counted(path: str, name: str) -> int:
    """What a file of the kernel tells under this name, a count a line; 0 when it tells nothing."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(f"{name} "))
    return 0


def _number(path: str) -> int:
    """That of a file of the kernel; 0 when there is none."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return int(file.read())
    return 0


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
