"""The warm forkserver: a small single-threaded process that forks task processes on request.

A node executes it fresh and never forks itself.  Requests and answers are msgpack packets on one
SOCK_SEQPACKET control socket; a task's own socket and output pipe arrive beside the request (SCM_RIGHTS):

    node  -> ["fork", id, workdir, environment, limits] + 2 descriptors      ["kill", id]
    here  -> ["forked", id, pid]   ["refused", id, reason]   ["ended", id, code, peak_bytes, note]

Who ends whom: the end of the control socket (the node is gone, however it went) kills every task's process
group and this process; a task that ends takes its process group along; this process is the subreaper of all
descendants, so that one which left its session is found and killed when its own parent has ended.  When this
process itself is killed, tasks get the parent-death signal; what they had started in sessions of their own
may then survive: nothing short of a control group can promise more.

Rule: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, NoReturn

import msgpack

from cluster.adapters.confinement import adopt_orphans, confine, die_with_parent
from cluster.adapters.process_table import children_of, family, processes, threads_of_machine

__all__ = ["MAX_PACKET", "Forkserver"]

MAX_PACKET: Final = 160 * 1024
_WATCH_MS: Final = 100
_LAST_SWEEPS: Final = 100
_SWEEP_PAUSE_MS: Final = 10

TaskMain = Callable[[socket.socket], None]


@dataclass(slots=True)
class _Task:
    id: int
    process_limit: int
    note: str = ""


class Forkserver:
    """Serves one node until its control socket ends."""

    def __init__(self, control: socket.socket, task_main: TaskMain) -> None:
        self._control = control
        self._task_main = task_main
        self._tasks: dict[int, _Task] = {}  # by pid
        self._pid = os.getpid()
        self._node = os.getppid()
        self._ends = False
        self._quiet_threads = threads_of_machine()

    def run(self) -> None:
        """Serve, then leave no descendant behind."""
        adopt_orphans()
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
            watched = self._tasks or children_of(self._pid)
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
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, fields: list[Any], descriptors: list[int]) -> None:
        task_id, workdir, environment, limits = fields
        try:
            pid = os.fork()
        except OSError as error:
            self._answer("refused", task_id, f"cannot fork a task process: {error.strerror}")
            return
        if pid == 0:
            self._become_task(descriptors, workdir, environment, limits)
        self._tasks[pid] = _Task(task_id, int(limits.get("processes", 0)))
        self._answer("forked", task_id, pid)

    def _become_task(
        self, descriptors: list[int], workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> NoReturn:
        """In the child: confine, run the task, and never return into the forkserver's own stack."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            die_with_parent(self._pid)
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
                _kill_group(pid)

    def _reap(self) -> None:
        """Bury the dead.  A task's group is killed while its dead leader still holds the group's number."""
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
                code = os.waitstatus_to_exitcode(status)
                self._answer("ended", task.id, code, usage.ru_maxrss * 1024, task.note)

    def _sweep(self) -> None:
        """Kill adopted orphans whose session belongs to no living task."""
        for pid in children_of(self._pid):
            with contextlib.suppress(ProcessLookupError):
                if pid not in self._tasks and os.getsid(pid) not in self._tasks:
                    os.kill(pid, signal.SIGKILL)

    def _watch_families(self) -> None:
        """End a task whose family outgrew its limit; looks closely when the machine's count grew."""
        now = threads_of_machine()
        self._quiet_threads = min(self._quiet_threads, now)
        limited = {pid: task for pid, task in self._tasks.items() if task.process_limit}
        if not limited or now - self._quiet_threads < min(t.process_limit for t in limited.values()) // 2:
            return
        everyone = processes()
        self._quiet_threads = now
        for pid, task in limited.items():
            members = family(pid, everyone)
            if len(members) > task.process_limit:
                task.note = f"{len(members)} processes at once, the limit is {task.process_limit}"
                _kill_group(pid)
                for member in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(member, signal.SIGKILL)

    def _answer(self, *fields: object) -> None:
        try:
            self._control.send(msgpack.packb(fields))
        except OSError:  # nobody listens any more: the same as the end of the control socket
            self._ends = True

    def _end_everything(self) -> None:
        for pid in self._tasks:
            _kill_group(pid)
        for _ in range(_LAST_SWEEPS):
            self._reap()
            strangers = children_of(self._pid)
            if not strangers and not self._tasks:
                return
            for pid in strangers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            select.poll().poll(_SWEEP_PAUSE_MS)


def _kill_group(pid: int) -> None:
    """SIGKILL to a task: its group, and itself for the moment before it has made the group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _only_wake(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor does the work."""
