"""The warm forkserver: a small single-threaded process that forks task processes on request.

A node executes it fresh and never forks itself.  Requests and answers are msgpack packets on one
SOCK_SEQPACKET control socket; a task's own socket and output pipe arrive beside the request (SCM_RIGHTS):

    node  -> ["fork", id, workdir, environment, limits] + 2 descriptors
             ["kill", id]   ["tidy", id]   ["ping", number]
    here  -> ["forked", id, pid]   ["refused", id, reason]   ["ended", id, code, peak_bytes, breach, note]
             ["tidied", id]   ["pong", number]

When the control socket ends, because the node is gone in whatever way, every task's family and this process
are killed.  When a task ends, its family is killed.  "tidy" kills what an attempt has left behind in a
process that is reused.  This process is the subreaper of all descendants, so they stay below it in the
process tree even in another session.  A family that exceeds its number of processes or its memory is killed,
and the breach is named.  family_end.py tells how a family is killed although it forks.  Where the kernel
permits a pids cgroup for each family, no process can leave it or fork in it while it is being killed, and
where it permits a memory cgroup beside that, the kernel holds the family's memory (pids_group.py).  When this
process itself is stopped or killed, the node kills its family and starts another one (task_processes.py).

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Final, NoReturn

import msgpack

from ringmill.cluster.adapters.processes.confinement import (
    adopt_orphans,
    confine,
    die_with_parent,
    wake_with_parent_gone,
)
from ringmill.cluster.adapters.processes.family_end import end_family, members_of
from ringmill.cluster.adapters.processes.pids_group import PidsGroup, PidsGroups, groups_of_this_process
from ringmill.cluster.adapters.processes.process_table import ProcessTable, children_of, memory_of, session_of

__all__ = ["FAMILY_BYTES", "MAX_PACKET", "Forkserver", "TaskPipe"]

FAMILY_BYTES: Final = "family_bytes"  # the limit that no rlimit knows: memory of a task with its descendants

MAX_PACKET: Final = 160 * 1024
_WATCH_MS: Final = 100
_LAST_SWEEPS: Final = 100
_SWEEP_PAUSE_MS: Final = 10
_HURRIED: Final = -20
_MANY: Final = 4096
_MIB: Final = 1024 * 1024
_LENGTH_BYTES: Final = 4

TaskMain = Callable[[socket.socket], None]


class TaskPipe:
    """A task's half of its pipe: messages with their length before them.  Several threads may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.speaking = threading.RLock()  # who holds it may send more than once

    def receive(self) -> bytes | None:
        """The next message, None at the end."""
        header = self._read(_LENGTH_BYTES)
        return None if header is None else self._read(int.from_bytes(header, "big"))

    def has_more(self) -> bool:
        """Whether another message has come, or the end."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def send(self, message: bytes) -> None:
        with self.speaking:
            self._connection.sendall(len(message).to_bytes(_LENGTH_BYTES, "big") + message)

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            data = self._connection.recv(size - len(parts))
            if not data:
                return None
            parts += data
        return bytes(parts)


@dataclass(slots=True)
class _Task:
    id: int
    process_limit: int  # 0 for none, as below
    memory_limit: int
    group: PidsGroup | None
    breach: str = ""  # which limit its family broke
    note: str = ""


class Forkserver:
    """Serves one node until its control socket ends."""

    def __init__(self, control: socket.socket, task_main: TaskMain, groups: PidsGroups | None = None) -> None:
        self._control = control
        self._task_main = task_main
        self._groups = groups or groups_of_this_process()
        self._left: list[PidsGroup] = []  # of tasks that have ended
        self._tasks: dict[int, _Task] = {}  # by pid
        self._suspects: set[int] = set()  # tasks that have lived since there were no strays
        self._pid = os.getpid()
        self._node = os.getppid()
        self._ends = False
        self._table = ProcessTable()

    def run(self) -> None:
        """Serve, then leave no descendant behind."""
        adopt_orphans()
        self._groups.remove_deserted()
        wake_with_parent_gone()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _only_wake)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the node to act on
        try:
            self._serve(wake_read)
        finally:
            self._end_everything()

    def _serve(self, wake_read: int) -> None:
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while not self._ends and os.getppid() == self._node:
            watched = self._tasks or self._left or children_of(self._pid)
            ready = dict(poll.poll(_WATCH_MS if watched else None))
            if wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
            if self._control.fileno() in ready:
                self._take_request()
            self._reap()
            self._sweep()
            self._watch_families()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ends = True

    def _take_request(self) -> None:
        """Act on one packet; an empty one is the end of the control socket."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, 4)
        except ConnectionError:
            packet, descriptors = b"", []
        if not packet:
            self._ends = True
            return
        try:
            verb, *fields = msgpack.unpackb(packet)
            if verb == "fork":
                self._fork(fields, descriptors)
            elif verb == "kill":
                self._kill(int(fields[0]))
            elif verb == "tidy":
                self._tidy(int(fields[0]))
            elif verb == "ping":
                self._answer("pong", *fields)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, fields: list[Any], descriptors: list[int]) -> None:
        task_id, workdir, environment, limits = fields
        most, memory = int(limits.get("processes", 0)), int(limits.get(FAMILY_BYTES, 0))
        group = self._groups.make(f"{self._pid}-{task_id}", most, memory)
        try:
            pid = os.fork()
        except OSError as error:
            self._left += [group] if group else []
            self._answer("refused", task_id, f"cannot fork a task process: {error.strerror}")
            return
        if pid == 0:
            self._become_task(descriptors, workdir, environment, limits, group)
        self._suspects.add(pid)
        self._tasks[pid] = _Task(task_id, most, memory, group)
        self._answer("forked", task_id, pid)

    def _become_task(
        self,
        descriptors: list[int],
        workdir: str,
        environment: Mapping[str, str],
        limits: Mapping[str, int],
        group: PidsGroup | None,
    ) -> NoReturn:
        """In the child: confine, run the task, and never return into the forkserver's own stack."""
        code = 1
        of_watch = [FAMILY_BYTES]
        if group is not None and group.holds_memory:
            of_watch.append("as_bytes")  # what it reserves and does not use is nobody's loss
        limits = {name: value for name, value in limits.items() if name not in of_watch}
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(self._pid)
            if group is not None:
                group.enter()
            socket_fd = confine(
                descriptors[0], descriptors[1], workdir=workdir, environment=environment, limits=limits
            )
            self._task_main(socket.socket(fileno=socket_fd))
            code = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of this process: say why, then end
            os.write(2, f"task process: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _kill(self, task_id: int) -> None:
        for pid, task in self._tasks.items():
            if task.id == task_id:
                self._end_family(pid)

    def _tidy(self, task_id: int) -> None:
        """End all that a task has started, but not the task."""
        for pid, task in self._tasks.items():
            if task.id == task_id:
                with task.group.without_births() if task.group else contextlib.nullcontext():
                    end_family(partial(self._descendants, pid), ProcessTable(self._tasks))
        self._reap()
        self._answer("tidied", task_id)

    def _end_family(self, pid: int) -> None:
        """A task with everybody below it; without a group of its own also every stray.  One that would not
        end is swept later, as is a task that has not entered its group yet and has started nothing."""
        others, group = self._tasks.keys() - {pid}, self._tasks[pid].group
        with _hurry():
            if group is None or not group.end_members():
                end_family(lambda: [pid, *self._descendants(pid)], ProcessTable(others))
        _kill_group(pid)  # all there is where /proc is missing

    def _descendants(self, pid: int) -> list[int]:
        """Children of a task, orphans that were its descendants or may have been, all others of its group."""
        return self._family(pid, lambda: self._strays(pid))

    def _surely_of(self, pid: int) -> list[int]:
        """The descendants of a task, without orphans of no task's session that another task may have made.

        They are swept in any case, but to count them to each task would end the neighbours of a fork bomb.
        """
        if self._suspects == {pid}:
            return self._descendants(pid)
        return self._family(
            pid, lambda: [child for child in children_of(self._pid) if session_of(child) == pid]
        )

    def _family(self, pid: int, orphans: Callable[[], list[int]]) -> list[int]:
        """Children of a task, these orphans, all others of its group.  Orphans are looked for after the
        children, so whoever becomes one in between is found."""
        group = self._tasks[pid].group if pid in self._tasks else None
        found = [*self._table.children(pid), *orphans(), *(group.members() if group else [])]
        return [each for each in dict.fromkeys(found) if each != pid]

    def _strays(self, *leaders: int) -> list[int]:
        """Adopted orphans whose session belongs to no living task, or to one of `leaders`."""
        orphans = [child for child in children_of(self._pid) if child not in self._tasks]
        living = self._tasks.keys() - set(leaders)
        return [child for child in orphans if session_of(child) not in living]

    def _reap(self) -> None:
        """Reap ended processes.

        A task's group is killed before its dead leader is reaped and frees the number.
        """
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            if dead.si_pid in self._tasks:
                _kill_group(dead.si_pid)
            _, status, usage = os.wait4(dead.si_pid, 0)
            task = self._tasks.pop(dead.si_pid, None)
            if task is not None:
                self._left += [task.group] if task.group else []
                code = os.waitstatus_to_exitcode(status)
                if code and not task.breach and task.group:
                    task.breach, task.note = _told_by_group(task, task.group)
                self._answer("ended", task.id, code, usage.ru_maxrss * 1024, task.breach, task.note)

    def _sweep(self) -> None:
        """Kill adopted orphans whose session belongs to no living task, with all below them."""
        if self._strays():
            end_family(self._strays, ProcessTable(self._tasks))
            self._reap()
        else:
            self._suspects = set(self._tasks)
        for group in self._left:
            if not group.end_members():
                end_family(group.members, ProcessTable(self._tasks))
        self._left = [group for group in self._left if not group.remove()]

    def _watch_families(self) -> None:
        """End a task whose family outgrew a limit."""
        for pid, task in list(self._tasks.items()):
            if task.breach:
                continue
            if task.group is not None and task.group.ran_out_of_memory:
                task.breach, task.note = _told_by_group(task, task.group)
            elif (below := self._surely_of(pid)) or self._counts_memory(task):
                members = [pid]  # who is alone needs no second look
                if below:
                    members = members_of([pid, *below], self._table, most=task.process_limit or _MANY)
                task.breach, task.note = self._judge(task, members)
            if task.breach:
                self._end_family(pid)

    def _counts_memory(self, task: _Task) -> bool:
        """Whether the family has a limit of memory that no cgroup holds."""
        return bool(task.memory_limit) and not (task.group and task.group.holds_memory)

    def _judge(self, task: _Task, members: list[int]) -> tuple[str, str]:
        """Which limit a family has outgrown, and how; empty when none."""
        if 0 < task.process_limit < len(members):
            return (
                "processes",
                f"at least {len(members)} processes at once, the limit is {task.process_limit}",
            )
        limit = task.memory_limit
        if self._counts_memory(task) and (used := memory_of(members, above=limit)) > limit:
            used_mib, limit_mib = used // _MIB, limit // _MIB
            who = f"its {len(members)} processes used" if len(members) > 1 else "it used"
            return FAMILY_BYTES, f"{who} {used_mib} MiB of memory, the limit is {limit_mib} MiB"
        return "", ""

    def _answer(self, *fields: object) -> None:
        try:
            self._control.send(msgpack.packb(fields))
        except OSError:  # the node is gone: handled like the end of the control socket
            self._ends = True

    def _end_everything(self) -> None:
        for pid, task in self._tasks.items():
            _kill_group(pid)
            self._left += [task.group] if task.group else []
        for _ in range(_LAST_SWEEPS):
            end_family(lambda: children_of(self._pid), self._table)
            self._reap()
            self._left = [group for group in self._left if not group.remove()]
            if not children_of(self._pid) and not self._left:
                return
            select.poll().poll(_SWEEP_PAUSE_MS)


def _told_by_group(task: _Task, group: PidsGroup) -> tuple[str, str]:
    """Which limit the kernel has held a family to, and how; empty when none."""
    if group.ran_out_of_memory:
        had_mib, limit_mib = group.most_memory_bytes // _MIB, task.memory_limit // _MIB
        return FAMILY_BYTES, f"it used {had_mib} MiB of memory and needed more, the limit is {limit_mib} MiB"
    if group.was_full:
        return "processes", f"the system refused it one process more, the limit is {task.process_limit}"
    return "", ""


@contextlib.contextmanager
def _hurry() -> Iterator[None]:
    """Raise this process's priority, if permitted: the processes being ended may be many and fast."""
    former = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _HURRIED)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, former)


def _kill_group(pid: int) -> None:
    """SIGKILL to a task: its group, and itself for the moment before it has made the group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _only_wake(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor does the work."""
