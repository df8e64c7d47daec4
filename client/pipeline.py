"""Operations of any kind, queued without a task for each, that answer through futures.

    async with db.pipeline() as batch:
        names = [batch.get(key) for key in keys]
        batch.put("seen", b"1")
    items = await asyncio.gather(*names)

What is queued in one tick is sent together.  client/routing/window.py sends it, by the rules of a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, TypeVar, Unpack, overload

from google.protobuf.message import Message

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
    found_item,
    put_options,
    read_options,
)
from ringmill.client.lifetime import pipeline_ended
from ringmill.client.many_keys import KeyspaceRequests
from ringmill.client.routing.tracing import span_if_traced
from ringmill.client.routing.window import Window, WindowRequest
from ringmill.client.values import Item, Receipt
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.traces.spans import spanned
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions

__all__ = ["AsyncPipeline", "OnOutcome", "Queued", "QueuedRead", "QueuedWrite"]

T = TypeVar("T")
OnOutcome: TypeAlias = Callable[[Any], None]
"""Called once, with the Item, Receipt or default that an operation returns, or the error that it raises."""


@dataclass(frozen=True, slots=True)
class QueuedRead:
    """A get that waits to be sent."""

    key: bytes
    options: ReadOptions
    default: object
    on_outcome: OnOutcome


@dataclass(frozen=True, slots=True)
class QueuedWrite:
    """A put, or with None as its value a delete, that waits to be sent."""

    key: bytes
    value: bytes | None
    options: WriteOptions
    on_outcome: OnOutcome


Queued: TypeAlias = QueuedRead | QueuedWrite


class AsyncPipeline:
    """A queue of operations of one keyspace.  Make it with `AsyncKeyspace.pipeline`.

    Operations about one key take effect in the order in which they were queued, others in any order;
    nothing is atomic.  Each has a deadline of its own, from its sending on, and an outcome of its own, in the
    future that queuing it returned.  At most 512 operations and about 4 MiB are under way; what is queued
    beyond that waits as plain keys and values, and `await flush()` keeps a long series from piling up.

    `async with` waits at its end until every operation has ended.  An exception in its body cancels the
    futures of those that have not; a write among them that was sent may still take effect.
    Cancelling a future does not take its operation back.
    """

    def __init__(self, requests: KeyspaceRequests) -> None:
        self._requests = requests
        self._queue: deque[Queued] = deque()
        self._futures: set[asyncio.Future[Any]] = set()
        self._span = span_if_traced(requests.router.tracing, "kv.pipeline", requests.keyspace)
        with spanned(self._span, ends=False):
            self._window = Window(requests.router, self._pull)  # sends for the span it was made for
        self._is_over = self._is_any_done = False
        self._failure: RingmillError | None = None  # the first, while no operation was done

    async def __aenter__(self) -> AsyncPipeline:
        self._requests.router.directory.lifetime.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._is_over:
                await self.flush()
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self._close(error)

    async def aclose(self) -> None:
        """End it without waiting: the futures of operations that have not ended are cancelled."""
        await self._close(None)

    async def _close(self, error: BaseException | None) -> None:
        """Its span has this error, or the first one of its operations if none of them was done."""
        self._is_over = True
        self._queue.clear()
        for future in list(self._futures):
            future.cancel()
        self._futures.clear()
        try:
            await self._window.close()
        finally:
            if self._span is not None:
                self._span.end(error or self._failure)

    def put(
        self,
        key: Key,
        value: Value,
        **settings: Unpack[PutSettings],
    ) -> asyncio.Future[Receipt]:
        """Queue a put; the future has what `AsyncKeyspace.put` returns or raises.

        Raises InvalidArgument and ClientClosed at once.
        """
        options = put_options(**settings)
        data, content = checked_key(key), checked_value(value)
        future = self._future()
        self.enqueue(QueuedWrite(data, content, options, partial(self._resolve, future)))
        return future

    def delete(
        self,
        key: Key,
        **settings: Unpack[DeleteSettings],
    ) -> asyncio.Future[Receipt]:
        """Queue a delete; the future has what `AsyncKeyspace.delete` returns or raises.

        Raises InvalidArgument and ClientClosed at once.
        """
        options = delete_options(**settings)
        data = checked_key(key)
        future = self._future()
        self.enqueue(QueuedWrite(data, None, options, partial(self._resolve, future)))
        return future

    @overload
    def get(
        self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> asyncio.Future[Item]: ...

    @overload
    def get(
        self, key: Key, default: T, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> asyncio.Future[Item | T]: ...

    def get(
        self,
        key: Key,
        default: T | Missing = MISSING,
        *,
        r: Level | None = None,
        timeout: Seconds | None = None,
    ) -> asyncio.Future[Item | T] | asyncio.Future[Item]:
        """Queue a get; the future has what `AsyncKeyspace.get` returns or raises, NotFound included.

        Raises InvalidArgument and ClientClosed at once.
        """
        options = read_options(r=r, timeout=timeout)
        data = checked_key(key)
        future = self._future()
        self.enqueue(QueuedRead(data, options, default, partial(self._resolve, future)))
        return future

    async def flush(self) -> None:
        """Return when every operation queued so far, and any that joined them meanwhile, has ended.

        Errors of operations are in their futures.  Raises ClientClosed once the pipeline has ended.
        """
        lifetime = self._requests.router.directory.lifetime
        if not lifetime.is_at_home:
            lifetime.check()
        await self._window.drain()

    def enqueue(self, queued: Queued) -> None:
        """Queue an operation whose outcome goes elsewhere than to a future of this loop."""
        self._queue.append(queued)
        self._window.wake()

    def _future(self) -> asyncio.Future[Any]:
        self._requests.router.directory.lifetime.check()
        if self._is_over:
            raise pipeline_ended()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        return future

    def _resolve(self, future: asyncio.Future[Any], outcome: object) -> None:
        self._futures.discard(future)
        if future.done():  # its owner has cancelled it
            return
        if isinstance(outcome, RingmillError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _pull(self) -> WindowRequest | None:
        if not self._queue:
            return None
        queued = self._queue.popleft()
        if isinstance(queued, QueuedWrite):
            return self._requests.write(
                queued.key, queued.value, queued.options, lambda outcome: self._note_write(queued, outcome)
            )
        return self._requests.get(
            queued.key, queued.options, lambda outcome: self._note_read(queued, outcome)
        )

    def _note_outcome(self, outcome: Message | RingmillError) -> None:
        if self._span is None or self._is_any_done:
            return
        self._is_any_done = not isinstance(outcome, RingmillError)
        self._failure = None if not isinstance(outcome, RingmillError) else self._failure or outcome

    def _note_write(self, queued: QueuedWrite, outcome: Message | RingmillError) -> None:
        self._note_outcome(outcome)
        if isinstance(outcome, RingmillError):
            queued.on_outcome(self._requests.refused(outcome))
        else:
            queued.on_outcome(self._requests.receipt(outcome))

    def _note_read(self, queued: QueuedRead, outcome: Message | RingmillError) -> None:
        self._note_outcome(outcome)
        if isinstance(outcome, RingmillError):
            queued.on_outcome(outcome)
            return
        answer = self._requests.response(outcome)
        try:
            found = found_item(answer, self._requests.keyspace, queued.key, queued.default)
        except RingmillError as error:
            found = error
        queued.on_outcome(found)
