"""The gate before the requests of clients: begins what can be done, keeps some waiting, refuses the rest.

It stands between a transport and the handlers of batches.  What is refused has done nothing (outcome
"failed") and is told when to come back.  Writes, reads and pages of scans wait in lines of their own: the
older head goes first, unless a line has less than its floor of what is under way.  So a storm of reads leaves
the writes their half.

How much may be under way: cluster/overload/work_limit.py.  What has been under way for `LONG_S` waits for
other nodes and is not counted any more.  Rules O2, O3, O4 and O7: docs/protocol/overload.md.
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
from ringmill.cluster.overload.told_loads import load_of
from ringmill.cluster.overload.traced_batches import handle_in_spans
from ringmill.cluster.overload.work_limit import UNIT_BYTES, WorkLimit, WorkLimitOptions, cost_of
from ringmill.cluster.ports import Arrival, BatchHandler, Clock, Handler, Incoming, Priority
from ringmill.cluster.sometimes import sometimes

__all__ = ["LONG_S", "Gate", "Run", "Screened"]

Screened: TypeAlias = tuple[int, str, int, int, bytes]
"""An operation of a frame (cluster/wire/frames.py)."""

Run: TypeAlias = tuple[int, int]
"""The first and the last id of operations that are refused together."""

FLOORS: Final[Mapping[Priority, float]] = {Priority.WRITE: 0.5, Priority.READ: 0.25, Priority.BULK: 0.05}
"""The share of the limit, and of the queue, that a class has for itself.  Pages of scans are BULK."""
IN_FRAMES: Final = (Priority.WRITE, Priority.READ)
"""The classes of what comes in frames; a page of a scan is a plain call."""
LONG_S: Final = 0.25
"""What has been under way for longer waits for others: work of this node is done in a few turns."""
_COHORT_S: Final = 0.05  # what begins within this time becomes old together
_SAMPLE_S: Final = 0.002
_STANDS_S: Final = 0.05
"""A queue that has stood for so long is no burst: then things are left off."""


class _Line:
    """The requests of one class."""

    __slots__ = ("cohort", "floor", "in_use", "queue", "waiting")

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self.in_use = 0  # units under way, and not for long
        self.waiting = 0  # units in the queue
        self.queue: deque[tuple[float, BatchHandler, Arrival]] = deque()
        self.cohort: _Cohort


class Gate:
    """One gate of a node.  `name` is the node's."""

    def __init__(self, name: str, clock: Clock, options: WorkLimitOptions) -> None:
        now = clock.monotonic()
        self.name = name
        self._clock = clock
        self._is_on = options.is_on
        self.work = WorkLimit(options, now)
        self._ladder = Ladder(now)
        self._lines = {priority: _Line(floor) for priority, floor in FLOORS.items()}
        self._cohorts: deque[_Cohort] = deque()  # that are counted, the oldest first
        self._renew_cohorts(now)
        self.waiting = 0
        """Units in the queues."""
        self._begun = 0  # units, since the turn began
        self._turn_at: float | None = None  # since when the end of this turn is awaited
        self._turned_at = now
        self._is_timed = False
        self.refused = 0
        """Requests, since the start."""

    def guard(self, handler: BatchHandler, priority: Priority) -> BatchHandler:
        """The handler behind the gate."""
        if not self._is_on:
            return handler
        return partial(self._enter, self._lines[priority], handler)

    def guard_call(self, handler: Handler, priority: Priority) -> Handler:
        """A handler of single calls behind the gate."""
        if not self._is_on:
            return handler
        line = self._lines[priority]

        def answer(incoming: Incoming) -> Awaitable[bytes]:
            call = _Single(incoming)
            self._enter(line, _begin_all, [call])
            return call.run(handler)

        return answer

    @property
    def in_use(self) -> int:
        """Units under way, without those that wait for other nodes."""
        units = 0
        for line in self._lines.values():
            units += line.in_use
        return units

    @property
    def load(self) -> int:
        """What others are told of how much this node has to do (rule G4)."""
        return load_of(self.in_use + self.waiting, self.work.limit)

    @property
    def step(self) -> Rung:
        """What this node leaves off now."""
        return self._ladder.step(self._clock.monotonic())

    @property
    def stretch(self) -> float:
        """The factor by which pauses of background work grow now."""
        return stretch(self.work.busy_share(self._clock.monotonic()), self.step)

    @property
    def reason(self) -> str:
        """Why this node is less than well, a sentence; "" while it has room."""
        left_off = self._ladder.left_off(self._clock.monotonic())
        if not left_off:
            return ""
        return (
            f"has more to do than it can: without {left_off}; {self.waiting} wait, "
            f"{self.refused} requests refused since the start"
        )

    def check_scan(self) -> None:
        """Raises Overloaded while scans are left off."""
        if self.step >= Rung.SCANS:
            self.refused += 1  # no sign of more load: the gate was not asked
            raise self.refusal()

    def screen(self, operations: list[Screened], frame_bytes: int) -> tuple[list[Screened], list[Run]]:
        """What of a frame of this length may come to the gate, and what is refused before anything is made of
        it.

        Costs nothing while there is room for all.
        """
        most_cost = len(operations) + (frame_bytes // UNIT_BYTES)
        free = self.work.limit - self.in_use - self.waiting
        if most_cost <= free:
            return operations, []
        now = self._clock.monotonic()
        self._renew_cohorts(now)  # what is under way may have become old since anything began
        free = self.work.limit - self.in_use - self.waiting
        if not self.waiting:
            self.work.queued(0, now)  # what was let in at once has not told of that
        total = self.work.queue_limit(now)
        room: dict[int, float] = {line: self._room(self._lines[line], total) for line in IN_FRAMES}
        if most_cost <= min(room.values()):
            return operations, []
        if free <= 0 and max(room.values()) <= 0 and (run := _whole_run(operations, room)):
            self._note_refused(len(operations), most_cost)
            return [], [run]
        return self._sift(operations, room, free)

    def _sift(
        self, operations: list[Screened], room: dict[int, float], free: float
    ) -> tuple[list[Screened], list[Run]]:
        """Take from `free` first, then from the room in the line of each."""
        let_in: list[Screened] = []
        runs: list[Run] = []
        first = last = -1
        refused = 0
        for operation in operations:
            left = room.get(operation[3])
            if left is None:
                let_in.append(operation)
                continue
            cost = cost_of(operation[4])
            if free > 0:
                free -= cost
                let_in.append(operation)
                continue
            if left > 0:
                room[operation[3]] = left - cost
                let_in.append(operation)
                continue
            refused += cost
            identity = operation[0]
            if identity != last + 1 or first < 0:
                if first >= 0:
                    runs.append((first, last))
                first = identity
            last = identity
        if first >= 0:
            runs.append((first, last))
            self._note_refused(len(operations) - len(let_in), refused)
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
        others = self.waiting - line.waiting
        return max(total * line.floor, total - others) - line.waiting

    def _enter(self, line: _Line, handler: BatchHandler, arrivals: Sequence[Arrival]) -> None:
        cost = len(arrivals)
        for arrival in arrivals:
            if len(arrival.body) >= UNIT_BYTES:
                cost += cost_of(arrival.body) - 1
        if not self.waiting and self.in_use + cost <= self.work.limit:
            self.await_turn()
            self._count(line, arrivals, cost)
            handler(arrivals)
            return
        now = self._clock.monotonic()
        self._renew_cohorts(now)
        self._line_up(line, handler, arrivals, now)
        self._let_in(now)

    def _count(self, line: _Line, arrivals: Sequence[Arrival], cost: int) -> None:
        """These are under way from now on."""
        line.in_use += cost
        line.cohort.units += cost
        self._begun += cost
        left = line.cohort.left
        for arrival in arrivals:
            arrival.on_end = left

    def await_turn(self) -> None:
        """What is ready before the end of this turn has it first, so the time until then is what others wait
        here.  While nobody waits, a turn now and then is enough to know."""
        if self._turn_at is not None:
            return
        now = self._clock.monotonic()
        self._renew_cohorts(now)
        if self.waiting or now - self._turned_at >= _SAMPLE_S:
            self._turn_at = now
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        assert self._turn_at is not None
        now = self._clock.monotonic()
        self.work.turned(now - self._turn_at, self._begun, now)
        self._turn_at, self._turned_at = None, now
        self._begun = 0
        if self.waiting:
            self._let_in(now)

    def _renew_cohorts(self, now: float) -> None:
        """What begins from now on is of other cohorts, and what began long ago is forgotten."""
        if self._cohorts and now - self._cohorts[-1].began < _COHORT_S:
            return
        while self._cohorts and self._cohorts[0].began <= now - LONG_S:
            self._cohorts.popleft().forget()
        for line in self._lines.values():
            line.cohort = _Cohort(self, line, now)
            self._cohorts.append(line.cohort)

    def _look_again(self) -> None:
        """After a while of waiting: what is under way may have become old."""
        self._is_timed = False
        if self.waiting:
            now = self._clock.monotonic()
            self._renew_cohorts(now)
            self._let_in(now)

    def _line_up(self, line: _Line, handler: BatchHandler, arrivals: Sequence[Arrival], now: float) -> None:
        if not self.waiting:
            self.work.queued(0, now)  # what was let in at once has not told of that
        room = self._room(line, self.work.queue_limit(now))
        room += max(0.0, self.work.limit - self.in_use)  # for what goes on at once
        for arrival in arrivals:
            cost = cost_of(arrival.body)
            if room > 0:
                room -= cost
                line.waiting += cost
                self.waiting += cost
                line.queue.append((now, handler, arrival))
            else:
                self._refuse(handler, arrival, cost)

    def _refuse(self, handler: BatchHandler, arrival: Arrival, cost: int) -> None:
        """`handler` never hears of it."""
        sometimes("a node refuses a request as it has too much to do")
        self._note_refused(1, cost)
        arrival.fail(self.refusal())

    def _let_in(self, now: float) -> None:
        """Begin what there is room for, as few batches."""
        limit, boot_now = self.work.limit, self._clock.boottime()
        batches: dict[BatchHandler, list[Arrival]] = {}
        while self.waiting and ((in_use := self.in_use) < limit or not in_use):
            line = self._next()
            _, handler, arrival = line.queue.popleft()
            cost = cost_of(arrival.body)
            line.waiting -= cost
            self.waiting -= cost
            if arrival.deadline <= boot_now:
                arrival.fail(_expired(self.name, arrival))
                continue
            self._count(line, [arrival], cost)
            batches.setdefault(handler, []).append(arrival)
        self.work.queued(self.waiting, now)
        if batches:
            self.await_turn()
        if self.waiting:
            if self.work.stands_for_s(now) > _STANDS_S:
                self._ladder.waited(now)
            if not self._is_timed:
                self._is_timed = True
                asyncio.get_running_loop().call_later(_COHORT_S, self._look_again)
        for handler, waited in batches.items():
            _begin(handler, waited)

    def _next(self) -> _Line:
        """The line whose head goes first."""
        full = [line for line in self._lines.values() if line.queue]
        for line in full:
            if line.in_use < line.floor * self.work.limit:
                return line
        return min(full, key=lambda line: line.queue[0][0])


class _Cohort:
    """What of a line began at about the same time, and has not ended."""

    __slots__ = ("_gate", "_is_old", "_line", "began", "units")

    def __init__(self, gate: Gate, line: _Line, now: float) -> None:
        self._gate = gate
        self._line = line
        self._is_old = False
        self.began = now
        self.units = 0

    def left(self, arrival: Arrival) -> None:
        cost = 1 if len(arrival.body) < UNIT_BYTES else cost_of(arrival.body)
        self.units -= cost
        if not self._is_old:
            self._line.in_use -= cost
            if self._gate.waiting:
                self._gate.await_turn()

    def forget(self) -> None:
        """What is left of it has been under way for long."""
        self._is_old = True
        self._line.in_use -= self.units


def _whole_run(operations: list[Screened], room: Mapping[int, float]) -> Run | None:
    """The ids of a frame if they are in a row and of classes that may be refused, as in most frames."""
    ids = [operation[0] for operation in operations]
    first, last = ids[0], ids[-1]
    if last - first >= len(ids) or ids != list(range(first, last + 1)):
        return None
    return (first, last) if {operation[3] for operation in operations} <= room.keys() else None


def _begin(handler: BatchHandler, arrivals: Sequence[Arrival]) -> None:
    try:
        handle_in_spans(handler, arrivals)
    except Exception as error:  # noqa: BLE001  a bug of the handler: its callers hear of it
        for arrival in arrivals:
            arrival.fail(error)


class _Single:
    """A single call at the gate (ringmill.cluster.ports.Arrival): `run` waits until it is let in."""

    span = None  # its task works for it

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
