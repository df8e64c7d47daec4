"""The thread that runs the event loop of a blocking client, and how its callers wait for what they asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

from ringmill.client.lifetime import closed, forked
from ringmill.client.twins.blocking_pipeline import Pipeline
from ringmill.cluster.errors import ClientClosed, DeadlineExceeded, RingmillError, Unavailable

__all__ = ["LoopThread"]

JOIN_S = 5.0
LINGER_S = 1.0
LOOK_EVERY_S = 0.5

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own.

    `close`, losing the last reference or the interpreter's exit ends it.  Making one raises Unavailable when
    the system has no room for it.
    """

    def __init__(self, at_the_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._process = os.getpid()
        self._pipelines: weakref.WeakValueDictionary[int, Pipeline] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=_serve,
            args=(started, at_the_end, self._pipelines),
            name="ringmill-client",
            daemon=True,
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Unavailable(
                f"the client's thread cannot be started: {error}",
                hint="`ulimit -u` shows how many threads and processes this user may have; a container may "
                "have a limit of its own",
                outcome="failed",
            ) from error
        try:
            self._loop, stop = started.result()
        except OSError as error:
            raise Unavailable(
                f"the client's event loop cannot be made: {error.strerror or error}",
                hint="`ulimit -n` shows how many files and sockets this process may have open",
                outcome="failed",
            ) from error
        self._end = weakref.finalize(self, _end, self._loop, stop, self._thread, self._process)

    def run(self, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """Wait for `work` and return its result; Ctrl-C during the wait cancels the work.

        Raises what the work raises; ClientClosed when the loop has ended or belongs to another process, or in
        its own thread; DeadlineExceeded, outcome unknown, when the work has not ended `limit_s` after its
        start.
        """
        future = self._start(work)
        try:
            return self._outcome(future, limit_s)
        except BaseException:
            future.cancel()
            raise

    def call(self, work: Callable[[], object]) -> None:
        """Let the loop call `work` soon.  Raises ClientClosed when it can run nothing any more."""
        self.check()
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # it ended just now
            raise closed() from None

    def check(self) -> None:
        """Raises ClientClosed when the loop can run nothing any more."""
        if self._process != os.getpid():
            raise forked()
        if not self._end.alive:
            raise closed()

    def tell_the_end(self, pipeline: Pipeline) -> None:
        """Tell it once the loop has ended, as long as it is there."""
        self._pipelines[next(self._numbers)] = pipeline

    def close(self) -> None:
        """End the thread and cancel the work in progress."""
        self._end()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            self.check()
            if threading.current_thread() is self._thread:
                raise ClientClosed(
                    "a callback of a future runs in the client's own thread, and must not wait for it",
                    hint="call this in a thread of yours; a pipeline's put, get and delete wait for nothing",
                )
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RingmillError:
            work.close()
            raise
        except RuntimeError:  # it ended just now
            work.close()
            raise closed() from None

    def _outcome(self, future: Future[T], limit_s: float | None) -> T:
        until = None if limit_s is None else time.monotonic() + limit_s
        while not wait([future], LOOK_EVERY_S).done:
            if not self._thread.is_alive():
                raise closed("unknown")
            if until is not None and time.monotonic() >= until:
                raise DeadlineExceeded(
                    f"the client's own thread has not answered for {limit_s:.3g} s", outcome="unknown"
                )
        try:
            return future.result()
        except CancelledError:
            raise closed("unknown") from None


def _serve(
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
    at_the_end: Callable[[], Coroutine[Any, Any, None]],
    pipelines: weakref.WeakValueDictionary[int, Pipeline],
) -> None:
    """The thread's body: runs the loop until it is told to stop, then until the work in progress has ended.

    gRPC reports the end of a call to the loop of that call.  If that loop is already closed, the report is
    logged as an error in another loop.
    """

    async def until_stopped() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await at_the_end()
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left, timeout=LINGER_S)

    serving = until_stopped()
    try:
        with asyncio.Runner() as runner:  # notebooks replace asyncio.run by what looks for a loop that runs
            runner.run(serving)
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
    finally:
        serving.close()
        for pipeline in list(pipelines.values()):
            pipeline.loop_ended()


def _end(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread, process: int
) -> None:
    """End the thread; not in a forked child, which has the objects but not the thread."""
    if process != os.getpid():
        return
    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(stop.set)
    if threading.current_thread() is not thread:
        thread.join(JOIN_S)
