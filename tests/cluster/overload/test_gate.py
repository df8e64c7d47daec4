"""The gate lets in what there is room for, keeps the classes apart, and refuses the rest at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, Overloaded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.gate import LONG_S, Gate
from ringmill.cluster.overload.ladder import Rung
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Arrival, Incoming, Priority
from ringmill.cluster.traces.spans import Span, carried_trace, spanned

FAR = 1e12
CLIENT = NodeId("")
FORTY = WorkLimitOptions(first_limit=40, least_limit=40, most_limit=40, least_queue=40, first_rate=1)
FEW = WorkLimitOptions(first_limit=4, least_limit=4, most_limit=4, least_queue=6, first_rate=1)


@dataclass(eq=False)
class Call:
    """ringmill.cluster.ports.Arrival."""

    body: bytes = b""
    deadline: float = FAR
    method: str = "kv.get"
    sender: NodeId = CLIENT
    on_end: Callable[[Arrival], None] | None = None
    span: Span | None = None
    told: list[bytes | Exception] = field(default_factory=list)

    def answer(self, body: bytes) -> None:
        self._end(body)

    def fail(self, error: Exception) -> None:
        self._end(error)

    def answer_later(self, result: object) -> None:
        raise NotImplementedError

    def _end(self, told: bytes | Exception) -> None:
        self.told.append(told)
        if self.on_end is not None:
            self.on_end(self)


class MovedClock(SystemClock):
    """Stands until it is moved."""

    now = 100.0
    slept_s = 0.0

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now + self.slept_s


class Handled:
    """What came through the gate, in order."""

    def __init__(self) -> None:
        self.begun: list[Arrival] = []

    def __call__(self, arrivals: Sequence[Arrival]) -> None:
        self.begun += arrivals


def a_gate(options: WorkLimitOptions = FEW) -> Gate:
    return Gate("n1", SystemClock(), options)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_there_is_room_for_goes_through_at_once_as_one_batch() -> None:
    gate, handled = a_gate(), Handled()
    calls = [Call() for _ in range(4)]
    gate.guard(handled, Priority.READ)(calls)
    assert handled.begun == calls
    assert (gate.in_use, gate.waiting) == (4, 0)
    for call in calls:
        call.answer(b"")
    assert gate.in_use == 0


async def test_what_waits_for_other_nodes_takes_no_room() -> None:
    """As when an owner hangs: nothing is ever answered, and nothing is refused for it."""
    clock = MovedClock()
    gate, handled = Gate("n1", clock, FEW), Handled()
    guarded = gate.guard(handled, Priority.READ)
    for _ in range(100):
        guarded([Call() for _ in range(4)])
        await turns(1)
        clock.now += 1.2 * LONG_S
    assert len(handled.begun) == 400
    assert (gate.in_use, gate.waiting, gate.refused) == (4, 0, 0)
    for call in handled.begun:
        call.answer(b"")
    assert gate.in_use == 0, "what was forgotten and is answered after all is not taken off twice"


async def test_whoever_waits_goes_on_when_what_is_under_way_has_become_old() -> None:
    gate, handled = a_gate(), Handled()
    calls = [Call() for _ in range(10)]
    gate.guard(handled, Priority.READ)(calls)
    async with asyncio.timeout(30):
        while gate.waiting:  # noqa: ASYNC110  nobody tells when it has begun
            await asyncio.sleep(0.01)
    assert handled.begun == calls


async def test_the_rest_waits_up_to_the_bound_of_the_queue_and_then_is_refused_with_nothing_done() -> None:
    gate, handled = a_gate(), Handled()
    calls = [Call() for _ in range(20)]
    gate.guard(handled, Priority.READ)(calls)
    assert handled.begun == calls[:4]
    assert gate.waiting == 6
    refused = [call.told[0] for call in calls if call.told]
    assert len(refused) == 10
    assert all(isinstance(each, Overloaded) and each.outcome == "failed" for each in refused)
    assert all(isinstance(each, Overloaded) and each.retry_after >= 0.1 for each in refused)
    for call in calls[:3]:
        call.answer(b"")
    await turns(1)
    assert handled.begun == calls[:7]
    assert gate.refused == 10


async def test_what_has_waited_past_its_deadline_is_not_begun() -> None:
    gate, handled = a_gate(), Handled()
    first, late, fresh = [Call() for _ in range(4)], Call(deadline=-FAR), Call()
    guarded = gate.guard(handled, Priority.READ)
    guarded(first)
    guarded([late, fresh])
    first[0].answer(b"")
    await turns(1)
    assert handled.begun == [*first, fresh]
    assert isinstance(late.told[0], DeadlineExceeded)
    assert late.told[0].outcome == "failed"


async def test_one_that_costs_more_than_the_limit_goes_alone() -> None:
    gate, handled = a_gate(), Handled()
    large = [Call(body=bytes(1 << 20)) for _ in range(2)]
    guarded = gate.guard(handled, Priority.READ)
    guarded(large[:1])
    guarded(large[1:])
    assert handled.begun == large[:1]
    assert gate.waiting == 16
    large[0].answer(b"")
    await turns(1)
    assert handled.begun == large


async def test_writes_have_their_half_while_reads_storm() -> None:
    gate, reads, writes = a_gate(), Handled(), Handled()
    read, write = gate.guard(reads, Priority.READ), gate.guard(writes, Priority.WRITE)
    read([Call() for _ in range(100)])
    asked = [Call() for _ in range(3)]
    write(asked)
    assert not any(call.told for call in asked), "their queue has room of its own"
    for call in reads.begun[:3]:
        call.answer(b"")
    await turns(1)
    assert writes.begun == asked[:2], "up to half of what is under way"


async def test_pages_of_scans_have_a_little_room_beside_a_storm_of_reads_and_no_more_in_one() -> None:
    gate, reads, pages = a_gate(FORTY), Handled(), Handled()
    read, scan = gate.guard(reads, Priority.READ), gate.guard(pages, Priority.BULK)
    read([Call() for _ in range(100)])
    asked = [Call() for _ in range(4)]
    scan(asked)
    assert [bool(call.told) for call in asked] == [False, False, True, True], "a twentieth of the queue"
    for call in reads.begun[:3]:
        call.answer(b"")
    await turns(1)
    assert pages.begun == asked[:2]


async def test_a_storm_of_scans_leaves_reads_and_writes_their_room() -> None:
    gate, others = a_gate(FORTY), Handled()
    scan = gate.guard(pages := Handled(), Priority.BULK)
    scan([Call() for _ in range(200)])
    asked = [Call() for _ in range(30)]
    gate.guard(others, Priority.WRITE)(asked[:20])
    gate.guard(others, Priority.READ)(asked[20:])
    assert not any(call.told for call in asked)
    for call in pages.begun[:30]:
        call.answer(b"")
    await turns(1)
    assert others.begun == asked


async def test_a_frame_is_refused_in_runs_of_ids_before_anything_is_made_of_it() -> None:
    gate, handled = a_gate(), Handled()
    gate.guard(handled, Priority.READ)([Call() for _ in range(4)])
    frame = [(number, "kv.get", 1, int(Priority.READ), b"") for number in range(10, 30)]
    let_in, runs = gate.screen(frame, 400)
    assert [operation[0] for operation in let_in] == list(range(10, 16))
    assert runs == [(16, 29)]
    assert gate.refused == 14


async def test_what_has_become_old_since_anything_began_leaves_its_room_to_a_frame() -> None:
    clock = MovedClock()
    gate = Gate("n1", clock, FEW)
    gate.guard(Handled(), Priority.READ)([Call() for _ in range(4)])
    clock.now += 1.2 * LONG_S
    frame = [(number, "kv.get", 1, int(Priority.READ), b"") for number in range(10)]
    assert gate.screen(frame, 400) == (frame, [])


async def test_a_node_at_rest_lets_as_much_of_a_burst_wait_however_long_it_has_rested() -> None:
    clock = MovedClock()
    gate = Gate("n1", clock, WorkLimitOptions(first_rate=6000.0))
    frame = [(number, "kv.get", 1, int(Priority.READ), b"") for number in range(2500)]
    taken = []
    for rested_s in (0.5, 5.0):
        clock.now += rested_s
        taken.append(len(gate.screen(frame, 2500 * 60)[0]))
    assert taken == [2500, 2500]


async def test_control_is_never_screened_out() -> None:
    gate, handled = a_gate(), Handled()
    gate.guard(handled, Priority.READ)([Call() for _ in range(50)])
    frame = [(number, "kv.get", 1, int(number % 2 * Priority.READ), b"") for number in range(40)]
    let_in, runs = gate.screen(frame, 400)
    assert [operation[0] for operation in let_in] == list(range(0, 40, 2))
    assert len(runs) == 20


async def test_a_frame_is_refused_whole_while_nothing_has_room() -> None:
    gate, handled = a_gate(), Handled()
    for priority in (Priority.READ, Priority.WRITE):
        gate.guard(handled, priority)([Call() for _ in range(20)])
    refused = gate.refused
    frame = [(number, "kv.get", 1, int(Priority.READ), b"") for number in range(10, 30)]
    assert gate.screen(frame, 400) == ([], [(10, 29)])
    del frame[5]
    assert gate.screen(frame, 400) == ([], [(10, 14), (16, 29)])
    assert gate.refused == refused + 39


async def test_large_requests_of_a_frame_take_their_room() -> None:
    gate, handled = a_gate(), Handled()
    gate.guard(handled, Priority.READ)([Call() for _ in range(4)])
    frame = [(number, "kv.put", 1, int(Priority.WRITE), bytes(5 * 4096)) for number in range(4)]
    let_in, runs = gate.screen(frame, 4 * 5 * 4096)
    assert [operation[0] for operation in let_in] == [0]
    assert runs == [(1, 3)]


async def test_with_room_a_frame_passes_whole() -> None:
    frame = [(number, "kv.get", 1, int(Priority.READ), b"") for number in range(4)]
    assert a_gate().screen(frame, 400) == (frame, [])


async def test_a_bug_of_a_handler_ends_the_calls_that_waited_for_it() -> None:
    gate = a_gate()

    def broken(arrivals: Sequence[Arrival]) -> None:
        raise ZeroDivisionError

    calls = [Call() for _ in range(8)]
    gate.guard(Handled(), Priority.READ)(calls[:4])
    gate.guard(broken, Priority.READ)(calls[4:])
    for call in calls[:4]:
        call.answer(b"")
    await turns(1)
    assert all(isinstance(call.told[0], ZeroDivisionError) for call in calls[4:])
    assert gate.in_use == 0


async def test_a_gate_says_what_its_node_leaves_off() -> None:
    gate, handled = a_gate(), Handled()
    assert gate.reason == ""
    assert gate.stretch == 1
    guarded = gate.guard(handled, Priority.READ)
    async with asyncio.timeout(30):
        while gate.step is not Rung.SCANS:
            guarded([Call() for _ in range(20)])
            await turns(1)
    left_off = "hedging, background repair, compactions that can wait, new tasks of jobs, scans"
    assert gate.reason.startswith(f"has more to do than it can: without {left_off}; ")
    assert gate.stretch == 100
    refused = gate.refused
    with pytest.raises(Overloaded):
        gate.check_scan()
    assert gate.refused == refused + 1


async def test_a_single_call_waits_for_room_and_is_refused_without_being_begun() -> None:
    gate = a_gate()
    batch = [Call() for _ in range(4)]
    gate.guard(Handled(), Priority.WRITE)(batch)
    begun: list[bytes] = []

    async def change(incoming: Incoming) -> bytes:
        begun.append(incoming.body)
        return incoming.body

    guarded = gate.guard_call(change, Priority.WRITE)
    incoming = [Incoming(CLIENT, "kv.cas", b"%d" % number, FAR, Priority.WRITE) for number in range(8)]
    answers = [asyncio.ensure_future(guarded(each)) for each in incoming]  # type: ignore[arg-type]
    await turns(5)
    assert begun == []
    assert [answer.done() for answer in answers] == [False] * 6 + [True] * 2
    answers[0].cancel()
    for call in batch:
        call.answer(b"")
    ended = await asyncio.gather(*answers, return_exceptions=True)
    assert begun == [b"%d" % number for number in range(1, 6)]
    assert [type(each) for each in ended[6:]] == [Overloaded, Overloaded]
    assert (gate.in_use, gate.waiting) == (0, 0), "nobody leaves a place behind, cancelled or not"


async def test_a_burst_after_a_quiet_minute_is_a_burst_and_no_queue_that_stands() -> None:
    clock = MovedClock()
    options = WorkLimitOptions(first_limit=4, least_limit=4, most_limit=4, least_queue=6, first_rate=200)
    gate, handled = Gate("n1", clock, options), Handled()
    guarded = gate.guard(handled, Priority.READ)
    clock.now += 60.0
    guarded([Call() for _ in range(100)])
    assert (len(handled.begun), gate.waiting) == (4, 96)
    assert (gate.refused, gate.step) == (0, Rung.NONE), "200 a second for half a second may wait"


async def test_what_waited_while_the_machine_slept_past_its_deadline_is_not_begun() -> None:
    """The monotonic clock stands still meanwhile."""
    clock = MovedClock()
    gate, handled = Gate("n1", clock, FEW), Handled()
    guarded = gate.guard(handled, Priority.WRITE)
    first = [Call() for _ in range(4)]
    guarded(first)
    late = Call(deadline=clock.boottime() + 5.0)
    guarded([late])
    clock.slept_s += 60.0
    for call in first:
        call.answer(b"")
    await turns(2)
    assert handled.begun == first
    assert [type(told) for told in late.told] == [DeadlineExceeded]


async def test_what_has_waited_is_begun_for_its_own_span() -> None:
    """And what is not traced for none, though a traced request has made room for it."""
    gate, seen = a_gate(), list[tuple[int, bytes]]()

    def look(arrivals: Sequence[Arrival]) -> None:
        seen.append((len(arrivals), carried_trace()))

    guarded, first = gate.guard(look, Priority.READ), [Call() for _ in range(4)]
    guarded(first)
    guarded([Call(), Call(span=Span(b"waited"))])
    await turns(2)
    with spanned(Span(b"answered"), ends=False):
        for call in first:
            call.answer(b"")
    await turns(1)
    assert seen == [(4, b""), (1, b""), (1, b"waited")]
