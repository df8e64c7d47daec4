"""A trace goes with a call to a side that records traces, and to no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival, Incoming, Priority
from ringmill.cluster.traces.spans import Notes, Span, SpanKind, carried_trace, in_no_span, spanned
from ringmill.cluster.wire.frames import encode_operations

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
ASKED = b"t" * 16 + b"askingsp" + b"\x01"


class Recorded:
    """Spans that have ended, by what was carried for them."""

    def __init__(self) -> None:
        self.parents: dict[str, bytes] = {}
        self.ended: list[str] = []

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: bytes = b"",
        notes: Notes | None = None,
        place: bytes = b"",
    ) -> Span | None:
        raise NotImplementedError

    def begin_call(self, method: str, body: bytes, *, parent: bytes, may_be_first: bool) -> Span | None:
        name = f"{method} {body.decode()}"
        self.parents[name] = parent
        return Span(b"t" * 16 + name.encode().ljust(8, b".")[:8] + b"\x01", _Ended(self, name))


class _Ended:
    def __init__(self, recorded: Recorded, name: str) -> None:
        self._recorded, self._name = recorded, name

    def note(self, notes: Notes) -> None: ...

    def end(self, error: BaseException | None) -> None:
        self._recorded.ended.append(f"{self._name}{' failed' if error else ''}")


async def test_a_handler_works_for_the_span_of_its_call_and_what_it_asks_is_below_that(nodes: Any) -> None:
    n1, n2, n3 = [await nodes.start(name) for name in (N1, N2, N3)]
    second, third = Recorded(), Recorded()
    n2.trace_by(second)
    n3.trace_by(third)

    async def ask_on(incoming: Incoming) -> bytes:
        told: bytes = await n2.call(N3, "far", incoming.body, timeout_s=5, priority=Priority.WRITE)
        return told

    n2.serve("near", ask_on)
    n3.serve("far", lambda incoming: incoming.body)
    with spanned(Span(ASKED)):
        await n1.call(N2, "near", b"1", timeout_s=5, priority=Priority.WRITE)
    assert second.parents == {"near 1": ASKED} and second.ended == ["near 1"]
    assert third.parents == {"far 1": b"t" * 16 + b"near 1.." + b"\x01"} and third.ended == ["far 1"]
    await n1.call(N2, "near", b"2", timeout_s=5, priority=Priority.WRITE)
    assert set(second.parents) | set(third.parents) == {"near 1", "far 1"}


async def test_a_link_that_a_traced_call_has_opened_works_for_no_span(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", lambda incoming: incoming.body)
    told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def ended(_: object) -> None:
        told.set_result(carried_trace())

    with spanned(Span(ASKED)):
        await n1.call(N2, "echo", b"hi", timeout_s=5, priority=Priority.WRITE)
        in_no_span(n1.send, N2, "echo", b"hi", timeout_s=5, priority=Priority.WRITE, ended=ended)
        assert await told == b""


async def test_a_span_that_has_ended_is_carried_no_more() -> None:
    span = Span(ASKED)
    with spanned(span, ends=False):
        outliving = asyncio.create_task(_carried_later())
        span.end()
    assert await outliving == b""


async def _carried_later() -> bytes:
    await asyncio.sleep(0)
    return carried_trace()


async def test_a_call_of_a_batch_that_is_traced_is_handled_alone(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    recorded = Recorded()
    n2.trace_by(recorded)
    handled: list[tuple[int, bytes]] = []

    def look(arrivals: Sequence[Arrival]) -> None:
        handled.append((len(arrivals), carried_trace()))
        for arrival in arrivals:
            arrival.answer(b"")

    n2.serve_batch("many", look)
    await n1.call(N2, "many", b"0", timeout_s=5, priority=Priority.WRITE)  # the link stands
    handled.clear()

    async def ask(number: int) -> None:
        with spanned(Span(ASKED) if number == 2 else None):
            await n1.call(N2, "many", b"%d" % number, timeout_s=5, priority=Priority.WRITE)

    await asyncio.gather(*map(ask, range(5)))
    traced = [each for each in handled if each[1]]
    assert traced == [(1, b"t" * 16 + b"many 2.." + b"\x01")]
    assert sum(count for count, _ in handled) == 5
    assert recorded.parents == {"many 2": ASKED} and recorded.ended == ["many 2"]


async def test_a_call_that_fails_ends_its_span_as_failed(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    recorded = Recorded()
    n2.trace_by(recorded)

    def fail(_: Incoming) -> bytes:
        raise ValueError

    n2.serve("bad", fail)
    with spanned(Span(ASKED)), pytest.raises(Exception, match="bad failed"):
        await n1.call(N2, "bad", b"1", timeout_s=5, priority=Priority.WRITE)
    assert recorded.ended == ["bad 1 failed"]


async def test_nothing_is_sent_to_a_side_that_records_nothing(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def encode(operations: Any, stamp: int | None, traces: Any) -> bytes:
        sent.append(list(traces))
        return encode_operations(operations, stamp, traces)

    monkeypatch.setattr(f"{FrameLink.__module__}.encode_operations", encode)
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", lambda incoming: incoming.body)
    with spanned(Span(ASKED)):
        assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=Priority.WRITE) == b"hi"
    assert sent == [[]]


async def test_ids_of_zeros_name_no_trace(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    recorded = Recorded()
    n2.trace_by(recorded)
    n2.serve("echo", lambda incoming: incoming.body)
    with spanned(Span(bytes(25))):
        await n1.call(N2, "echo", b"1", timeout_s=5, priority=Priority.WRITE)
    assert recorded.parents == {}
