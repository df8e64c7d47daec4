"""The attempts of one request: what it was sent as, to whom, and what has come back, in the order of coming.

An attempt whose node falls silent stays under way, and its answer counts as long as no other one has come
first.  So there may be several at a time, and all of them report here.  What may follow is decided in
client/routing/retries.py and done in client/routing/router.py.  Rule W4: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from google.protobuf.message import Message

from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable
from ringmill.cluster.silence import SilenceWatch
from ringmill.cluster.wire.request_options import WriteMessage
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest
from ringmill.cluster.wire.stubs.registers_pb2 import CasRequest, IncrRequest, ReadRegisterRequest

__all__ = [
    "Attempts",
    "AttemptResult",
    "AwaitedAttempt",
    "FirstAttempt",
    "RegisterMessage",
    "RequestAttempt",
    "attempt_message",
]

RegisterMessage: TypeAlias = CasRequest | IncrRequest | ReadRegisterRequest

AttemptResult: TypeAlias = bytes | Message | RingmillError
"""What an attempt has come to: an answer, encoded or not, or an error."""


class FirstAttempt:
    """The first attempt of a request, and of nearly all requests the only one.

    When its node fails, or is silent or slow, it becomes the first of several, which hear what else becomes
    of it.  `begun_at` is on the loop's clock, and `slow_at`, when it counts as slow.  A subclass says who
    takes the answer, and who goes on (`_hand_over`).
    """

    __slots__ = ("_rest", "_watch", "abandon", "address", "begun_at", "slow_at")

    def __init__(self, watch: SilenceWatch, address: str, begun_at: float, slow_at: float) -> None:
        self._watch = watch
        self._rest: RequestAttempt | None = None
        self.address = address
        self.begun_at = begun_at
        self.slow_at = slow_at
        self.abandon: Callable[[], object] | None = None
        """Ends it as far as this process goes; set once it is sent."""

    def ended(self, result: bytes | RingmillError) -> None:
        """Note that its node has answered, or never will."""
        raise NotImplementedError

    def silent(self, error: RingmillError) -> None:
        """Note that its node is silent; it stays under way."""
        if (rest := self._as_one_of_several()) is not None:
            rest.silent(error)

    def slow(self) -> None:
        """Note that its node takes long; it stays under way, and nobody else waits for it alone."""
        if (rest := self._as_one_of_several()) is not None:
            rest.slow()

    def take_back(self) -> None:
        """Nobody waits any more: it is not sent if it is still in a queue."""
        self._watch.end(self.address, self)
        if self.abandon is not None:
            self.abandon()
            self.abandon = None

    def _as_one_of_several(self) -> RequestAttempt | None:
        """What is told of it from now on; None when nobody waits any more."""
        if self._rest is None and (attempts := self._hand_over()) is not None:
            attempts.tried.append(self.address)
            self._rest = attempts.begin(self._watch, self.address, self.begun_at)
            self._rest.abandon = self.take_back
        return self._rest

    def _hand_over(self) -> Attempts | None:
        """Attempts with which somebody goes on, none of them begun; None when nobody waits any more."""
        raise NotImplementedError


class AwaitedAttempt(FirstAttempt):
    """One that is awaited: of nearly all requests a future is all that they need.

    `outcome` is the answer, or the attempts to go on with.  `whole_s` is all the time that the request has.
    """

    __slots__ = ("_whole_s", "outcome")

    def __init__(
        self, watch: SilenceWatch, address: str, begun_at: float, slow_at: float, whole_s: float
    ) -> None:
        super().__init__(watch, address, begun_at, slow_at)
        self._whole_s = whole_s
        self.outcome: asyncio.Future[bytes | Attempts] = asyncio.get_running_loop().create_future()

    def ended(self, result: bytes | RingmillError) -> None:
        self.abandon = None
        self._watch.end(self.address, self, result)
        if self._rest is None and isinstance(result, bytes):
            if not self.outcome.done():
                self.outcome.set_result(result)
        elif (rest := self._as_one_of_several()) is not None:
            rest.ended(result)

    def _hand_over(self) -> Attempts | None:
        if self.outcome.done():
            return None
        attempts = Attempts(self._whole_s, self.begun_at + self._whole_s)
        self.outcome.set_result(attempts)
        return attempts


class RequestAttempt:
    """One attempt of a request, from its beginning to its end.  `begun_at` is on the loop's clock, and
    `slow_at`, when it counts as slow."""

    __slots__ = ("_attempts", "_watch", "abandon", "address", "begun_at", "is_silent", "lateness", "slow_at")

    def __init__(self, attempts: Attempts, watch: SilenceWatch, address: str, begun_at: float) -> None:
        self._attempts = attempts
        self._watch = watch
        self.address = address
        self.begun_at = begun_at
        self.slow_at = math.inf
        self.is_silent = False
        self.lateness: RingmillError | None = None
        """The news that it is slow, and no more than that is known of its node."""
        self.abandon: Callable[[], object] | None = None
        """Ends it as far as this process goes; set once it is sent."""

    def ended(self, result: AttemptResult) -> None:
        """Note that its node has answered, or never will."""
        self.abandon = None
        self._watch.end(self.address, self, result)
        self._attempts._end(self, result)

    def silent(self, error: RingmillError) -> None:
        """Note that its node is silent; it stays under way."""
        self.is_silent = True
        self.lateness = None
        self._attempts._report(self, error)

    def slow(self) -> None:
        """Note that its node takes long; it stays under way, and nobody else waits for it alone."""
        error = _slow(self.address, self.begun_at)
        self.silent(error)
        self.lateness = error


def _slow(address: str, begun_at: float) -> DeadlineExceeded:
    """What is known of an attempt whose node takes long."""
    took_s = asyncio.get_running_loop().time() - begun_at
    return DeadlineExceeded(f"{address} has not answered within {took_s:.2f} s", outcome="unknown")


class Attempts:
    """One request.  `whole_s` is all the time that it has, `until` when that ends on the loop's clock.

    `tried` are the addresses chosen so far, in order; `retries` and `further` count what is bounded.  Used by
    one task; `close` ends what is still under way.
    """

    __slots__ = (
        "_bug", "_news", "_refused", "_sent", "_tasks", "_under_way", "_waiting", "doubt", "further",
        "retries", "heard_from", "tried", "until", "whole_s",
    )  # fmt: skip

    def __init__(self, whole_s: float, until: float) -> None:
        self.whole_s = whole_s
        self.until = until
        self.tried: list[str] = []
        self.heard_from = ""
        """The address of the last news."""
        self.retries = 0
        self.further = 0
        self.doubt: RingmillError | None = None
        """The last error that leaves it open whether the request was done."""
        self._sent = 0
        self._refused = 0
        self._under_way: dict[RequestAttempt, None] = {}
        self._news: deque[tuple[RequestAttempt, AttemptResult]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._bug: BaseException | None = None

    @property
    def left_s(self) -> float:
        return self.until - asyncio.get_running_loop().time()

    @property
    def are_under_way(self) -> bool:
        """Whether one may still be answered."""
        return bool(self._under_way)

    @property
    def are_expected(self) -> bool:
        """Whether one is under way whose node is not known to be silent or slow."""
        return any(not attempt.is_silent for attempt in self._under_way)

    @property
    def late(self) -> list[str]:
        """The addresses of those under way that are slow, and of which nothing else is known."""
        return [attempt.address for attempt in self._under_way if attempt.lateness is not None]

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    @property
    def unsure(self) -> int:
        """Attempts that were done, or may have been, or may still be."""
        return self._sent - self._refused

    def begin(self, watch: SilenceWatch, address: str, begun_at: float) -> RequestAttempt:
        """One more is about to be sent."""
        attempt = RequestAttempt(self, watch, address, begun_at)
        self._sent += 1
        self._under_way[attempt] = None
        return attempt

    def run(self, attempt: RequestAttempt, call: Coroutine[Any, Any, Message]) -> None:
        """Send an attempt by a call that waits."""
        task = asyncio.create_task(_await_answer(attempt, call), name="client-attempt")
        attempt.abandon = task.cancel
        self._tasks.append(task)
        task.add_done_callback(partial(self._task_ended, attempt))

    async def news(self) -> tuple[RequestAttempt, AttemptResult]:
        """What came next of any of them."""
        while not self._news:
            if self._bug is not None:
                raise self._bug
            await self._next()
        attempt, result = self._news.popleft()
        self.heard_from = attempt.address
        return attempt, result

    async def pause(self, pause_s: float) -> None:
        """Return after a pause, or as soon as there is news."""
        if not self._news:
            await asyncio.wait({self._next()}, timeout=pause_s)

    async def meanwhile(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what may bring the request forward, unless there is news first.  Raises what `work` raises."""
        if not self._under_way:
            await work
            return
        task = asyncio.create_task(work, name="client-meanwhile")
        try:
            if not self._news:
                await asyncio.wait({task, self._next()}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()

    def close(self) -> None:
        """Nobody waits any more."""
        for attempt in list(self._under_way):
            attempt._watch.end(attempt.address, attempt)
            if attempt.abandon is not None:
                attempt.abandon()
        self._under_way.clear()

    def _end(self, attempt: RequestAttempt, result: AttemptResult) -> None:
        if self._under_way.pop(attempt, self) is self:
            return  # closed
        if isinstance(result, RingmillError) and result.outcome == "failed":
            self._refused += 1
        self._report(attempt, result)

    def _report(self, attempt: RequestAttempt, result: AttemptResult) -> None:
        if isinstance(result, RingmillError) and result.outcome != "failed":
            self.doubt = result
        self._news.append((attempt, result))
        self._wake()

    def _next(self) -> asyncio.Future[None]:
        """Done as soon as there is news that is not there yet."""
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def _task_ended(self, attempt: RequestAttempt, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # by `close`, or by a stranger: then nobody else would tell
            attempt.ended(Unavailable(f"{attempt.address}: the call was cancelled", outcome="unknown"))
        elif (error := task.exception()) is not None:
            self._bug = error
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def attempt_message(
    request: WriteMessage | GetRequest | RegisterMessage, epoch: int, timeout_ms: int, attempt: int
) -> Message:
    """The message of one attempt; `attempt` counts the earlier ones that may have been done.

    A later one gets a copy, because an earlier one may not have been encoded yet.
    """
    message = request
    if attempt:
        message = type(request).FromString(request.SerializeToString())
        if not isinstance(message, GetRequest | ReadRegisterRequest):
            message.attempt = attempt
    message.epoch, message.timeout_ms = epoch, timeout_ms
    return message


async def _await_answer(attempt: RequestAttempt, call: Coroutine[Any, Any, Message]) -> None:
    try:
        answer = await call
    except RingmillError as error:
        attempt.ended(error)
    else:
        attempt.ended(answer)
