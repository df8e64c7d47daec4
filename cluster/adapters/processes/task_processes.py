"""The node's half of task processes: starts the forkserver on first use and speaks with it.

The forkserver (forkserver.py) is executed, never forked, from the node: it starts without the node's memory,
secrets, threads and descriptors (its environment is built here, not inherited).  One packet socket carries
orders and endings; each task has its own stream socket for framed messages and a pipe for what it prints.

What a task may not do to the node: a message above 16 MiB ends the conversation, output is read at a bounded
rate and only its last 1 MiB is kept.  Nor to others: while there are tasks the forkserver is pinged, and one
that is silent for 5 s, stopped by a task or stuck, is ended with all below it and replaced; a start that
this interrupts is tried again on the new one.  Those who had left the tree of a forkserver that was killed
are found by a mark in their environment.

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgpack

from ringmill.cluster.adapters.in_thread import in_thread
from ringmill.cluster.adapters.processes.captured_output import CapturedOutput
from ringmill.cluster.adapters.processes.child_process import ChildProcess
from ringmill.cluster.adapters.processes.family_end import end_family
from ringmill.cluster.adapters.processes.forkserver import MAX_PACKET
from ringmill.cluster.adapters.processes.process_table import ProcessTable, children_of, marked
from ringmill.cluster.gathering import gather_all

__all__ = ["MAX_MESSAGE_BYTES", "ForkedTask", "TaskProcesses"]

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_LENGTH_BYTES: Final = 4
_TABLE: Final = ProcessTable()
_log = logging.getLogger(__name__)
_START_TIMEOUT_S: Final = 20.0
_START_TRIES: Final = 3
_END_TIMEOUT_S: Final = 1.0
_PING_EVERY_S: Final = 1.0
_SILENT_PINGS: Final = 5  # counted, not timed: a node that stood still itself must not blame the forkserver
_LOOKS_AFTER_S: Final = (0.0, 0.1, 0.4)
_MARK: Final = "RINGMILL_TASKS_OF"
_SOURCE_ROOT: Final = str(Path(os.path.abspath(__file__)).parents[__name__.count(".")])


class ForkedTask:
    """A TaskProcess (ringmill.cluster.ports) that the forkserver made."""

    def __init__(self, owner: TaskProcesses, task_id: int, output: CapturedOutput) -> None:
        self._owner = owner
        self._id = task_id
        self._pid = 0
        self._output = output
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._peak_bytes = 0
        self._breach = ""
        self.mark = output.mark

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def is_alive(self) -> bool:
        return not self._ended.done()

    @property
    def peak_bytes(self) -> int:
        """Peak resident memory in bytes; 0 until the process has ended."""
        return self._peak_bytes

    @property
    def breach(self) -> str:
        return self._breach

    async def send(self, message: bytes) -> None:
        assert self._streams is not None
        writer = self._streams[1]
        try:
            writer.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
            await writer.drain()
        except ConnectionError as error:
            raise BrokenPipeError(f"task process {self._pid} has ended") from error

    async def receive(self) -> bytes:
        """Raises EOFError when it has ended, also when it broke off or sent more than 16 MiB at once."""
        assert self._streams is not None
        reader = self._streams[0]
        try:
            size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
            if size > MAX_MESSAGE_BYTES:
                raise EOFError(f"task process {self._pid} sent a message of {size} bytes")
            return await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError(f"task process {self._pid} has ended") from error

    def output(self) -> bytes:
        return self._output.tail()

    async def finish_work(self) -> bytes:
        """As TaskProcess.settle (ringmill.cluster.ports); costs a few reads where nothing was left behind."""
        await self._owner.tidy(self._id, self._pid)
        return await self._output.cut()

    async def wait(self) -> int:
        """Also waits for the end of its output; what was not received by then is lost."""
        try:
            code = await asyncio.shield(self._ended)
            await self._output.finished()
        finally:  # also when it is not waited for any longer
            if self._streams is not None:
                self._streams[1].close()
            self._output.close()
        return code

    def kill(self) -> None:
        if not self._ended.done():
            self._owner.kill(self._id, self._pid)

    def _connected(self, pid: int, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._pid = pid
        self._streams = streams

    def _has_ended(self, code: int, peak_bytes: int, breach: str, note: str) -> None:
        self._peak_bytes, self._breach = peak_bytes, breach
        if note:
            self._output.note(note)
        if not self._ended.done():
            self._ended.set_result(code)


class TaskProcesses:
    """Starts task processes for one node; `close` ends the forkserver and with it every task."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command or (sys.executable, "-P", "-m", "ringmill.node.task_main", "--forkserver")
        self._starting = asyncio.Lock()
        self._process: ChildProcess | None = None
        self._control: socket.socket | None = None
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._tasks: dict[int, ForkedTask] = {}
        self._pids: dict[int, asyncio.Future[int]] = {}
        self._tidied: dict[int, asyncio.Future[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._heard = self._has_spoken = False
        self._mark = ""
        self._last_id = 0

    @property
    def forkserver_pid(self) -> int | None:
        """None before the first task and after the forkserver's end."""
        return None if self._process is None or self._control is None else self._process.pid

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> ForkedTask:
        """As Spawner.start_task (ringmill.cluster.ports).  Raises ChildProcessError when no process could be
        made."""
        for tries_left in reversed(range(_START_TRIES)):
            try:
                await self._ensure_forkserver()
                return await self._start_task(workdir, environment, limits)
            except _ForkserverGone as error:
                if not tries_left:
                    raise ChildProcessError(f"{error}, {_START_TRIES} times") from error
            except ChildProcessError:
                raise
            except OSError as error:  # this process has no descriptors left, say
                raise ChildProcessError(f"no process could be made: {error.strerror}") from error
        raise AssertionError("the last try returns or raises")

    async def _start_task(
        self, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> ForkedTask:
        self._last_id += 1
        task_id = self._last_id
        output = CapturedOutput(uuid.uuid4().bytes)
        pipe = await output.open()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            os.close(pipe)  # its other end is closed when that is read
            raise
        task = self._tasks[task_id] = ForkedTask(self, task_id, output)
        answered = self._pids[task_id] = asyncio.get_running_loop().create_future()
        marked = {**environment, _MARK: self._mark}
        try:
            self._send(["fork", task_id, workdir, marked, dict(limits)], [theirs.detach(), pipe])
            # wait_for of Python 3.11 loses a cancellation that comes in the same turn as the answer
            async with asyncio.timeout(_START_TIMEOUT_S):
                pid = await answered
            task._connected(pid, await asyncio.open_unix_connection(sock=ours))
        except BaseException as error:
            ours.close()
            self.kill(task_id, 0)
            if isinstance(error, TimeoutError):
                why = f"the forkserver made no process in {_START_TIMEOUT_S:g} s"
                self._drop_control(why)
                raise _ForkserverGone(why) from error
            raise
        finally:
            self._pids.pop(task_id, None)
        return task

    async def tidy(self, task_id: int, pid: int) -> None:
        """End what a task has started and left behind, if there is anything."""
        forkserver = self.forkserver_pid
        if forkserver is None or task_id not in self._tasks:
            return
        known = {task.pid for task in self._tasks.values()}
        if not _TABLE.children(pid) and known.issuperset(children_of(forkserver)):
            return
        tidied = self._tidied.setdefault(task_id, asyncio.get_running_loop().create_future())
        self._send(["tidy", task_id], [])
        await tidied

    def kill(self, task_id: int, pid: int) -> None:
        """SIGKILL to a task's group, by the forkserver (only it knows that the number is not reused)."""
        if self._control is not None:
            self._send(["kill", task_id], [])
        elif pid:
            _kill_group(pid)

    async def close(self) -> None:
        """End the forkserver, which ends all tasks.  Waits at most 1 s, then SIGKILL."""
        process, self._process = self._process, None
        self._close_control("the node is closing")
        await gather_all(self._endings)
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _ensure_forkserver(self) -> None:
        async with self._starting:
            if self._control is not None:
                return
            self._mark, self._has_spoken = uuid.uuid4().hex, False
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._process = ChildProcess(
                    (*self._command, str(theirs.fileno())),
                    environment={**_clean_environment(), _MARK: self._mark},
                    pass_fds=(theirs.fileno(),),
                    folder="/",
                    new_session=True,
                )
            except OSError as error:
                ours.close()
                raise ChildProcessError(f"cannot start a forkserver: {error.strerror}") from error
            finally:
                theirs.close()
            ours.setblocking(False)
            self._control = ours
            asyncio.get_running_loop().add_reader(ours.fileno(), self._on_readable)
            self._watching = asyncio.create_task(self._watch(), name="forkserver")

    async def _watch(self) -> None:
        """Replace a forkserver that is silent while there are tasks, once it has begun to answer at all.

        Until then it starts, which takes long on a crowded machine: the first start of a task has a timeout.
        """
        silent = 0
        while self._control is not None:
            if silent >= _SILENT_PINGS:
                self._drop_control(f"the forkserver was silent for {_SILENT_PINGS * _PING_EVERY_S:g} s")
                return
            is_busy, self._heard = bool(self._tasks), False
            if is_busy:
                self._send(["ping", silent], [])
            await asyncio.sleep(_PING_EVERY_S)
            silent = silent + 1 if is_busy and self._has_spoken and not self._heard else 0

    def _send(self, fields: list[Any], descriptors: list[int]) -> None:
        """Queue a packet; its descriptors are closed once they are over there."""
        packet = msgpack.packb(fields)
        if len(packet) > MAX_PACKET or self._control is None:
            _close_all(descriptors)
            if self._control is None:
                raise _ForkserverGone("the forkserver has ended")
            raise ChildProcessError(f"an order of {len(packet)} bytes; the limit is {MAX_PACKET}")
        self._outbox.append((packet, descriptors))
        self._flush()

    def _flush(self) -> None:
        control = self._control
        while self._outbox and control is not None:
            packet, descriptors = self._outbox[0]
            try:
                socket.send_fds(control, [packet], descriptors)
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(control.fileno(), self._flush)
                return
            except OSError as error:
                self._drop_control(f"the forkserver has ended: {error.strerror}")
                return
            self._outbox.popleft()
            _close_all(descriptors)
        if control is not None:
            asyncio.get_running_loop().remove_writer(control.fileno())

    def _on_readable(self) -> None:
        while self._control is not None:
            try:
                packet = self._control.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError as error:
                packet = b""
                self._drop_control(f"the forkserver has ended: {error.strerror}")
            if not packet:
                self._drop_control("the forkserver has ended")
                return
            self._heard = self._has_spoken = True
            self._on_answer(*msgpack.unpackb(packet))

    def _on_answer(self, verb: str, number: int, *fields: Any) -> None:
        """`number` is a task's id, but in "pong", which says no more than that it came."""
        if verb in ("ended", "tidied"):
            _settle(self._tidied.pop(number, None))
        if verb == "ended" and (task := self._tasks.pop(number, None)) is not None:
            task._has_ended(*fields)
        answered = self._pids.get(number)
        if answered is None or answered.done():
            return
        if verb == "forked":
            answered.set_result(fields[0])
        elif verb == "refused":
            self._tasks.pop(number, None)
            answered.set_exception(ChildProcessError(fields[0]))

    def _drop_control(self, why: str) -> None:
        """The forkserver is gone, or is to go: end it with all below it; its tasks count as killed."""
        process, self._process = self._process, None
        if self._close_control(why) and process is not None:
            _log.warning("%s: its tasks are ended, the next task starts another", why)
            ending = asyncio.create_task(_end_family_of(process, self._mark))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _close_control(self, why: str) -> bool:
        """Every task counts as killed, and a sound forkserver ends by this; whether it was open."""
        control, self._control = self._control, None
        if control is None:
            return False
        loop = asyncio.get_running_loop()
        loop.remove_reader(control.fileno())
        loop.remove_writer(control.fileno())
        control.close()
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()
        while self._outbox:
            _close_all(self._outbox.popleft()[1])
        for answered in self._pids.values():
            if not answered.done():
                answered.set_exception(_ForkserverGone(why))
        for tidied in self._tidied.values():
            _settle(tidied)
        self._tidied.clear()
        for task in self._tasks.values():
            if task.pid:
                _kill_group(task.pid)
            task._has_ended(-signal.SIGKILL, 0, "", why)
        self._tasks.clear()
        return True


class _ForkserverGone(ChildProcessError):
    """Nothing was made; another forkserver may do better."""


async def _end_family_of(process: ChildProcess, mark: str) -> None:
    """End a forkserver and everybody that it or a task of it has started, wherever they are in the tree."""

    def roots() -> list[int]:
        own = [process.pid] if process.returncode is None else []
        return [*own, *marked(f"{_MARK}={mark}".encode())]

    for pause_s in _LOOKS_AFTER_S:  # the mark of one who is just being executed cannot be read
        await asyncio.sleep(pause_s)
        await in_thread(end_family, roots, _TABLE)
    process.kill()
    with contextlib.suppress(TimeoutError):  # it hangs in the kernel: nothing waits for it
        async with asyncio.timeout(_END_TIMEOUT_S):
            await process.wait()


def _settle(tidied: asyncio.Future[None] | None) -> None:
    """Nobody may wait any more: then it was cancelled."""
    if tidied is not None and not tidied.done():
        tidied.set_result(None)


def _clean_environment() -> dict[str, str]:
    """What the forkserver may know: where Python and the program are, nothing else of ours.

    A fixed hash seed makes a task that iterates over a set of strings give the same bytes on every node.
    """
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    return {**kept, "PYTHONPATH": _SOURCE_ROOT, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
