"""A seeded event loop with virtual time: one loop runs every simulated node.

Each callback belongs to a process (a node's run, a client, the driver), known from a context variable.
A process keeps asyncio's promise of first in, first out; which process runs next is drawn from the seed,
so that the interleaving of nodes is explored and every run can be replayed.  When nothing is ready, the
clock jumps to the next timer; when there is no timer either, the run is stuck and says so.

With a stream for callbacks also the order inside a process is drawn, as far as asyncio's documentation
leaves it open: what came from different sources goes on in any order, each source keeps its own, and the
clock may go on while callbacks wait.  What is promised and kept, docs/simulator.md says.

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
from itertools import islice
from math import inf
from random import Random
from typing import Any, Final, TypeVar

from ringmill.cluster.errors import RingmillError

__all__ = ["Process", "Stuck", "VirtualLoop"]

T = TypeVar("T")

_SOON: Final = ""  # the source of what a process has registered by `call_soon` itself
_TIMER: Final = "timer"
_AS_ONE_S: Final = 0.001  # uvloop rounds timers to milliseconds: within one they come in any order
_GOES_ON: Final = 1 / 8  # of the steps, before which the clock goes on though callbacks wait
_BY_RANK: Final = 1 / 2  # of the runs, in which sources have ranks
_NEW_RANK: Final = 1 / 32  # of the draws, after which the first in rank gets another one
_LOOKS_AT: Final = 32  # at most this many ready callbacks are drawn from


class Stuck(RuntimeError):
    """The awaited future is not done, and nothing is ready and no timer set, or `longest_s` is over."""


class Process:
    """What owns callbacks: one run of a node, a client, or the driver of the run."""

    __slots__ = ("alive", "kept", "name", "order", "paused", "ready", "slow_s", "sources", "turn")

    def __init__(self, name: str, order: int) -> None:
        self.name = name
        self.order = order
        self.ready: deque[asyncio.Handle] = deque()
        self.sources: deque[str] = deque()  # of each that is ready, on a loop that draws callbacks
        self.turn = 0  # what of its `call_soon` belongs to the present turn and has not run yet
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


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Of a task that has ended.  Unlike `Task.exception` it hears nothing for those who have to."""
    return task._exception


def _is_unheard(task: asyncio.Task[Any]) -> bool:
    """Whether nobody has asked how a task that failed has ended."""
    return bool(task._log_traceback)


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
        self._source_traceback = None  # asked for when the callback raises


class _Carried(asyncio.TimerHandle):
    """What arrives over a line: no callback of the process that sent it, and never before another of it."""

    __slots__ = ("line",)
    line: str


# Sockets, signals and subprocesses of the abstract loop stay unimplemented: asking for one is an error.
_AbstractLoop: Any = asyncio.AbstractEventLoop


class VirtualLoop(_AbstractLoop):  # type: ignore[misc]
    """The loop.  `spawn` starts a process, `kill` drops it, `pause` / `resume` freeze it.

    `schedule` draws the process that runs next; `callbacks`, if there is one, what of it runs.
    """

    def __init__(self, schedule: Random, callbacks: Random | None = None) -> None:
        self._draw = schedule
        self._callbacks = callbacks
        self._has_ranks = callbacks is not None and callbacks.random() < _BY_RANK
        self._ranks: dict[tuple[int, str], float] = {}
        self._at_work: Process | None = None  # whose callback runs
        self._line = "outside"  # from where that comes which is made ready while none does
        self._now = 0.0
        self._sequence = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._runnable: list[Process] = []
        self._processes = 0
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._running = False
        self._closed = False
        self._failures: list[dict[str, Any]] = []
        self._failed: list[tuple[asyncio.Task[Any], Process | None]] = []
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
        process.sources.clear()

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
        context = kwargs.get("context")
        process = _current.get() if context is None else context.get(_current)

        def ended(_: object) -> None:
            self._tasks.pop(sequence, None)
            if not task.cancelled() and _error_of(task) is not None:
                self._failed = [each for each in self._failed if _is_unheard(each[0])]
                self._failed.append((task, process))

        task.add_done_callback(ended)
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

    def carry(self, when: float, line: str, arrive: Callable[..., object]) -> asyncio.TimerHandle:
        """As `call_at`, for what comes over a line: what arrives on one line keeps its order."""
        if self._callbacks is None:
            return self.call_at(when, arrive)
        handle = _Carried(when, arrive, (), self)
        handle.line = line
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
            done, step = waited.done, self._step if self._callbacks is None else self._drawn_step
            while not done():
                step()
        finally:
            asyncio._set_running_loop(None)
            self._running = False
        return waited.result()

    def unhandled(self) -> list[dict[str, Any]]:
        """What tasks raised and nobody awaited: a bug of the program under test.

        Python tells of such a task when it is collected, which a run does not wait for.  What ends with a
        RingmillError was refused and is no bug; of a killed process nothing was to be awaited any more.
        """
        unheard = [
            {"message": f"{task.get_name()} ended and nobody awaited it", "exception": _error_of(task)}
            for task, process in self._failed
            if _is_unheard(task)
            and not isinstance(_error_of(task), RingmillError)
            and (process is None or process.alive)
        ]
        return [*self._failures, *unheard]

    def drop_everything(self) -> None:
        """Forget what is left at the end of a run, so that nothing of it runs later."""
        self._timers.clear()
        self._runnable.clear()
        for task in self._tasks.values():
            work = task.get_coro()
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # else Python warns that it was never awaited
        self._tasks.clear()
        self._failed.clear()

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _enqueue(self, handle: asyncio.Handle, source: str | None = None) -> None:
        process = handle._context.get(_current) or self._driver  # type: ignore[attr-defined]
        if not process.alive:
            process.kept.append(handle)
            return
        if not process.ready and not process.paused:
            self._runnable.append(process)
        process.ready.append(handle)
        if self._callbacks is not None:
            process.sources.append(self._source_for(process) if source is None else source)

    def _source_for(self, process: Process) -> str:
        """Where that comes from which is made ready now: what another process wakes came from there."""
        at_work = self._at_work
        if at_work is None:
            return self._line
        return _SOON if at_work is process else at_work.name

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

    def _drawn_step(self) -> None:
        """As `_step`, but what the process runs is drawn, and the clock may go on before that."""
        assert self._callbacks is not None, "callbacks are drawn"
        runnable, callbacks = self._runnable, self._callbacks
        if runnable and callbacks.random() < _GOES_ON:
            self._drop_cancelled()
            if self._timers and self._timers[0][0] <= self._now + _AS_ONE_S:
                self._advance()
        while not runnable:
            self._advance()
        index = int(self._draw.random() * len(runnable))
        process = runnable[index]
        ready = process.ready
        if not ready or process.paused or not process.alive:
            self._forget(index)
            return
        place = self._place_in(process)
        handle = ready[place]
        if process.sources[place] == _SOON:
            process.turn = (process.turn or process.sources.count(_SOON)) - 1
        del ready[place], process.sources[place]
        if not ready:
            self._forget(index)
        if not handle._cancelled:
            self.steps += 1
            self._at_work = process
            handle._run()
            self._at_work = None

    def _place_in(self, process: Process) -> int:
        """Draw which of its ready callbacks runs: the first of any source.

        Within a turn of a process nothing that became ready later overtakes what belongs to it.
        """
        is_within = process.turn > 0
        if len(process.sources) == 1 or (is_within and process.sources[0] == _SOON):
            return 0
        firsts: dict[str, int] = {}
        together, first_due = 0, inf
        for place, source in enumerate(islice(process.sources, _LOOKS_AT)):
            if source == _TIMER:
                due = process.ready[place].when()  # type: ignore[attr-defined]
                first_due = min(first_due, due)
                if due > first_due + _AS_ONE_S:
                    continue
                together += 1
                firsts[f"{_TIMER} {together}"] = place
            else:
                firsts.setdefault(source, place)
            if is_within and source == _SOON:
                break
        sources = list(firsts)
        return firsts[sources[0] if len(sources) == 1 else self._drawn_of(process, sources)]

    def _drawn_of(self, process: Process, sources: list[str]) -> str:
        """Any of them; in half of the runs the highest in rank, so that the others wait for long."""
        callbacks = self._callbacks
        assert callbacks is not None, "callbacks are drawn"
        if not self._has_ranks:
            return sources[int(callbacks.random() * len(sources))]
        ranks, order = self._ranks, process.order
        for source in sources:
            if (order, source) not in ranks:
                ranks[order, source] = callbacks.random()
        found = max(sources, key=lambda source: ranks[order, source])
        if callbacks.random() < _NEW_RANK:
            ranks[order, found] = callbacks.random()
        return found

    def _forget(self, index: int) -> None:
        last = self._runnable.pop()
        if index < len(self._runnable):
            self._runnable[index] = last

    def _drop_cancelled(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)

    def _advance(self) -> None:
        """Jump to the next timer and make everything that is due ready."""
        timers = self._timers
        self._drop_cancelled()
        if not timers:
            raise Stuck(f"nothing is ready and no timer is set at {self._now:.6f} s of virtual time")
        now = self._now = max(self._now, timers[0][0])
        if now > self.longest_s:
            raise Stuck(f"it has not ended after {self._now:.0f} s of virtual time")
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if handle._cancelled:
                continue
            if isinstance(handle, _Carried):
                self._line = handle.line
                handle._run()
                self._line = "outside"
            else:
                self._enqueue(handle, _TIMER)
