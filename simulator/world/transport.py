"""The Transport door over the simulated network: production frames, simulated carriage.

A call crosses as the same bytes as in production.  It leaves at once, or in some runs waits for company in
its frame, so that batches of several calls are met.  What the real streams tell is told here too: while a
connection stands, a dead peer makes an outcome unknown; once it is known to be broken, the next dial is
refused and certainly nothing was sent.  Frames are stamped and their deadlines judged by the code of
production (cluster/wire/sending_time.py); a handshake takes no time and cannot fail here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from ringmill.cluster.callbacks import call_guarded
from ringmill.cluster.deadline_wheel import Bucket, DeadlineWheel
from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.told_loads import ToldLoads
from ringmill.cluster.ports import Arrival, BatchHandler, Clock, Ended, Handler, Incoming, Priority
from ringmill.cluster.wire.error_bytes import decode_error, encode_error
from ringmill.cluster.wire.frames import (
    Answer,
    Operation,
    decode_loaded,
    decode_operations,
    encode_answers,
    encode_operations,
)
from ringmill.cluster.wire.sending_time import PeerClock, left_us, microseconds
from ringmill.node.requests.forward import FORWARDS
from ringmill.simulator.world.network import Endpoint, Network
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

__all__ = ["CHANGES", "SimulatedTransport"]

_ASK = b"?"
_TELL = b"!"
_CLOSED = b"-"  # nobody listens on the port yet
_DRAIN_LOOK_S = 0.01
CHANGES: Final = ("keyspaces.Create", "keyspaces.Alter", "keyspaces.Drop")
"""Methods that change keyspaces, by which traps of a node may go."""

_TO_COORDINATE = frozenset((*FORWARDS.values(), "kv.put", "kv.delete", "kv.touch", *CHANGES))


class _Asked:
    """A call that waits for its answer."""

    __slots__ = ("_bucket", "_late", "_transport", "ended", "number", "of", "sent_us")

    def __init__(
        self, transport: SimulatedTransport, number: int, of: NodeId, ended: Ended, late: str
    ) -> None:
        self._transport = transport
        self.number = number
        self.of = of
        self.ended = ended
        self.sent_us = 0
        self._late = late
        self._bucket: Bucket | None = None

    def expire_in(self, wheel: DeadlineWheel, timeout_s: float) -> None:
        self._bucket = wheel.add(self, timeout_s)

    def expire(self) -> None:
        self._transport.end(self.number, DeadlineExceeded(self._late, outcome="unknown"))

    def forget(self) -> None:
        if self._bucket is not None:
            self._bucket.take_out(self)


class _Waiting(NamedTuple):
    """A call before it leaves."""

    number: int
    method: str
    until: float
    priority: int
    body: bytes


class SimulatedTransport:
    """One run of one process on the network.  Clients have a name of their own and serve nothing."""

    def __init__(
        self,
        name: str,
        *,
        loop: VirtualLoop,
        network: Network,
        process: Process,
        clock: Clock,
        is_client: bool = False,
        is_listening: bool = True,
        gather_s: float = 0.0,
    ) -> None:
        self._name = name
        self._loop = loop
        self._network = network
        self._process = process
        self._clock = clock
        self._is_client = is_client
        self._handlers: dict[str, Handler] = {}
        self._batch_handlers: dict[str, BatchHandler] = {}
        self._wheel = DeadlineWheel()
        self._gather_s = gather_s
        self._outbox: dict[tuple[NodeId, bool], list[_Waiting]] = {}
        self._peers: dict[NodeId, str] = {}
        self._pending: dict[int, _Asked] = {}
        self._connected: set[NodeId] = set()
        self._sequence = process.order << 32  # an answer to a former start is none to this one
        self._answering: dict[asyncio.Task[None], None] = {}
        self._arrivals = 0  # of batches, not ended yet
        self._is_draining = False
        self.is_listening = is_listening
        self.bugs: list[BaseException] = []
        self._peer_clocks: dict[NodeId, tuple[Endpoint, PeerClock]] = {}
        self._on_break: list[Callable[[NodeId], None]] = []
        self._told_loads = ToldLoads()
        self.load: Callable[[], int] = int
        """How much this process has under way, told with its answers."""
        network.attach(name, Endpoint(process, self._receive, self._reset, clock.boottime))

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self._peers = dict(addresses)

    def on_break(self, listener: Callable[[NodeId], None]) -> None:
        self._on_break.append(listener)

    def serve(self, method: str, handler: Handler) -> None:
        self._handlers[method] = handler

    def serve_batch(self, method: str, handler: BatchHandler) -> None:
        self._batch_handlers[method] = handler

    def busy(self) -> Mapping[str, int]:
        return self._told_loads.quarters(self._clock.monotonic())

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        answer: asyncio.Future[bytes] = self._loop.create_future()
        number = self._ask(to, method, body, timeout_s, priority, partial(_resolve, answer))
        try:
            return await answer
        finally:
            self._forget(number)

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        try:
            self._ask(to, method, body, timeout_s, priority, ended)
        except RingmillError as error:
            ended(error)

    def _ask(
        self, to: NodeId, method: str, body: bytes, timeout_s: float, priority: Priority, ended: Ended
    ) -> int:
        if to not in self._peers:
            raise Unavailable(f"{to} is not a peer of {self._name}")
        if timeout_s <= 0:
            raise DeadlineExceeded(f"{method} to {to}: no time was left to send it")
        self._sequence += 1
        number = self._sequence
        late = f"{method} to {to}: no answer within {timeout_s:.3f} s"
        asked = self._pending[number] = _Asked(self, number, to, ended, late)
        asked.expire_in(self._wheel, timeout_s)
        waiting = _Waiting(number, method, self._loop.time() + timeout_s, int(priority), body)
        # A stream gives each frame once; what replicas and workers hear bears a second copy all the same.
        is_forward = method in FORWARDS.values() and not self._network.repeats_all
        line = to, self._is_client or is_forward
        if self._network.traps and method in _TO_COORDINATE:
            self._network.spring(to, method, timeout_s)
        if not self._gather_s:
            self._send_frame(*line, [waiting])
        elif line in self._outbox:
            self._outbox[line].append(waiting)
        else:
            self._outbox[line] = [waiting]
            self._loop.call_later(self._gather_s, self._flush, line)
        return number

    def _flush(self, line: tuple[NodeId, bool]) -> None:
        """What has gathered leaves, but for what nobody waits for any more."""
        waiting = [each for each in self._outbox.pop(line) if each.number in self._pending]
        if waiting:
            self._send_frame(*line, waiting)

    def _send_frame(self, to: NodeId, is_once: bool, calls: Sequence[_Waiting]) -> None:
        now, now_us = self._loop.time(), microseconds(self._clock.boottime())
        operations = []
        for each in calls:
            self._pending[each.number].sent_us = now_us
            operations.append(
                (each.number, each.method, microseconds(each.until - now), each.priority, each.body)
            )
        frame = encode_operations(operations, self._peer_clock(to).reading(now_us))
        numbers = [each.number for each in calls]

        def refused(is_certain: bool) -> None:
            for number in numbers:
                self._refused(number, is_certain)

        self._network.send(self._name, to, _ASK + frame, refused, is_once=is_once)

    def _forget(self, number: int) -> _Asked | None:
        asked = self._pending.pop(number, None)
        if asked is not None:
            asked.forget()
        return asked

    def end(self, number: int, outcome: bytes | RingmillError) -> None:
        """A call has ended, unless it had before."""
        asked = self._forget(number)
        if asked is not None:
            call_guarded(asked.ended, outcome)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls and wait, for at most this time, until those in progress are answered."""
        self._is_draining = True
        until = self._loop.time() + timeout_s
        while (self._answering or self._arrivals) and (left_s := until - self._loop.time()) > 0:
            if self._answering:
                await asyncio.wait(list(self._answering), timeout=left_s)
            else:
                await asyncio.sleep(min(left_s, _DRAIN_LOOK_S))

    def _reset(self, peer: str) -> None:
        """The peer's process died: what was asked of it may have been done."""
        self._connected.discard(NodeId(peer))
        for asked in [asked for asked in self._pending.values() if asked.of == peer]:
            self.end(asked.number, Unavailable(f"{peer} broke the connection", outcome="unknown"))
        for listener in self._on_break:
            listener(NodeId(peer))

    def _peer_clock(self, to: NodeId) -> PeerClock:
        """What is known of the clock of a peer's present start; a first call shakes hands."""
        endpoint, known = self._network.endpoint(to), self._peer_clocks.get(to)
        if endpoint is None:
            return PeerClock()
        if known is None or known[0] is not endpoint:
            known = self._peer_clocks[to] = (endpoint, PeerClock())
            received_us = microseconds(self._clock.boottime())
            known[1].learn(microseconds(endpoint.clock()), received_us=received_us)
        return known[1]

    def _refused(self, number: int, is_certain: bool) -> None:
        asked = self._pending.get(number)
        if asked is None:
            return
        outcome = "failed" if is_certain and asked.of not in self._connected else "unknown"
        self._connected.discard(asked.of)
        self.end(number, Unavailable(f"{asked.of} does not answer", outcome=outcome))

    def _receive(self, sender: str, payload: bytes) -> None:
        if payload[:1] == _CLOSED:
            self._refused(int.from_bytes(payload[1:], "big"), is_certain=True)
        elif payload[:1] == _ASK and not self.is_listening:
            for number, *_ in decode_operations(payload[1:])[0]:
                self._network.send(self._name, sender, _CLOSED + number.to_bytes(8, "big"), _nobody)
        elif payload[:1] == _ASK:
            operations, sent_us = decode_operations(payload[1:])
            self._begin(sender, operations, sent_us)
        else:
            self._take_answers(sender, payload[1:])

    def _begin(self, sender: str, operations: list[Operation], sent_us: int | None) -> None:
        """Start the operations of a frame; one that waited past its deadline is refused."""
        batches: dict[BatchHandler, list[_Arrival]] = {}
        source = NodeId(sender) if sender in self._peers else NodeId("")
        for number, method, remaining_us, priority, body in operations:
            left = left_us(remaining_us, sent_us, microseconds(self._clock.boottime()))
            if left <= 0:
                self._network.note_late(self._name, method)
                late = DeadlineExceeded.on_arrival(f"{method} reached {self._name} after its deadline")
                self._tell(sender, (number, b"", encode_error(late)))
                continue
            deadline = self._clock.boottime() + left / 1e6
            handler = self._batch_handlers.get(method)
            if handler is not None and not self._is_draining:
                self._arrivals += 1
                arrival = _Arrival(self, sender, number, source, method, body, deadline)
                batches.setdefault(handler, []).append(arrival)
            else:
                incoming = Incoming(source, method, body, deadline, Priority(priority))
                self.start(self._answer(sender, number, self._handle(incoming)))
        for handler, arrivals in batches.items():
            try:
                handler(arrivals)
            except Exception as error:  # noqa: BLE001 - a bug of the node
                for arrival in arrivals:
                    arrival.fail(error)

    def start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._answering[task] = None
        task.add_done_callback(self._answering.pop)

    def _take_answers(self, sender: str, frame: bytes) -> None:
        answers, theirs_us, load = decode_loaded(frame)
        if load is not None:
            self._told_loads.heard(sender, load, self._clock.monotonic())
        sent = [asked.sent_us for each in answers if (asked := self._pending.get(each[0])) is not None]
        if theirs_us is not None and sender in self._peers:
            received_us = microseconds(self._clock.boottime())
            self._peer_clock(NodeId(sender)).learn(
                theirs_us, received_us=received_us, sent_us=max(sent, default=None)
            )
        for answer in answers:
            self._take_answer(sender, answer)

    def _take_answer(self, sender: str, answer: Answer) -> None:
        asked = self._pending.get(answer[0])
        if asked is None or asked.of != sender:
            return
        self._connected.add(asked.of)
        self.end(answer[0], answer[1] if len(answer) == 2 else decode_error(answer[2]))

    async def _answer(self, sender: str, number: int, result: Awaitable[bytes]) -> None:
        try:
            body = await result
        except Exception as error:  # noqa: BLE001 - told, and a bug of the node unless it is ours
            self._fail(sender, number, error)
        else:
            self._tell(sender, (number, body))

    def _fail(self, sender: str, number: int, error: Exception) -> None:
        """Tell of an error; one that is not ours is kept as a bug of the node, and the run ends red."""
        if not isinstance(error, RingmillError):
            self.bugs.append(error)
            error = RingmillError(f"{type(error).__name__}: {error}", outcome="unknown")
        self._tell(sender, (number, b"", encode_error(error)))

    def _tell(self, to: str, answer: Answer) -> None:
        frame = encode_answers([answer], microseconds(self._clock.boottime()), self.load())
        self._network.send(self._name, to, _TELL + frame, _nobody)

    async def _handle(self, incoming: Incoming) -> bytes:
        if self._is_draining:
            raise Unavailable(f"{self._name} is stopping", hint="ask another node", outcome="failed")
        handler = self._handlers.get(incoming.method)
        if handler is None:
            raise ProtocolMismatch(f"{self._name} serves no {incoming.method!r}")
        result: bytes | Awaitable[bytes] = handler(incoming)
        return await result if inspect.isawaitable(result) else result


class _Arrival:
    """One call of a batch (ringmill.cluster.ports.Arrival)."""

    span = None
    __slots__ = (
        "_from", "_is_ended", "_number", "_transport", "body", "deadline", "method", "on_end", "sender"
    )  # fmt: skip

    def __init__(
        self,
        transport: SimulatedTransport,
        asker: str,
        number: int,
        sender: NodeId,
        method: str,
        body: bytes,
        deadline: float,
    ) -> None:
        self._transport = transport
        self._from = asker
        self._number = number
        self._is_ended = False
        self.on_end: Callable[[Arrival], None] | None = None
        self.sender = sender
        self.method = method
        self.body = body
        self.deadline = deadline

    def answer(self, body: bytes) -> None:
        if self._end():
            self._transport._tell(self._from, (self._number, body))

    def fail(self, error: Exception) -> None:
        if self._end():
            self._transport._fail(self._from, self._number, error)

    def answer_later(self, result: Awaitable[bytes]) -> None:
        self._transport._arrivals -= 1  # from here on it is a task, as if there were no batches
        self._is_ended = True
        self._transport.start(self._later(result))

    async def _later(self, result: Awaitable[bytes]) -> None:
        try:
            await self._transport._answer(self._from, self._number, result)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self.on_end is not None:
            self.on_end(self)

    def _end(self) -> bool:
        if self._is_ended:
            return False
        self._is_ended = True
        self._transport._arrivals -= 1
        self._leave()
        return True


def _resolve(waiting: asyncio.Future[bytes], outcome: bytes | RingmillError) -> None:
    if waiting.done():
        return
    if isinstance(outcome, RingmillError):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)


def _nobody(is_only_copy: bool) -> None:
    """An answer that nobody takes: the asker is gone."""
