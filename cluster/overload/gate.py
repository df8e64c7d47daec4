"""The gate before the requests of clients: lets in what can be done, keeps some waiting, refuses the rest.

It stands between a transport and the handlers of batches.  What is refused has done nothing (outcome
"failed") and is told when to come back.  Writes and reads wait in lines of their own: the older head goes
first, unless a line has less than its floor of what is under way.  So a storm of reads leaves the writes
their half.

How much is let in: cluster/overload/work_limit.py.  Rules O2, O3, O4 and O7: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from ringmill.cluster.errors import DeadlineExceeded, Overloaded
from ringmill.cluster.overload.governor import stretch
from ringmill.cluster.overload.ladder import Ladder, Rung
from ringmill.cluster.overload.work_limit import WorkLimit, WorkLimitOptions, cost_of
from ringmill.cluster.ports import Arrival, BatchHandler, Clock, Handler, Incoming, Priority
from ringmill.cluster.sometimes import sometimes

__all__ = ["Gate", "Run", "Screened"]

Screened: TypeAlias = tuple[int, str, int, int, bytes]
"""An operation of a frame (cluster/wire/frames.py)."""

Run: TypeAlias = tuple[int, int]
"""The first and the last id of operations that are refused together."""

FLOORS: Final[Mapping[Priority, float]] = {Priority.WRITE: 0.5, Priority.READ: 0.25}
"""Of the limit, and of the queue."""
_LET_IN_A_TURN: Final = 128


class _Line:
    """The requests of one class."""

    __slots__ = ("floor", "in_use", "queue", "waiting")

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self.in_use = 0  # units under way
        self.waiting = 0  # units in the queue
        self.queue: deque[tuple[float, BatchHandler, Arrival]] = deque()


class Gate:
    """One gate of a node.  `name` is the node's."""

    def __init__(self, name: str, clock: Clock, options: WorkLimitOptions) -> None:
        self.name = name
        self._clock = clock
        self._is_on = options.is_on
        self.work = WorkLimit(options, clock.monotonic())
        self._ladder = Ladder(clock.monotonic())
        self._lines = {priority: _Line(floor) for priority, floor in FLOORS.items()}
        self._in_use = 0
        self._waiting = 0
        self._is_woken = False
        self._probe: Arrival | None = None  # whose time is taken, one at a time
        self._probe_at = 0.0
        self.refused = 0
        """Requests, since the start."""

    def guard(self, handler: BatchHandler, priority: Priority) -> BatchHandler:
        """The handler behind the gate."""
        if not self._is_on:
            return handler
        line = self._lines[priority]
        return partial(self._enter, line, partial(self._left, line), handler)

    def guard_call(self, handler: Handler, priority: Priority) -> Handler:
        """The same for a handler of single calls."""
        if not self._is_on:
            return handler
        line = self._lines[priority]
        left = partial(self._left, line)

        def answer(incoming: Incoming) -> Awaitable[bytes]:
            call = _Single(incoming)
            self._enter(line, left, _begin_all, [call])
            return call.run(handler)

        return answer

    @property
    def waiting(self) -> int:
        """Units in the queues."""
        return self._waiting

    @property
    def in_use(self) -> int:
        """Units under way."""
        return self._in_use

    @property
    def step(self) -> Rung:
        """What this node leaves off now."""
        return self._ladder.step(self._clock.monotonic())

    @property
    def stretch(self) -> float:
        """The factor by which pauses of background work grow now."""
        return stretch(self._in_use / self.work.limit, self.step)

    @property
    def reason(self) -> str:
        """Why this node is less than well, a sentence; "" while it has room."""
        left_off = self._ladder.left_off(self._clock.monotonic())
        if not left_off:
            return ""
        return (
            f"has more to do than it can: without {left_off}; {self._waiting} wait, "
            f"{self.refused} requests refused since the start"
        )

    def check_scan(self) -> None:
        """Raises Overloaded while scans are left off."""
        if self.step >= Rung.SCANS:
            raise self.refusal()

    def screen(self, operations: list[Screened]) -> tuple[list[Screened], list[Run]]:
        """What of a frame may come to the gate, and what is refused before anything is made of it.

        Costs nothing while there is room for all.
        """
        if len(operations) <= self.work.limit - self._in_use and not self._waiting:
            return operations, []
        total = self.work.queue_limit(self._clock.monotonic())
        room = {priority: self._room(line, total) for priority, line in self._lines.items()}
        free = max(0.0, self.work.limit - self._in_use - self._waiting)
        let_in: list[Screened] = []
        runs: list[Run] = []
        first = last = -1
        for operation in operations:
            left = room.get(operation[3])  # type: ignore[call-overload]
            if left is None or left + free > 0:
                let_in.append(operation)
                if left is not None:
                    cost = cost_of(operation[4])
                    if free > 0:
                        free -= cost
                    else:
                        room[operation[3]] = left - cost  # type: ignore[index]
                continue
            identity = operation[0]
            if identity != last + 1 or first < 0:
                if first >= 0:
                    runs.append((first, last))
                first = identity
            last = identity
        if first >= 0:
            runs.append((first, last))
            refused = len(operations) - len(let_in)
            self._note_refused(refused, refused)
        return let_in, runs

    def refusal(self) -> Overloaded:
        """What is told to those who are refused."""
        retry_s = self.work.retry_after_s
        return Overloaded(
            f"{self.name} has more to do than it can: nothing was done",
            detail={"retry_after": retry_s},
            hint=f"send less at a time, or again after {retry_s:.2g} s",
        )

    def _note_refused(self, requests: int, cost: int) -> None:
        self.refused += requests
        self._ladder.refused(self._clock.monotonic())
        self.work.refused(cost)

    def _room(self, line: _Line, total: float) -> float:
        """How much more may wait in a line: its floor at least, and what others leave of the whole."""
        others = self._waiting - line.waiting
        return max(total * line.floor, total - others) - line.waiting

    def _enter(
        self, line: _Line, left: partial[None], handler: BatchHandler, arrivals: Sequence[Arrival]
    ) -> None:
        cost = 0
        for arrival in arrivals:
            arrival.on_end = left
            cost += cost_of(arrival.body)
        if not self._waiting and self._in_use + cost <= self.work.limit:
            self._in_use += cost
            line.in_use += cost
            self._begin(handler, arrivals, None)
            return
        self._line_up(line, handler, arrivals)
        self._let_in()

    def _line_up(self, line: _Line, handler: BatchHandler, arrivals: Sequence[Arrival]) -> None:
        now = self._clock.monotonic()
        room = self._room(line, self.work.queue_limit(now))
        room += max(0.0, self.work.limit - self._in_use)  # for what goes on at once
        for arrival in arrivals:
            cost = cost_of(arrival.body)
            if room > 0:
                room -= cost
                line.waiting += cost
                self._waiting += cost
                line.queue.append((now, handler, arrival))
            else:
                sometimes("a node refuses a request as it has too much to do")
                arrival.on_end = None
                self._note_refused(1, cost)
                arrival.fail(self.refusal())

    def _left(self, line: _Line, arrival: Arrival) -> None:
        """A request that was let in has ended."""
        cost = cost_of(arrival.body)
        self._in_use -= cost
        line.in_use -= cost
        self.work.done(cost)
        if arrival is self._probe:
            now = self._clock.monotonic()
            self._probe = None
            self.work.queued(self._waiting, now)
            self.work.took(now - self._probe_at, now)
        if self._waiting and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._let_in_woken)

    def _let_in_woken(self) -> None:
        self._is_woken = False
        self._let_in()

    def _let_in(self) -> None:
        """Let in what there is room for, as few batches."""
        now = self._clock.monotonic()
        limit = self.work.limit
        batches: dict[BatchHandler, list[Arrival]] = {}
        count = 0
        while self._waiting and self._in_use < limit and count < _LET_IN_A_TURN:
            line = self._next()
            _, handler, arrival = line.queue.popleft()
            cost = cost_of(arrival.body)
            line.waiting -= cost
            self._waiting -= cost
            if arrival.deadline <= now:
                arrival.on_end = None
                arrival.fail(_expired(self.name, arrival))
                continue
            line.in_use += cost
            self._in_use += cost
            count += 1
            batches.setdefault(handler, []).append(arrival)
        self.work.queued(self._waiting, now)
        if self._waiting:
            self._ladder.waited(now)
        for handler, arrivals in batches.items():
            self._begin(handler, arrivals, now)
        if self._waiting and self._in_use < limit and not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._let_in_woken)

    def _begin(self, handler: BatchHandler, arrivals: Sequence[Arrival], now: float | None) -> None:
        if self._probe is None:
            self._probe = arrivals[-1]
            self._probe_at = self._clock.monotonic() if now is None else now
        try:
            handler(arrivals)
        except Exception as error:  # noqa: BLE001  a bug of the handler: its callers hear of it
            for arrival in arrivals:
                arrival.fail(error)

    def _next(self) -> _Line:
        """The line whose head goes first."""
        full = [line for line in self._lines.values() if line.queue]
        for line in full:
            if line.in_use < line.floor * self.work.limit:
                return line
        return min(full, key=lambda line: line.queue[0][0])


class _Single:
    """A single call at the gate (ringmill.cluster.ports.Arrival): `run` waits until it is let in."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sender, self.method = incoming.sender, incoming.method
        self.body, self.deadline = incoming.body, incoming.deadline
        self.on_end: Callable[[Arrival], None] | None = None

    async def run(self, handler: Handler) -> bytes:
        """Raises Overloaded, DeadlineExceeded, and what the handler raises."""
        try:
            await self._let_in
        except asyncio.CancelledError:
            if self._let_in.done() and not self._let_in.cancelled():
                self._end()  # let in, and cancelled in the same turn
            raise
        try:
            result = handler(self._incoming)
            return result if isinstance(result, bytes) else await result
        finally:
            self._end()

    def begin(self) -> None:
        if self._let_in.done():
            self._end()  # nobody waits any more
        else:
            self._let_in.set_result(None)

    def answer(self, body: bytes) -> None:
        raise NotImplementedError("a single call is answered by its task")

    def answer_later(self, result: Awaitable[bytes]) -> None:
        raise NotImplementedError("a single call is answered by its task")

    def fail(self, error: Exception) -> None:
        if not self._let_in.done():
            self._let_in.set_exception(error)

    def _end(self) -> None:
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(self)


def _begin_all(calls: Sequence[Arrival]) -> None:
    for call in calls:
        assert isinstance(call, _Single)
        call.begin()


def _expired(name: str, arrival: Arrival) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{arrival.method} waited at {name} until its deadline: nothing was done", outcome="failed"
    )
