"""The asking side of one stream: calls go out in paced frames, answers are matched by id.

A link dials when it is first used and whenever a call finds it broken, with backoff and full jitter between
failed attempts.  During a backoff calls fail at once, so that a dead peer costs no caller its deadline.  The
outcome is "failed" only when the call never left this process.

Each frame is stamped with what the other side's clock reads when it is made, learned at the handshake and
from the stamps of the answers, so that the other side knows how long it waited on its way.  What is asked for
a span is sent with its place in the trace, to a side that takes that.

Rules D1, D2, F2 and F5: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Final

from ringmill.cluster.adapters.network.frame_stream import FrameStream, run_halves
from ringmill.cluster.adapters.network.paced_writer import PacedWriter
from ringmill.cluster.callbacks import call_guarded, report_failed, resolve
from ringmill.cluster.deadline_wheel import Bucket, DeadlineWheel
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, Overloaded, RingmillError, Unavailable
from ringmill.cluster.ports import Clock, Ended, Entropy, Priority
from ringmill.cluster.traces.spans import carried_trace, in_no_span
from ringmill.cluster.wire.error_bytes import decode_error
from ringmill.cluster.wire.frames import (
    MAX_FRAME_BYTES,
    NOTICE,
    OPERATION_OVERHEAD_BYTES,
    Operation,
    decode_loaded,
    encode_operations,
)
from ringmill.cluster.wire.sending_time import PeerClock, microseconds

__all__ = ["FrameLink", "nothing"]

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_CAP_S: Final = 1.0
_GRACE_S: Final = 0.25  # longer than the client's watch for silence takes to find that a node does not answer
_RETIRING_LOOK_S: Final = 0.05


class _Call:
    """One call between its start and its end."""

    __slots__ = (
        "_bucket", "_ended", "_link", "allowed_s", "body", "deadline", "id", "method", "priority",
        "sent_us", "trace",
    )  # fmt: skip

    def __init__(
        self, link: FrameLink, method: str, body: bytes, priority: int, deadline: float, ended: Ended
    ) -> None:
        self._link = link
        self.method = method
        self.body = body
        self.priority = priority
        self.deadline = deadline
        self.allowed_s = 0.0
        self.id = 0  # given when it is sent
        self.sent_us = 0  # on our boot clock
        self.trace = carried_trace()
        self._ended: Ended | None = ended
        self._bucket: Bucket | None = None

    def expire_in(self, wheel: DeadlineWheel, allowed_s: float) -> None:
        self.allowed_s = allowed_s
        self._bucket = wheel.add(self, allowed_s)

    @property
    def is_over(self) -> bool:
        return self._ended is None

    def end(self, outcome: bytes | RingmillError) -> None:
        """Tell how it ended, the first time only."""
        ended = self._ended
        if ended is not None:
            self._ended = None
            self.body = b""
            if self._bucket is not None:
                self._bucket.take_out(self)
            call_guarded(ended, outcome)

    def forget(self) -> None:
        """Nobody waits any more."""
        self._ended = None
        self.body = b""  # it may wait in a stuck queue for long
        if self._bucket is not None:
            self._bucket.take_out(self)

    def abandon(self) -> None:
        """Forget a call that may have been sent: nobody waits for its answer any more."""
        self.forget()
        self._link.drop(self)

    def expire(self) -> None:
        self._link.expire(self)


class FrameLink:
    """Calls to one peer over one stream.  `name` says in errors who the peer is.

    `dial` returns a stream that both sides have agreed on, or raises a RingmillError; nothing of a call is
    sent before it returns.  The link owns one task, made by `start_task`; `close` ends it.  `gathers` as in
    PacedWriter.  `broke` is called when a stream has ended that this side has not closed, `noticed` when the
    other side has said that it is about to stop, `loaded` with how much it says that it has under way.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], Awaitable[FrameStream]],
        *,
        clock: Clock,
        entropy: Entropy,
        start_task: Callable[[Coroutine[None, None, None]], asyncio.Task[None]] = asyncio.create_task,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_call_bytes: int = MAX_FRAME_BYTES,
        gathers: bool = True,
        broke: Callable[[], None] = lambda: None,
        noticed: Callable[[], None] = lambda: None,
        loaded: Callable[[int], None] = lambda load: None,
    ) -> None:
        self._name = name
        self._dial = dial
        self._clock = clock
        self._entropy = entropy
        self._start_task = start_task
        self._broke = broke
        self._noticed = noticed
        self._loaded = loaded
        self._max_frame_bytes = max_frame_bytes
        self._max_call_bytes = min(max_call_bytes, max_frame_bytes)
        self._most_traced_bytes = self._max_call_bytes - 2 * OPERATION_OVERHEAD_BYTES  # room for a trace
        self._outbox: PacedWriter[_Call] = PacedWriter(self._encode, gathers=gathers)
        self._sent: dict[int, _Call] = {}
        self._wheel = DeadlineWheel(_GRACE_S)
        self._peer_clock: PeerClock | None = None  # of the present stream
        self._takes_traces = False  # the other side of it
        self._last_id = 0
        self._running: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._last_reason = ""
        self._is_closed = False

    async def call(self, method: str, body: bytes, timeout_s: float, priority: Priority) -> bytes:
        """Send one call and wait for its answer.

        Raises what the other side raised; Unavailable; DeadlineExceeded after `timeout_s`; Overloaded when
        too much waits to be sent; InvalidArgument for a body over the frame limit.
        """
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        call = self._begin(method, body, timeout_s, priority, partial(resolve, waiting))
        try:
            return await waiting
        finally:
            call.abandon()

    def send(
        self, method: str, body: bytes, timeout_s: float, priority: Priority, ended: Ended
    ) -> Callable[[], None]:
        """Send one call without waiting: `ended` is told what `call` would return or raise.

        Calling what is returned says that nobody waits any more.
        """
        try:
            return self._begin(method, body, timeout_s, priority, ended).abandon
        except RingmillError as error:
            ended(error)
            return nothing

    def _begin(self, method: str, body: bytes, timeout_s: float, priority: Priority, ended: Ended) -> _Call:
        self._admit(method, body)
        call = _Call(self, method, body, priority, self._clock.boottime() + timeout_s, ended)
        call.expire_in(self._wheel, timeout_s)
        self._outbox.offer(call, len(body))
        return call

    def end_backoff(self) -> None:
        """Let the next call dial, whatever the last attempt met."""
        self._retry_at = 0.0

    async def retire(self, within_s: float) -> None:
        """Close it once what is under way has ended, or after `within_s`.  Nothing more may be sent."""
        until = self._clock.monotonic() + within_s
        while (self._sent or self._outbox.depth[0]) and self._clock.monotonic() < until:  # noqa: ASYNC110 - seldom
            await asyncio.sleep(_RETIRING_LOOK_S)
        await self.close()

    async def close(self) -> None:
        """End the stream; calls still under way fail as Unavailable, and so does what they cause."""
        self._is_closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._end_waiting()  # a task that was cancelled before its first step has not done so

    def _admit(self, method: str, body: bytes) -> None:
        """Refuse what cannot be sent now, and see that a stream is there or being dialled."""
        if len(body) + OPERATION_OVERHEAD_BYTES > self._max_call_bytes:
            size, limit = len(body), self._max_call_bytes
            raise InvalidArgument(f"{method}: a body of {size} bytes is over the frame limit of {limit}")
        if self._outbox.is_full:
            items, waiting_bytes = self._outbox.depth
            raise Overloaded(
                f"{self._name} does not keep up: {items} calls of {waiting_bytes} bytes wait to be sent",
                detail={"retry_after": 0.1},
            )
        if self._is_closed:
            raise Unavailable(f"{self._name}: the link has ended")
        if self._running is None:
            wait_s = self._retry_at - self._clock.monotonic()
            if wait_s > 0:
                raise Unavailable(f"{self._last_reason}; next try in {wait_s:.2f} s")
            self._running = in_no_span(self._start_task, self._run())

    def drop(self, call: _Call) -> None:
        """Its answer counts no longer."""
        self._sent.pop(call.id, None)

    def expire(self, call: _Call) -> None:
        """Its deadline has passed."""
        self.drop(call)
        allowed_s = call.allowed_s
        call.end(
            DeadlineExceeded(
                f"{self._name} did not answer {call.method} within {allowed_s:.3g} s",
                outcome="unknown" if call.id else "failed",
            )
        )

    def _encode(self, calls: list[_Call]) -> bytes:
        """The frame of those calls that someone still waits for; from here on they count as sent.

        Those whose time is over end here: the wheel does not know for how long the machine has slept.
        """
        now = self._clock.boottime()
        now_us = microseconds(now)
        operations: list[Operation] = []
        traces: list[tuple[int, bytes]] = []
        late: list[_Call] = []
        for call in calls:
            remaining_us = int((call.deadline - now) * 1e6)
            if remaining_us <= 0:
                late.append(call)
            elif not call.is_over:
                self._last_id = call.id = self._last_id + 1
                call.sent_us = now_us
                self._sent[call.id] = call
                operations.append((call.id, call.method, remaining_us, call.priority, call.body))
                if call.trace and self._takes_traces and len(call.body) <= self._most_traced_bytes:
                    traces.append((call.id, call.trace))
        for call in late:
            self.expire(call)
        stamp_us = self._peer_clock.reading(now_us) if self._peer_clock is not None else None
        return encode_operations(operations, stamp_us, traces) if operations else b""

    async def _run(self) -> None:
        """Dial and serve streams for as long as there are calls that were never sent."""
        try:
            while await self._serve_one_stream() and self._outbox.depth[0]:
                pass
        finally:
            self._running = None
            self._end_waiting()

    def _end_waiting(self) -> None:
        self._fail_waiting(Unavailable(f"{self._name}: the link has ended"))

    async def _serve_one_stream(self) -> bool:
        """True when a stream was established (and has ended); False when none could be."""
        try:
            stream = await self._dial()
        except RingmillError as error:
            self._back_off(error)
            return False
        except Exception as error:  # noqa: BLE001 - as below
            report_failed(self._dial, error)
            self._back_off(Unavailable(f"{self._name}: dialling broke off: {type(error).__name__}: {error}"))
            return False
        self._failures = 0
        self._peer_clock, self._takes_traces = stream.peer_clock, stream.takes_traces
        lost: RingmillError = Unavailable(f"{self._name}: the stream was closed", outcome="unknown")
        try:
            await run_halves(self._read(stream), self._outbox.run(stream.write))
        except RingmillError as error:
            lost = error
        except Exception as error:  # noqa: BLE001 - what comes from another process ends no more than its stream
            report_failed(self._read, error)
            why = f"{type(error).__name__}: {error}"
            lost = Unavailable(f"{self._name}: the stream broke off: {why}", outcome="unknown")
        finally:
            await stream.close()
            self._fail_sent(lost)
        self._broke()
        return True

    async def _read(self, stream: FrameStream) -> None:
        while (frame := await stream.read()) is not None:
            answers, theirs_us, load = decode_loaded(frame, max_bytes=self._max_frame_bytes)
            if load is not None:
                self._loaded(load)
            sent_us: int | None = None
            for answer in answers:
                if answer[0] == NOTICE:
                    self._noticed()
                    continue
                if len(answer) == 4:
                    asked_us = self._refuse_run(answer)
                elif (call := self._sent.pop(answer[0], None)) is not None:
                    asked_us = call.sent_us
                    call.end(answer[1] if len(answer) == 2 else decode_error(answer[2]))
                else:
                    continue  # it came after its deadline
                if sent_us is None or asked_us > sent_us:
                    sent_us = asked_us
            if theirs_us is not None and self._peer_clock is not None:
                received_us = microseconds(self._clock.boottime())
                self._peer_clock.learn(theirs_us, received_us=received_us, sent_us=sent_us)

    def _refuse_run(self, answer: tuple[int, bytes, bytes, int]) -> int:
        """End the calls that were refused together; when the last of them was sent, 0 if none was."""
        first, _, packed, last = answer
        few = range(first, last + 1)  # it is for the other side to say how many, so what was sent bounds it
        refused = few if last - first < len(self._sent) else [each for each in self._sent if each in few]
        sent_us = 0
        for identity in refused:
            call = self._sent.pop(identity, None)
            if call is None:
                continue
            sent_us = max(sent_us, call.sent_us)
            call.end(decode_error(packed))
        return sent_us

    def _back_off(self, error: RingmillError) -> None:
        """Tell those who wait, and try again no sooner than after a jittered while."""
        self._failures += 1
        ceiling_s = min(_BACKOFF_CAP_S, _BACKOFF_FIRST_S * 2.0 ** min(self._failures - 1, 10))
        self._retry_at = self._clock.monotonic() + ceiling_s * self._entropy.uniform("link backoff")
        self._last_reason = error.message
        self._fail_waiting(error)

    def _fail_waiting(self, error: RingmillError) -> None:
        """Nothing of these calls was ever sent."""
        for call in self._outbox.clear():
            call.end(_again(error, "failed"))

    def _fail_sent(self, error: RingmillError) -> None:
        lost, self._sent = self._sent, {}
        for call in lost.values():
            call.end(_again(error, "unknown"))


def nothing() -> None:
    """To abandon what was never begun."""


def _again(error: RingmillError, outcome: str) -> RingmillError:
    """A copy of the error for one more call: an exception object belongs to one traceback."""
    return type(error)(error.message, detail=error.detail, hint=error.hint, outcome=outcome)
