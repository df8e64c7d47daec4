"""A seeded event loop with virtual time: one loop runs every simulated node.

Each callback belongs to a process (a node's run, a client, the driver), known from a context variable.
A process keeps asyncio's promise of first in, first out; which process runs next is drawn from the seed,
so that the interleaving of nodes is explored and every run can be replayed.  When nothing is ready, the
clock jumps to the next timer; when there is no timer either, the run is stuck and says so.

Tasks and futures hash by a sequence number, because sets of them are iterated (asyncio.TaskGroup,
asyncio.wait) and an order by address would differ between processes.

Not here: network, disk, faults.  A paused process keeps its callbacks; a killed one loses them.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from math import inf
from random import Random
from typing import Any, TypeVar

__all__ = ["Process", "Stuck", "VirtualLoop"]

T = TypeVar("T")


class Stuck(RuntimeError):
    """The awaited future is not done, and nothing is ready and no timer set, or `longest_s` is over."""


class Process:
    """What owns callbacks: one run of a node, a client, or the driver of the run."""

    __slots__ = ("alive", "kept", "name", "order", "paused", "ready", "slow_s")

    def __init__(self, name: str, order: int) -> None:
        self.name = name
        self.order = order
        self.ready: deque[asyncio.Handle] = deque()
        self.alive = True
        self.paused = False
        self.slow_s = 0.0
        self.kept: list[object] = []  # tasks of a killed process: never resumed, not collected before the end


_current: ContextVar[Process | None] = ContextVar("simulated_process", default=None)


class _SequencedFuture(asyncio.Future[T]):
    def __init__(self, sequence: int, loop: asyncio.AbstractEventLoop) -> None:
        self._sequence = sequence
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._sequence


class _SequencedTask(asyncio.Task[T]):
    def __init__(self, sequence: int, coro: Any, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        self._sequence = sequence
        super().__init__(coro, loop=loop, **kwargs)
        self._log_destroy_pending = False  # a killed node's tasks are dropped on purpose

    def __hash__(self) -> int:
        return self._sequence


class _PlainHandle(asyncio.Handle):
    """As asyncio's, but it never asks whether the loop is in debug mode: a run makes 25,000 of them."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None


# Sockets, signals and subprocesses of the abstract loop stay unimplemented: asking for one is an error.
_AbstractLoop: Any = asyncio.AbstractEventLoop


class VirtualLoop(_AbstractLoop):  # type: ignore[misc]
    """The loop.  `spawn` starts a process, `kill` drops it, `pause` / `resume` freeze it."""

    def __init__(self, schedule: Random) -> None:
        self._draw = schedule
        self._now = 0.0
        self._sequence = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._runnable: list[Process] = []
        self._processes = 0
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._running = False
        self._closed = False
        self._failures: list[dict[str, Any]] = []
        self._driver = Process("driver", 0)
        self.steps = 0
        self.longest_s = inf
        """The most virtual time that a run may take: one that goes on waits for what never comes."""

    # -- processes -----------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """A new process; work enters it with `spawn`."""
        self._processes += 1
        return Process(name, self._processes)

    def spawn(self, process: Process, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a coroutine that belongs to `process`; what it starts belongs to it too."""
        context = copy_context()
        context.run(_current.set, process)
        return self.create_task(coro, context=context)

    def call_in(self, process: Process, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback as part of `process`: how a message enters a node."""
        context = copy_context()
        context.run(_current.set, process)
        self.call_soon(callback, *args, context=context)

    def kill(self, process: Process) -> None:
        """Nothing of the process runs ever again: its callbacks, timers and tasks are dropped."""
        process.alive = False
        process.kept.append(list(process.ready))
        process.ready.clear()

    def pause(self, process: Process) -> None:
        process.paused = True

    def resume(self, process: Process) -> None:
        process.paused = False
        if process.ready and process not in self._runnable:
            self._runnable.append(process)

    # -- asyncio's side ------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def create_future(self) -> asyncio.Future[Any]:
        return _SequencedFuture(self._next(), self)

    def create_task(
        self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], **kwargs: Any
    ) -> asyncio.Task[T]:
        kwargs.pop("eager_start", None)
        sequence = self._next()
        task: asyncio.Task[T] = _SequencedTask(sequence, coro, self, **kwargs)
        self._tasks[sequence] = task
        task.add_done_callback(lambda _: self._tasks.pop(sequence, None))
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _PlainHandle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        raise RuntimeError("a thread reached the simulated loop: that work belongs behind a door")

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._next(), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when they come up."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._failures.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._failures.append(context)

    async def shutdown_asyncgens(self) -> None:
        """Generators end with their tasks."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    # -- running -------------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until the future is done.  Raises Stuck, or what the future raised."""
        waited = asyncio.ensure_future(future, loop=self)
        self._running = True
        asyncio._set_running_loop(self)  # what asyncio.run does through BaseEventLoop
        try:
            done, step = waited.done, self._step
            while not done():
                step()
        finally:
            asyncio._set_running_loop(None)
            self._running = False
        return waited.result()

    def unhandled(self) -> list[dict[str, Any]]:
        """What tasks raised and nobody awaited: a bug of the program under test."""
        return self._failures

    def drop_everything(self) -> None:
        """Forget what is left at the end of a run, so that nothing of it runs later."""
        self._timers.clear()
        self._runnable.clear()
        for task in self._tasks.values():
            work = task.get_coro()
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # else Python warns that it was never awaited
        self._tasks.clear()

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _enqueue(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(_current) or self._driver  # type: ignore[attr-defined]
        if not process.alive:
            process.kept.append(handle)
            return
        if not process.ready and not process.paused:
            self._runnable.append(process)
        process.ready.append(handle)

    def _step(self) -> None:
        runnable = self._runnable
        while not runnable:
            self._advance()
        count = len(runnable)
        index = int(self._draw.random() * count) if count > 1 else 0
        process = runnable[index]
        ready = process.ready
        if not ready or process.paused or not process.alive:
            self._forget(index)
            return
        handle = ready.popleft()
        if not ready:
            self._forget(index)
        if not handle._cancelled:
            self.steps += 1
            handle._run()

    def _forget(self, index: int) -> None:
        last = self._runnable.pop()
        if index < len(self._runnable):
            self._runnable[index] = last

    def _advance(self) -> None:
        """Jump to the next timer and make everything that is due ready."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"nothing is ready and no timer is set at {self._now:.6f} s of virtual time")
        now = self._now = max(self._now, timers[0][0])
        if now > self.longest_s:
            raise Stuck(f"it has not ended after {self._now:.0f} s of virtual time")
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._enqueue(handle)
