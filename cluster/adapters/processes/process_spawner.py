"""The Spawner door: functions in long-lived worker processes, user code in task processes.

Workers start when they are first needed, stay for the next function, and end with this process even when it
is killed (cluster/adapters/processes/worker_main.py).  There is no pool library below: no tracker, no feeder
threads, nothing that outlives a kill -9.  Task processes are cluster/adapters/processes/task_processes.py.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import socket
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar

from ringmill.cluster.adapters.processes.child_process import ChildProcess
from ringmill.cluster.adapters.processes.worker_main import LENGTH_BYTES
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import TaskProcess

if TYPE_CHECKING:
    from ringmill.cluster.adapters.processes.task_processes import TaskProcesses

__all__ = ["ProcessSpawner"]

_WORKERS: Final = 2  # so that a flush does not wait for a long compaction
_END_TIMEOUT_S: Final = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class ProcessSpawner:
    """Work outside this process.  `async with`, or `close`, ends every process it started."""

    def __init__(self, *, workers: int = _WORKERS) -> None:
        """At most `workers` functions run at a time; more wait their turn."""
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._tasks: TaskProcesses | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in a worker and return its result.

        Raises what the function raised, OSError for want of memory; ChildProcessError when the worker died;
        InvalidArgument when the function cannot be named.  Cancelling kills the worker.
        """
        request = pickle.dumps((*_named(function), args, kwargs))
        async with self._slots:
            worker = await self._worker()
            self._busy.append(worker)
            try:
                is_result, outcome = pickle.loads(await worker.ask(request))  # noqa: S301  our own worker
            except BaseException:
                worker.kill()
                raise
            finally:
                self._busy.remove(worker)
            self._idle.append(worker)
        if not is_result:
            raise outcome
        return outcome  # type: ignore[no-any-return]

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        """Fork a fresh task process whose current folder is `workdir`."""
        if self._tasks is None:
            # Only a node that runs tasks pays for their machinery.
            from ringmill.cluster.adapters.processes.task_processes import TaskProcesses  # noqa: PLC0415

            self._tasks = TaskProcesses()
        return await self._tasks.start_task(workdir=workdir, environment=environment, limits=limits)

    async def close(self) -> None:
        """End every child that is still there; functions under way raise ChildProcessError."""
        self._is_closed = True
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        for worker in workers:
            worker.kill()
        for worker in workers:
            await worker.ended()
        if self._tasks is not None:
            await self._tasks.close()

    async def _worker(self) -> _Worker:
        """An idle worker that is still there, or a new one."""
        if self._is_closed:
            raise ChildProcessError("the spawner is closed")
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
        return await _Worker.start()


class _Worker:
    """The node's half of one worker process."""

    def __init__(
        self, process: ChildProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> _Worker:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = (
            sys.executable,
            "-P",
            "-m",
            "ringmill.cluster.adapters.processes.worker_main",
            str(os.getpid()),
        )
        environment = {**os.environ, "PYTHONPATH": path}
        ours, theirs = socket.socketpair()
        with theirs:
            process = ChildProcess(
                command, environment=environment, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: bytes) -> bytes:
        """Raises ChildProcessError when the worker ends before it has answered."""
        try:
            self._writer.write(len(request).to_bytes(LENGTH_BYTES, "big") + request)
            await self._writer.drain()
            size = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self.ended()
            raise ChildProcessError(f"worker process {self._process.pid} ended with code {code}") from None

    def kill(self) -> None:
        if self.is_alive:
            self._process.kill()

    async def ended(self) -> int:
        """Its exit code, or minus the signal's number; a worker that does not end by itself is killed."""
        self._writer.close()
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()


def _named(function: Callable[..., Any]) -> tuple[str, str]:
    """Module and qualified name, by which the worker finds the same function."""
    module, name = str(function.__module__), str(getattr(function, "__qualname__", ""))
    try:
        is_found = attrgetter(name)(importlib.import_module(module)) is function
    except (ImportError, AttributeError):
        is_found = False
    if not is_found or module == "__main__":
        raise InvalidArgument(
            f"{function!r} cannot run in a worker process", hint="pass a function of an importable module"
        )
    return module, name
