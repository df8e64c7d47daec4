"""The answering side of a stream: passes each operation to its handler, and sends answers back in paced
frames.

If a handler returns bytes, the answer is sent in the same turn of the loop.  If it returns an awaitable, this
becomes a task of the transport, so that a disconnecting peer cancels no work in progress (rules F4 and W1).
A batch handler gets all calls of its method in a frame at once, and answers each without a task.  A stream
has a limit of calls in progress; calls above it are refused as OVERLOADED.  What clients ask passes a gate
first, if there is one, which refuses what this node has no room for before anything is made of it (rule O3).

Deadlines count from the time of sending, which the stamp of a frame gives.  A call that waited past its
deadline, for instance in the socket of a stopped process, is refused and not executed (rules D1 and D2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Final

from ringmill.cluster.adapters.network.answered_stream import AnsweredStream, Dialler
from ringmill.cluster.adapters.network.frame_stream import FrameStream, run_halves
from ringmill.cluster.complaints import Complaints
from ringmill.cluster.errors import (
    DeadlineExceeded,
    Overloaded,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.traced_batches import handle_in_spans
from ringmill.cluster.ports import Arrival, BatchHandler, Clock, Handler, Incoming, Priority
from ringmill.cluster.traces.spans import CallTracer, Span, spanned
from ringmill.cluster.traces.trace_context import TraceContext
from ringmill.cluster.wire.frames import (
    MAX_FRAME_BYTES,
    NOTICE,
    Operation,
    decode_traced,
)
from ringmill.cluster.wire.sending_time import late_us, microseconds

__all__ = ["Answering"]

_MAX_UNDER_WAY: Final = 8_192  # calls of one stream
_PRIORITIES: Final = tuple(Priority)
GUESS_S: Final = 0.05  # after this time without one, half of that: a few slow ones hold up nobody for long
IDLE_S: Final = 30.0  # then a client's stream may be ended, when others need its descriptor
_ENDING_LOOK_S: Final = 0.01

_log = logging.getLogger(__name__)


class Answering:
    """Answers calls of any number of streams from one table of handlers."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        batch_handlers: Mapping[str, BatchHandler] = MappingProxyType({}),
        name: str,
        clock: Clock,
        group: asyncio.TaskGroup,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self._handlers = handlers
        self._batch_handlers = batch_handlers
        self._name = name
        self._clock = clock
        self._group = group
        self.max_frame_bytes = max_frame_bytes
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._arrivals = 0  # of batches, not ended yet
        self._all_ended = asyncio.Event()
        self._streams: dict[AnsweredStream, asyncio.Task[None]] = {}
        self._is_stopping = False
        self._complaints = Complaints(name, clock)
        self.gate: Gate | None = None
        """Refuses operations of clients before anything is made of them."""
        self.meter: RequestMeter | None = None  # counts what clients ask
        self.tracer: CallTracer | None = None
        """Begins a span for each call that is to be traced."""

    async def serve(self, stream: FrameStream, dialler: Dialler) -> None:
        """Answer one stream until its dialler closes it, or `drain` does.

        Raises ProtocolMismatch for a frame that is none; Unavailable, "failed", when the node is stopping;
        RingmillError when the stream broke.
        """
        if (refusal := self.refusal()) is not None:
            raise refusal
        meter = self.meter if dialler.is_screened else None
        served = AnsweredStream(dialler, self._clock, meter, lambda: self.gate.load if self.gate else 0)
        serving = self._streams[served] = asyncio.create_task(self._serve_halves(served, stream))
        try:
            await serving
        except asyncio.CancelledError:
            if not served.is_ended:
                raise
        finally:
            del self._streams[served]

    def streams(self) -> tuple[int, int]:
        """Open ones of clients, and of other nodes."""
        clients = sum(served.dialler.is_screened for served in self._streams)
        return clients, len(self._streams) - clients

    def refusal(self) -> Unavailable | None:
        """The error for new calls once the node is stopping."""
        return self._leaving() if self._is_stopping else None

    def _leaving(self) -> Unavailable:
        return Unavailable(f"{self._name} is stopping", hint="ask another node", outcome="failed")

    def say_leaving(self) -> int:
        """Tell clients that this node is about to stop, so that they ask another one (rule T10).

        All that they ask is still answered.  Returns how many streams were told.
        """
        clients = [served for served in self._streams if served.dialler.is_screened]
        for served in clients:
            served.fail(NOTICE, self._leaving())
        return len(clients)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait up to `timeout_s` until those under way have been answered, end the streams.

        The diallers see their streams closed, and nothing of theirs fails.
        """
        self._is_stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks or self._arrivals:
                    if self._tasks:
                        await asyncio.wait(self._tasks)
                    else:
                        self._all_ended.clear()
                        await self._all_ended.wait()
                for served in list(self._streams):
                    await served.outbox.flushed()
        except TimeoutError:
            unanswered = max(len(self._tasks), self._arrivals)
            _log.warning("%s: %d calls unanswered after %.1f s", self._name, unanswered, timeout_s)
        for served, serving in list(self._streams.items()):
            served.is_ended = True
            serving.cancel()

    def end_streams(self, are_over: Callable[[Dialler], bool], timeout_s: float) -> int:
        """End the streams of these diallers, each once nothing is under way on it, or after `timeout_s`.

        Returns how many there are.
        """
        found = [each for each in self._streams.items() if are_over(each[0].dialler)]
        for served, serving in found:
            self.start(self._end_stream(served, serving, timeout_s))
        return len(found)

    def end_idle(self, most: int) -> int:
        """End up to this number of clients' streams that were not used for IDLE_S, the longest first.

        Returns how many there are.  Their clients dial anew when they ask the next time.
        """
        before = self._clock.boottime() - IDLE_S
        idle = [
            served
            for served in self._streams
            if served.dialler.is_screened and served.is_idle and served.used_at < before
        ]
        for served in sorted(idle, key=lambda each: each.used_at)[:most]:
            served.is_ended = True
            self._streams[served].cancel()
        return min(most, len(idle))

    async def _end_stream(
        self, served: AnsweredStream, serving: asyncio.Task[None], timeout_s: float
    ) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while served.under_way:  # noqa: ASYNC110 - no event tells, and it is seldom
                    await asyncio.sleep(_ENDING_LOOK_S)
                await served.outbox.flushed()
        served.is_ended = True
        serving.cancel()

    async def close(self) -> None:
        """Cancel what is still under way."""
        self._is_stopping = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve_halves(self, served: AnsweredStream, stream: FrameStream) -> None:
        await run_halves(self._read(served, stream), served.outbox.run(stream.write))

    async def _read(self, served: AnsweredStream, stream: FrameStream) -> None:
        while (frame := await stream.read()) is not None:
            await self._take_frame(served, frame)
            await served.outbox.room()

    async def _take_frame(self, served: AnsweredStream, frame: bytes) -> None:
        limit = min(self.max_frame_bytes, served.dialler.max_frame_bytes)
        operations, sent_us, traces = decode_traced(frame, max_bytes=limit)
        served.is_stamped = sent_us is not None
        if served.dialler.standing is not None and served.dialler.standing.has_changed():
            served.allowed.clear()
        if self.gate is not None and served.dialler.is_screened:
            operations, runs = self.gate.screen(operations, len(frame))
            if runs:
                served.refuse(runs, self.gate.refusal())
        looked_at = served.used_at = now = self._clock.boottime()
        batches: dict[BatchHandler, list[_Arrival]] = {}
        late_s = late_us(sent_us, microseconds(now)) * 1e-6
        room = served.room(len(self._streams), len(operations))
        turn_ends = served.calls_a_turn
        for number, operation in enumerate(operations, 1):
            if number > room:
                self._hand_over(batches)
                room += await self._wait_for_room(served, len(operations) - number + 1)
                looked_at = self._clock.boottime()
            deadline = now + operation[2] * 1e-6 - late_s
            span = None
            if self.tracer is not None:
                span = self._begun_span(self.tracer, served, operation, traces)
            handler = self._batch_handlers.get(operation[1])
            if handler is not None:
                self._gather(served, operation, deadline, looked_at, batches.setdefault(handler, []), span)
            else:
                self._take(served, operation, deadline, looked_at, span)
            if number >= turn_ends:
                self._hand_over(batches)
                await asyncio.sleep(0)
                turn_ends = number + served.calls_a_turn
                looked_at = self._clock.boottime()
        self._hand_over(batches)

    async def _wait_for_room(self, served: AnsweredStream, wanted: int) -> int:
        """Return when the answers to one more call have room: to how many of `wanted`.

        Meanwhile nothing is read from the stream, so whoever does not read its answers cannot ask on.
        """
        while (room := served.room(len(self._streams), wanted)) < 1:
            if served.has_answered:
                await served.outbox.wrote()
                continue
            try:
                async with asyncio.timeout(GUESS_S):
                    await served.outbox.wrote()
            except TimeoutError:
                served.guess_less()
        return room

    def _begun_span(
        self,
        tracer: CallTracer,
        served: AnsweredStream,
        operation: Operation,
        traces: Mapping[int, bytes],
    ) -> Span | None:
        """For a call that its dialler traces, or with which a trace begins here: only those of clients do."""
        identity, method, _, _, body = operation
        parent, is_clients = traces.get(identity, b""), served.dialler.is_screened
        if parent and TraceContext.decode(parent) is None:  # ids of zeros
            parent = b""
        if not (parent or is_clients) or not self._is_served(served, method):
            return None
        return tracer.begin_call(method, body, parent=parent, may_be_first=is_clients)

    def _gather(
        self,
        served: AnsweredStream,
        operation: Operation,
        deadline: float,
        now: float,
        batch: list[_Arrival],
        span: Span | None,
    ) -> None:
        """Put one call into the batch of its handler."""
        identity, method, _, priority, body = operation
        try:
            self._admit(served, method, priority, deadline, now)
        except RingmillError as error:
            served.note_failed(method, error, now)
            served.fail(identity, error)
            if span is not None:
                span.end(error)
            return
        self._arrivals += 1
        served.under_way += 1
        batch.append(_Arrival(self, served, identity, method, body, deadline, now, span))

    def _hand_over(self, batches: dict[BatchHandler, list[_Arrival]]) -> None:
        for handler, arrivals in batches.items():
            try:
                if self.tracer is None:
                    handler(arrivals)
                else:
                    handle_in_spans(handler, arrivals)
            except Exception as error:  # noqa: BLE001  a bug of the handler: its callers hear of it
                for arrival in arrivals:
                    arrival.fail(error)
        batches.clear()

    def _take(
        self,
        served: AnsweredStream,
        operation: Operation,
        deadline: float,
        begun: float,
        span: Span | None,
    ) -> None:
        """Start one operation; what can be answered at once is."""
        identity, method, _, priority, body = operation
        try:
            self._admit(served, method, priority, deadline, self._clock.boottime())
            handler = self._handlers[method]
            incoming = Incoming(served.dialler.node, method, body, deadline, _PRIORITIES[priority])
            if span is None:
                result = handler(incoming)
            else:
                with spanned(span, ends=False):
                    result = handler(incoming)
        except Exception as error:  # noqa: BLE001  whatever a handler raises is its caller's to hear
            if span is not None:
                span.end(error)
            if method in self._handlers:  # else a client could make up names to be counted
                served.note_failed(method, error, begun)
            served.fail(identity, self.as_ours(method, error))
            return
        if isinstance(result, bytes):
            served.note_done(method, begun)
            served.answer(identity, method, result, self.max_frame_bytes, deadline)
            if span is not None:
                span.end()
        else:
            self.start(self._finish(served, identity, method, result, deadline, begun, span))
            served.under_way += 1

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run work that ends a call, as a task of the transport."""
        task = self._group.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def ended_one(self) -> None:
        """An arrival was ended."""
        self._arrivals -= 1
        if not self._arrivals:
            self._all_ended.set()

    def _admit(self, served: AnsweredStream, method: str, priority: int, deadline: float, now: float) -> None:
        """Raises what a call is told that is not to be done."""
        if deadline <= now:
            raise came_too_late(self._name, method)
        if (method, priority) not in served.allowed:
            self._allow(served, method, priority)
        if self._is_stopping:
            raise self._leaving()
        if served.under_way >= _MAX_UNDER_WAY:
            raise Overloaded(
                f"{self._name} has {served.under_way} calls of this stream under way",
                detail={"retry_after": 0.1},
            )

    def _is_served(self, served: AnsweredStream, method: str) -> bool:
        is_known = method in self._handlers or method in self._batch_handlers
        return is_known and method.startswith(served.dialler.prefix)

    def _allow(self, served: AnsweredStream, method: str, priority: int) -> None:
        """Raises for calls that are not for this stream; others are not looked at again."""
        if not self._is_served(served, method):
            raise ProtocolMismatch(f"{self._name} does not answer {method[:64]!r} on this stream")
        if not served.dialler.floor <= priority < len(_PRIORITIES):
            raise ProtocolMismatch(f"{method}: class {priority} is not for this stream")
        if served.dialler.standing is not None:
            served.dialler.standing.check(method)
        served.allowed.add((method, priority))

    async def _finish(
        self,
        served: AnsweredStream,
        identity: int,
        method: str,
        result: Awaitable[bytes],
        deadline: float,
        begun: float,
        span: Span | None,
    ) -> None:
        try:
            if span is None:
                body = await result
            else:
                with spanned(span):
                    body = await result
        except Exception as error:  # noqa: BLE001  whatever a handler raises is its caller's to hear
            served.note_failed(method, error, begun)
            served.fail(identity, self.as_ours(method, error))
        else:
            served.note_done(method, begun)
            served.answer(identity, method, body, self.max_frame_bytes, deadline)
        finally:
            served.under_way -= 1

    def as_ours(self, method: str, error: Exception) -> RingmillError:
        """The error as it crosses: ours as it is, any other logged and sent as INTERNAL."""
        if isinstance(error, RingmillError):
            return error
        self._complaints.add(method, error)
        text = f"{self._name}: {method} failed: {type(error).__name__}: {error!s:.200}"
        return RingmillError(text, outcome="unknown")


class _Arrival:
    """One call of a batch (ringmill.cluster.ports.Arrival)."""

    __slots__ = (
        "_answering", "_begun", "_identity", "_is_ended", "_stream", "body", "deadline", "method", "on_end",
        "span",
    )  # fmt: skip

    def __init__(
        self,
        answering: Answering,
        stream: AnsweredStream,
        identity: int,
        method: str,
        body: bytes,
        deadline: float,
        begun: float,
        span: Span | None,
    ) -> None:
        self._answering = answering
        self._stream = stream
        self._identity = identity
        self._begun = begun
        self._is_ended = False
        self.on_end: Callable[[Arrival], None] | None = None
        self.method = method
        self.body = body
        self.deadline = deadline
        self.span = span

    @property
    def sender(self) -> NodeId:
        return self._stream.dialler.node

    def answer(self, body: bytes) -> None:
        if self._end():
            self._stream.note_done(self.method, self._begun)
            most = self._answering.max_frame_bytes
            self._stream.answer(self._identity, self.method, body, most, self.deadline)
            if self.span is not None:
                self.span.end()

    def fail(self, error: Exception) -> None:
        if self._end():
            self._stream.note_failed(self.method, error, self._begun)
            self._stream.fail(self._identity, self._answering.as_ours(self.method, error))
            if self.span is not None:
                self.span.end(error)

    def answer_later(self, result: Awaitable[bytes]) -> None:
        self._answering.start(self._await(result))

    async def _await(self, result: Awaitable[bytes]) -> None:
        try:
            body = await result
        except Exception as error:  # noqa: BLE001  whatever a handler raises is its caller's to hear
            self.fail(error)
        except BaseException:
            self._end()
            raise
        else:
            self.answer(body)

    def _end(self) -> bool:
        """False when it was ended before."""
        if self._is_ended:
            return False
        self._is_ended = True
        self._stream.under_way -= 1
        self._answering.ended_one()
        if self.on_end is not None:
            self.on_end(self)
        return True


def came_too_late(name: str, method: str) -> DeadlineExceeded:
    """What waited past its deadline is told so, if anybody still listens; nothing of it was done."""
    return DeadlineExceeded.on_arrival(f"{method} reached {name} after its deadline: nothing was done")
