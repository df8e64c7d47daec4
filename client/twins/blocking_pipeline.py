"""The blocking twin of a pipeline: queuing returns at once, and each future waits for its own answer.

    with db.pipeline() as batch:
        names = [batch.get(key) for key in keys]
    print([each.result() for each in names])

The operations of a thread go to the client's loop in one step for all that were queued meanwhile.  Callbacks
of its futures run in the loop's thread, and must not wait there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeVar, Unpack, overload

from ringmill.client.arguments import (
    Key,
    Level,
    Seconds,
    Value,
    checked_key,
    checked_value,
)
from ringmill.client.kv_requests import (
    MISSING,
    DeleteSettings,
    Missing,
    PutSettings,
    delete_options,
    put_options,
    read_options,
)
from ringmill.client.lifetime import closed, pipeline_ended
from ringmill.client.pipeline import AsyncPipeline, Queued, QueuedRead, QueuedWrite
from ringmill.client.values import Item, Receipt
from ringmill.cluster.errors import ClientClosed, RingmillError

__all__ = ["Pipeline"]

T = TypeVar("T")


class _Loop(Protocol):
    """The loop of a blocking client."""

    def run(self, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T: ...

    def call(self, work: Callable[[], object]) -> None: ...

    def check(self) -> None: ...

    def tell_the_end(self, pipeline: Pipeline) -> None: ...


class Pipeline:
    """A queue of operations of one keyspace, blocking; client/pipeline.py says what it promises.

    Leaving `with` waits until every operation has ended.  An exception of the body cancels the futures of
    those that have not.
    """

    def __init__(self, subject: AsyncPipeline, loop: _Loop) -> None:
        self._subject = subject
        self._loop = loop
        self._queue: deque[Queued] = deque()
        self._futures: dict[Future[Any], None] = {}
        self._is_called = False
        self._is_over = False
        loop.tell_the_end(self)

    def __enter__(self) -> Pipeline:
        self._loop.run(self._subject.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                with suppress(ClientClosed):
                    self._loop.run(self._subject.__aexit__(kind, error, trace))
            elif not self._is_over:
                self.flush()
        finally:
            self.close()

    def close(self) -> None:
        self._is_over = True
        with suppress(ClientClosed):
            self._loop.run(self._subject.aclose())
        for future in list(self._futures):
            future.cancel()

    close.__doc__ = AsyncPipeline.aclose.__doc__

    def put(
        self,
        key: Key,
        value: Value,
        **settings: Unpack[PutSettings],
    ) -> Future[Receipt]:
        options = put_options(**settings)
        data, content = checked_key(key), checked_value(value)
        future: Future[Receipt] = Future()
        self._enqueue(QueuedWrite(data, content, options, partial(self._resolve, future)), future)
        return future

    put.__doc__ = AsyncPipeline.put.__doc__

    def delete(
        self,
        key: Key,
        **settings: Unpack[DeleteSettings],
    ) -> Future[Receipt]:
        options = delete_options(**settings)
        data = checked_key(key)
        future: Future[Receipt] = Future()
        self._enqueue(QueuedWrite(data, None, options, partial(self._resolve, future)), future)
        return future

    delete.__doc__ = AsyncPipeline.delete.__doc__

    @overload
    def get(self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None) -> Future[Item]: ...

    @overload
    def get(
        self, key: Key, default: T, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> Future[Item | T]: ...

    def get(
        self,
        key: Key,
        default: T | Missing = MISSING,
        *,
        r: Level | None = None,
        timeout: Seconds | None = None,
    ) -> Future[Item | T] | Future[Item]:
        options = read_options(r=r, timeout=timeout)
        data = checked_key(key)
        future: Future[Any] = Future()
        self._enqueue(QueuedRead(data, options, default, partial(self._resolve, future)), future)
        return future

    get.__doc__ = AsyncPipeline.get.__doc__

    def flush(self) -> None:
        self._loop.run(self._flush())

    flush.__doc__ = AsyncPipeline.flush.__doc__

    def loop_ended(self) -> None:
        """Called once the loop can run nothing any more: no future stays open."""
        for future in list(self._futures):
            self._resolve(future, closed("unknown"))

    def _enqueue(self, queued: Queued, future: Future[Any]) -> None:
        self._loop.check()
        self._futures[future] = None
        if self._is_over:  # looked at after that, as another thread may end it at any moment
            self._futures.pop(future, None)
            raise pipeline_ended()
        self._queue.append(queued)
        if not self._is_called:
            self._is_called = True
            try:
                self._loop.call(self._hand_over)
            except ClientClosed:
                self._futures.pop(future, None)
                raise

    def _hand_over(self) -> None:
        """In the loop: what is queued from here on makes another call."""
        self._is_called = False
        while self._queue:
            self._subject.enqueue(self._queue.popleft())

    async def _flush(self) -> None:
        self._hand_over()
        await self._subject.flush()

    def _resolve(self, future: Future[Any], outcome: object) -> None:
        self._futures.pop(future, None)
        with suppress(InvalidStateError):  # its owner has cancelled it
            if isinstance(outcome, RingmillError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
