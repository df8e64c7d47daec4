"""Sends many requests with a bounded number under way, and without a task or a timer for each.

A request goes to the session of its best node, which sends what comes in one tick as few frames, and a
callback takes the answer.  That is the happy path.  A request that fails is handed to `Router.go_on`, which
knows what may be sent again, in a task of its own.  A write to a node that has not answered lately waits
for one question to that node, which all writes to it share.  Links without a session make one call
a request, fewer at a time.  Rules W4 and W5: docs/protocol/writes.md;
D1: docs/protocol/requests.md.

Memory is bounded by what is under way: the next request is pulled only when there is room for it.  A read
takes the room that the answers before it took.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Final, TypeAlias

from google.protobuf.message import Message

from ringmill.client.lifetime import closed, pipeline_ended
from ringmill.client.routing.attempts import Attempts, FirstAttempt, attempt_message
from ringmill.client.routing.directory import STAGGER_S
from ringmill.client.routing.key_order import KeyOrder
from ringmill.client.routing.links import Method, SendingLink, read_answer
from ringmill.client.routing.retries import SILENCE_SHARE, is_worth_sending, slow_after_s
from ringmill.client.routing.router import Router, Target
from ringmill.cluster.errors import DeadlineExceeded, Overloaded, RingmillError
from ringmill.cluster.wire.request_options import WriteMessage
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest

__all__ = ["BEGUN_AT_ONCE", "WINDOW_BYTES", "WINDOW_REQUESTS", "OnAnswer", "Window", "WindowRequest"]

WINDOW_REQUESTS: Final = 512
WINDOW_BYTES: Final = 4 * 1024 * 1024
UNARY_AT_ONCE: Final = 32
LEAST_REQUESTS: Final = 8  # under way, however often nodes have no room
SHRINK_EVERY_S: Final = 0.1  # what was under way then is refused as well
BEGUN_AT_ONCE: Final = 128  # in one turn of the loop, in which others run too
FIRST_ANSWER_BYTES: Final = WINDOW_BYTES // 128  # that a read is taken to bring, before any has
ANSWERS_MEANT: Final = 8  # over which the size of an answer is averaged

OnAnswer: TypeAlias = Callable[[Message | RingmillError], None]
"""Called once, with what came of a request."""


class WindowRequest:
    """One request from its making to its end.  `whole_s` is all the time that it has, from its sending on."""

    __slots__ = ("address", "message", "method", "on_answer", "size_bytes", "target", "until", "whole_s")

    def __init__(
        self,
        method: Method[Message],
        target: Target,
        message: WriteMessage | GetRequest,
        on_answer: OnAnswer,
        *,
        size_bytes: int,
        whole_s: float,
    ) -> None:
        self.method = method
        self.target = target
        self.message = message
        self.on_answer = on_answer
        self.size_bytes = size_bytes
        self.whole_s = whole_s
        self.until = 0.0
        self.address = ""

    def prepare(self, epoch: int, timeout_ms: int, attempt: int) -> Message:
        """The message of one attempt."""
        return attempt_message(self.message, epoch, timeout_ms, attempt)


class Window:
    """Requests under way, at most `WINDOW_REQUESTS` of them and about `WINDOW_BYTES`.

    `pull` gives the next request, None when there is none; `wake` says that there may be one again.  All of
    its calls come from one event loop.  `close` ends its tasks and takes requests back as far as they have
    not left; nobody is told of them then.
    """

    def __init__(self, router: Router, pull: Callable[[], WindowRequest | None]) -> None:
        self._router = router
        self._directory = router.directory
        self._pull = pull
        self._most = self._largest = WINDOW_REQUESTS
        self._shrunk_at = 0.0
        self._taken = 0  # requests that were pulled and have not ended
        self._taken_bytes = 0
        self._answer_bytes = FIRST_ANSWER_BYTES
        self._order: KeyOrder[WindowRequest] = KeyOrder()
        self._ready: deque[WindowRequest] = deque()  # pulled before, and free to begin now
        self._sent: dict[_SentRequest, None] = {}
        self._unproved: dict[str, list[WindowRequest]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._is_woken = False
        self._is_closed = False
        self._bug: Exception | None = None
        self._context = copy_context()  # whatever wakes it, its requests are of the span that it was made for

    def wake(self) -> None:
        """Pull what there is room for, in the next turn of the loop."""
        if not self._is_woken and not self._is_closed:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._fill, context=self._context)

    async def drain(self) -> None:
        """Return when all requests have ended and there are no others.

        Raises ClientClosed once the window is closed, and what a bug here or in `pull` or `on_answer` raised.
        """
        if self._is_closed:
            raise pipeline_ended()
        if self._bug is not None:
            raise self._bug
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.wake()
        await waiting

    async def close(self) -> None:
        self._is_closed = True
        for sent in list(self._sent):
            sent.take_back()
        self._sent.clear()
        self._resolve_waiting(pipeline_ended)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        self._is_woken = False
        if self._is_closed:
            return
        try:
            self._begin_some()
        except Exception as error:  # noqa: BLE001 - a bug, told to whoever waits for the batch
            self._fail(error)

    def _begin_some(self) -> None:
        for _ in range(BEGUN_AT_ONCE):
            request = self._next()
            if request is None:
                if not self._taken:
                    self._resolve_waiting(None)
                return
            self._begin(request)
        self.wake()

    def _next(self) -> WindowRequest | None:
        """One that may begin now; None when there is none, or no room."""
        if self._ready:
            return self._ready.popleft()
        while self._taken < self._most and self._taken_bytes < WINDOW_BYTES:
            request = self._pull()
            if request is None:
                return None
            if not request.method.is_write:
                request.size_bytes += self._answer_bytes
            self._taken += 1
            self._taken_bytes += request.size_bytes
            if self._order.enter(request.target.key, request, is_write=request.method.is_write):
                return request
        return None

    def _resolve_waiting(self, error: Callable[[], BaseException] | None) -> None:
        """Tell those who wait.  Each gets an exception of its own, where `error` makes one."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.done():
                continue
            if error is None:
                each.set_result(None)
            else:
                each.set_exception(error())

    def _fail(self, bug: Exception) -> None:
        """Tell whoever waits for the batch, now or later."""
        self._bug = bug
        if not self._waiting:
            context = {"message": "a batch failed", "exception": bug}
            asyncio.get_running_loop().call_exception_handler(context)
        self._resolve_waiting(lambda: bug)

    def _begin(self, request: WindowRequest) -> None:
        """Send it, or what has to come before that."""
        try:
            self._directory.lifetime.check_open()
            address = request.address = self._router.first(request.method, request.target)
            sender = self._directory.sender(address)
        except RingmillError as error:
            self._end(request, error)
            return
        is_new = not request.until
        request.until = request.until or asyncio.get_running_loop().time() + request.whole_s
        if sender is None:
            self._most = self._largest = UNARY_AT_ONCE
            self._start_task(self._ask(request))
            return
        if is_new:  # what was put off has earned its share of a retry
            self._router.count()
        if request.method.is_write and not self._directory.is_proved(address):
            self._wait_for_proof(request)
        else:
            self._send(request, sender)

    def _send(self, request: WindowRequest, sender: SendingLink) -> None:
        now = asyncio.get_running_loop().time()
        left_s = request.until - now
        if left_s <= 0:
            late = DeadlineExceeded("the deadline passed before anything was sent", outcome="failed")
            self._end(request, late)
            return
        sent = _SentRequest(self, request, now)
        self._sent[sent] = None
        self._router.hand_over(sender, sent, request.method, request.prepare, 0, left_s, request.whole_s)

    def _answered(self, request: WindowRequest, body: bytes) -> None:
        if self._is_closed:
            return
        self._router.note_accepted(request.address)
        self._most = min(self._largest, self._most + 1)
        if not request.method.is_write:
            self._answer_bytes += (len(body) - self._answer_bytes) // ANSWERS_MEANT
        answer: Message | RingmillError
        try:
            answer = read_answer(request.method, request.address, body)
        except RingmillError as error:
            answer = error
        else:
            self._router.note_answer(request.address, request.target, answer)
        self._end(request, answer)

    def put_off(self, request: WindowRequest, error: Overloaded) -> bool:
        """The node has no room for a request: fewer are under way from now on, and it begins again later.

        False when it has no time for that.  This is not a retry in the sense of client/routing/retries.py: a
        window that shrinks adds no load (rule O6).
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        pause_s = error.retry_after * (1 + self._router.entropy.uniform("client.window"))
        is_in_time = is_worth_sending(request.until - now - pause_s, request.whole_s)
        if self._is_closed or error.outcome != "failed" or not is_in_time:
            return False
        self._directory.unwell(request.address)
        if now - self._shrunk_at >= SHRINK_EVERY_S:
            self._most, self._shrunk_at = max(LEAST_REQUESTS, self._most // 2), now
        loop.call_later(pause_s, self._begin_again, request, context=self._context)
        return True

    def _begin_again(self, request: WindowRequest) -> None:
        if self._is_closed:
            return
        try:
            self._begin(request)
        except Exception as error:  # noqa: BLE001 - a bug, told to whoever waits for the batch
            self._fail(error)

    def _hand_over(self, request: WindowRequest) -> Attempts | None:
        """The first attempt has failed, or its node is silent or slow: the router goes on."""
        if self._is_closed:
            return None
        attempts = Attempts(request.whole_s, request.until)
        self._start_task(self._go_on(request, attempts, None))
        return attempts

    def _end(self, request: WindowRequest, result: Message | RingmillError) -> None:
        self._taken -= 1
        self._taken_bytes -= request.size_bytes
        self._ready.extend(self._order.leave(request.target.key))
        try:
            request.on_answer(result)
        except Exception as error:  # noqa: BLE001 - a bug, told to whoever waits for the batch
            self._fail(error)
        self.wake()

    async def _ask(self, request: WindowRequest) -> None:
        """The whole story of a request whose link has no session."""
        try:
            answer = await self._router.ask(
                request.method, request.prepare, target=request.target, timeout_s=request.whole_s
            )
        except RingmillError as error:
            self._end(request, error)
        else:
            self._end(request, answer)

    async def _go_on(self, request: WindowRequest, attempts: Attempts, error: RingmillError | None) -> None:
        """The rest of the story of a request whose first attempt has failed or is silent."""
        try:
            answer = await self._router.go_on(
                request.method, request.prepare, request.target, attempts, error
            )
        except RingmillError as last:
            if not (isinstance(last, Overloaded) and self.put_off(request, last)):
                self._end(request, last)
        else:
            self._end(request, answer)

    def _wait_for_proof(self, request: WindowRequest) -> None:
        waiting = self._unproved.get(request.address)
        if waiting is not None:
            waiting.append(request)
            return
        self._unproved[request.address] = [request]
        patience_s = min(STAGGER_S, request.whole_s * SILENCE_SHARE)
        self._start_task(self._prove(request.address, patience_s))

    async def _prove(self, address: str, patience_s: float) -> None:
        """Ask once for all writes that wait for this address, then send them, or let them go on elsewhere."""
        silent: RingmillError | None = None
        try:
            await self._directory.prove(address, patience_s)
        except RingmillError as error:
            silent = error
        for request in self._unproved.pop(address):
            sender = self._directory.sender(address)
            if silent is None and sender is not None:
                self._send(request, sender)
            elif not self._is_closed:
                attempts = Attempts(request.whole_s, request.until)
                attempts.tried.append(request.address)
                self._start_task(self._go_on(request, attempts, _own_copy(silent or closed())))

    def _start_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="client-batch", context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._fail(error)


class _SentRequest(FirstAttempt):
    """The first attempt of a request, as its link and the watch for silence see it."""

    __slots__ = ("_request", "_window")

    def __init__(self, window: Window, request: WindowRequest, begun_at: float) -> None:
        slow_at = begun_at + slow_after_s(request.whole_s, is_write=request.method.is_write, retries=0)
        super().__init__(window._router.watch, request.address, begun_at, slow_at)
        self._window = window
        self._request = request

    def take_back(self) -> None:
        self._window._sent.pop(self, None)
        super().take_back()

    def ended(self, result: bytes | RingmillError) -> None:
        self.abandon = None
        window = self._window
        window._sent.pop(self, None)
        self._watch.end(self.address, self, result)
        if self._rest is None:
            if isinstance(result, bytes):
                window._answered(self._request, result)
                return
            if isinstance(result, Overloaded) and window.put_off(self._request, result):
                return
        if (rest := self._as_one_of_several()) is not None:
            rest.ended(result)

    def _hand_over(self) -> Attempts | None:
        return self._window._hand_over(self._request)


def _own_copy(error: RingmillError) -> RingmillError:
    """For one of several requests: what it notes in the error is its own."""
    return error.with_outcome(error.outcome)
