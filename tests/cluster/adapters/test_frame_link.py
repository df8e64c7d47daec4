"""What a caller is told, frame by frame, over a stream of memory that stops and breaks on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from ringmill.cluster.adapters.network.answered_stream import Dialler
from ringmill.cluster.adapters.network.answering import Answering
from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival, Handler, Incoming, Priority
from ringmill.cluster.wire.frames import decode_operations, encode_answers
from ringmill.cluster.wire.sending_time import PeerClock, microseconds

WRITE = Priority.WRITE


class StandingClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def wall(self) -> float:
        return self.now_s

    monotonic = boottime = wall


class Steady:
    """Entropy that always draws the longest wait."""

    def random_bytes(self, purpose: str, size: int) -> bytes:
        return bytes(size)

    def uniform(self, purpose: str) -> float:
        return 0.999


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def ends(memory_streams: Any, clock: StandingClock) -> AsyncIterator[tuple[FrameLink, Any, Any]]:
    """A link that dials a stream of memory once and nothing after, and both ends of the stream."""
    ours, theirs = memory_streams
    streams = [ours]

    async def dial() -> Any:
        if not streams:
            raise Unavailable("n2 refused the connection")
        return streams.pop()

    link = FrameLink("n2", dial, clock=clock, entropy=Steady())
    yield link, ours, theirs
    await link.close()


def start(link: FrameLink, body: bytes = b"", timeout_s: float = 30) -> asyncio.Task[bytes]:
    return asyncio.create_task(link.call("kv.put", body, timeout_s, WRITE))


async def settled() -> None:
    """Let everything run that can run without the other side."""
    for _ in range(50):
        await asyncio.sleep(0)


async def answer(theirs: Any, body: bytes) -> None:
    """Read the next frame and answer everything in it with `body`."""
    frame = await theirs.read()
    await theirs.write(encode_answers([(operation[0], body) for operation in decode_operations(frame)[0]]))


async def test_calls_of_one_moment_leave_as_one_frame(ends: Any) -> None:
    link, ours, theirs = ends
    calls = [start(link, bytes([number])) for number in range(50)]
    await answer(theirs, b"ok")
    assert await asyncio.gather(*calls) == [b"ok"] * 50
    assert ours.frames_written == 1


async def test_one_write_is_in_flight_and_the_next_frame_gathers_meanwhile(ends: Any) -> None:
    link, ours, theirs = ends
    ours.moves.clear()
    calls = [start(link)]
    for _ in range(30):
        await asyncio.sleep(0)
        calls.append(start(link))
    ours.moves.set()
    await answer(theirs, b"ok")
    await answer(theirs, b"ok")
    await asyncio.gather(*calls)
    assert ours.frames_written == 2


@pytest.mark.parametrize(("gathers", "frames"), [(True, 1), (False, 2)])
async def test_a_link_that_gathers_no_company_sends_at_once(
    memory_streams: Any, clock: StandingClock, gathers: bool, frames: int
) -> None:
    ours, theirs = memory_streams

    async def dial() -> Any:
        return ours

    link = FrameLink("n2", dial, clock=clock, entropy=Steady(), gathers=gathers)
    first = start(link)
    await answer(theirs, b"")
    await first
    ours.frames_written = 0
    calls = [start(link)]
    for _ in range(3):
        await asyncio.sleep(0)
    calls.append(start(link))
    await settled()
    assert ours.frames_written == frames
    for _ in range(frames):
        await answer(theirs, b"")
    await asyncio.gather(*calls)
    await link.close()


async def test_the_time_a_call_waited_here_is_taken_from_what_travels(
    ends: Any, clock: StandingClock
) -> None:
    link, ours, theirs = ends
    ours.moves.clear()
    first = start(link)
    await settled()
    second = start(link, timeout_s=10)
    await settled()
    clock.now_s += 0.25
    ours.moves.set()
    await answer(theirs, b"")
    frame = await theirs.read()
    [(identity, _, remaining_us, _, _)] = decode_operations(frame)[0]
    assert remaining_us == 9_750_000
    await theirs.write(encode_answers([(identity, b"")]))
    await asyncio.gather(first, second)


async def test_a_call_that_expired_in_the_queue_is_never_sent_and_failed_for_certain(ends: Any) -> None:
    link, ours, theirs = ends
    ours.moves.clear()
    first = start(link, b"first")
    await settled()
    second = start(link, b"second", timeout_s=0.02)
    with pytest.raises(DeadlineExceeded) as caught:
        await second
    assert caught.value.outcome == "failed"
    third = start(link, b"third")
    ours.moves.set()
    await answer(theirs, b"ok")
    frame = await theirs.read()
    assert [operation[4] for operation in decode_operations(frame)[0]] == [b"third"]
    third.cancel()
    await first


async def test_a_call_that_expired_after_it_was_sent_is_unknown(ends: Any) -> None:
    link, _, _ = ends
    with pytest.raises(DeadlineExceeded) as caught:
        await start(link, timeout_s=0.05)
    assert caught.value.outcome == "unknown"


async def test_when_the_stream_breaks_what_was_sent_is_unknown_and_what_was_not_is_failed(ends: Any) -> None:
    link, ours, theirs = ends
    sent = start(link, b"sent")
    await theirs.read()
    ours.moves.clear()
    writing = start(link, b"writing")
    await settled()
    queued = start(link, b"queued")
    await settled()
    ours.snap(Unavailable("connection reset", outcome="unknown"))
    outcomes = []
    for call in (sent, writing, queued):
        with pytest.raises(Unavailable) as caught:
            await call
        outcomes.append(caught.value.outcome)
    assert outcomes == ["unknown", "unknown", "failed"]


async def test_after_a_refused_dial_calls_fail_at_once_until_it_is_tried_again(
    ends: Any, clock: StandingClock
) -> None:
    link, ours, _ = ends
    call = start(link)
    await settled()
    ours.snap(Unavailable("connection reset", outcome="unknown"))
    with pytest.raises(Unavailable, match="connection reset"):
        await call
    with pytest.raises(Unavailable, match=r"^n2 refused the connection$"):
        await start(link)
    with pytest.raises(Unavailable, match=r"n2 refused the connection; next try in 0\.05 s"):
        await start(link)
    clock.now_s += 0.06
    with pytest.raises(Unavailable, match=r"^n2 refused the connection$"):
        await start(link)
    link.end_backoff()
    with pytest.raises(Unavailable, match=r"^n2 refused the connection$"):
        await start(link)


async def test_a_full_queue_refuses_early_and_says_when_to_come_back(ends: Any) -> None:
    link, ours, _ = ends
    ours.moves.clear()
    first = start(link)
    await settled()
    large = bytes(4 * 1024 * 1024)
    waiting = [start(link, large) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"8 calls of 3355[0-9]+ bytes wait") as caught:
        await start(link, large)
    assert (caught.value.outcome, caught.value.retry_after) == ("failed", 0.1)
    for call in (first, *waiting):
        call.cancel()


async def test_an_answer_that_is_not_a_frame_breaks_the_stream(ends: Any) -> None:
    link, _, theirs = ends
    call = start(link)
    await theirs.read()
    await theirs.write(b"rubbish")
    with pytest.raises(ProtocolMismatch) as caught:
        await call
    assert caught.value.outcome == "unknown"


async def test_closing_a_link_ends_its_calls(ends: Any) -> None:
    link, _, theirs = ends
    call = start(link)
    await theirs.read()
    await link.close()
    with pytest.raises(Unavailable) as caught:
        await call
    assert caught.value.outcome == "unknown"


async def test_a_link_that_is_closed_as_it_is_first_used_ends_its_calls(ends: Any) -> None:
    link, _, _ = ends
    told: list[bytes | RingmillError] = []
    link.send("kv.put", b"a", 30, WRITE, told.append)
    await link.close()  # before its task has begun
    assert [type(each) for each in told] == [Unavailable]
    assert isinstance(told[0], Unavailable) and told[0].outcome == "failed"


@pytest.fixture
async def linked(memory_streams: Any) -> AsyncIterator[Callable[[str, Handler], FrameLink]]:
    """A link whose other end answers from handlers given by name."""
    ours, theirs = memory_streams
    handlers: dict[str, Handler] = {}

    async def dial() -> Any:
        return ours

    async with asyncio.TaskGroup() as group:
        answering = Answering(handlers, name="n2", clock=SystemClock(), group=group)
        serving = group.create_task(answering.serve(theirs, Dialler(NodeId("n1"))))
        link = FrameLink("n2", dial, clock=SystemClock(), entropy=OsEntropy())

        def served(method: str, handler: Handler) -> FrameLink:
            handlers[method] = handler
            return link

        yield served
        await link.close()
        serving.cancel()
        await answering.close()


async def test_work_that_expired_on_its_way_is_dropped_unseen(linked: Any) -> None:
    seen: list[bytes] = []

    def slow(incoming: Incoming) -> bytes:
        seen.append(incoming.body)
        end = asyncio.get_running_loop().time() + 0.06
        while asyncio.get_running_loop().time() < end:
            pass  # a handler that holds the loop: what stands behind it in the frame grows old
        return b""

    link = linked("slow", slow)
    first = asyncio.create_task(link.call("slow", b"first", 30, WRITE))
    second = asyncio.create_task(link.call("slow", b"second", 0.05, WRITE))
    assert await first == b""
    with pytest.raises(DeadlineExceeded):
        await second
    assert seen == [b"first"]


async def test_work_that_waited_on_its_way_past_its_deadline_is_refused_and_not_done(
    linked: Any, memory_streams: Any
) -> None:
    ours, _ = memory_streams
    seen: list[bytes] = []

    def write(incoming: Incoming) -> bytes:
        seen.append(incoming.body)
        return b"done"

    link = linked("write", write)
    ours.peer_clock = PeerClock()
    now_us = microseconds(SystemClock().boottime())
    ours.peer_clock.learn(now_us, received_us=now_us)
    ours.moves.clear()  # the frame is made and stamped, and lies in the socket
    with pytest.raises(DeadlineExceeded):
        await link.call("write", b"expired", 0.05, WRITE)
    ours.moves.set()
    assert await link.call("write", b"fresh", 30, WRITE) == b"done"
    assert seen == [b"fresh"]


async def test_a_stamp_that_is_too_early_is_mended_by_the_refusal(linked: Any, memory_streams: Any) -> None:
    ours, _ = memory_streams
    link = linked("write", lambda _: b"done")
    ours.peer_clock = PeerClock()
    now_us = microseconds(SystemClock().boottime())
    ours.peer_clock.learn(now_us - 60_000_000, received_us=now_us)  # its handshake was a minute on its way
    with pytest.raises(DeadlineExceeded, match="reached n2 after its deadline") as caught:
        await link.call("write", b"", 30, WRITE)
    assert caught.value.outcome == "failed"
    assert await link.call("write", b"", 30, WRITE) == b"done"


async def test_a_dialler_of_the_former_release_is_answered_in_its_own_frames(
    linked: Any, memory_streams: Any
) -> None:
    ours, _ = memory_streams
    versions: list[int] = []
    read = ours.read

    async def noting() -> bytes | None:
        frame: bytes | None = await read()
        versions.append(frame[0] if frame else 0)
        return frame

    ours.read = noting
    assert await linked("write", lambda _: b"done").call("write", b"", 30, WRITE) == b"done"
    assert versions == [1]


async def test_a_dialler_that_goes_away_cancels_nothing_under_way(linked: Any, memory_streams: Any) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write(_: Incoming) -> bytes:
        begun.set()
        await go_on.wait()
        done.set()
        return b""

    link = linked("write", write)
    call = asyncio.create_task(link.call("write", b"", 30, WRITE))
    await begun.wait()
    await link.close()
    with pytest.raises(Unavailable):
        await call
    go_on.set()
    await asyncio.wait_for(done.wait(), 10)


async def test_an_awaitable_that_fails_fails_its_own_call_alone(linked: Any) -> None:
    async def fails(incoming: Incoming) -> bytes:
        if incoming.body == b"bad":
            raise NotFound("no such thing")
        return b"fine"

    link = linked("fails", fails)
    results = await asyncio.gather(
        *(link.call("fails", body, 30, WRITE) for body in (b"good", b"bad", b"good")), return_exceptions=True
    )
    assert [results[0], type(results[1]), results[2]] == [b"fine", NotFound, b"fine"]


async def test_a_stream_with_too_much_under_way_refuses_more_until_some_is_done(linked: Any) -> None:
    go_on = asyncio.Event()

    async def waits(_: Incoming) -> bytes:
        await go_on.wait()
        return b""

    link = linked("waits", waits)
    calls = [asyncio.create_task(link.call("waits", b"", 60, WRITE)) for _ in range(8192)]
    refused = asyncio.create_task(link.call("waits", b"", 60, WRITE))
    with pytest.raises(Overloaded, match="n2 has 8192 calls of this stream under way"):
        await refused
    go_on.set()
    await asyncio.gather(*calls)
    assert await link.call("waits", b"", 60, WRITE) == b""


async def test_a_callback_that_fails_is_reported_and_ends_neither_the_link_nor_another_call(
    ends: tuple[FrameLink, Any, Any],
) -> None:
    link, _, theirs = ends
    told, reported = list[bytes | RingmillError](), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail(_: object) -> None:
        raise ValueError("a bug of one waiter")

    link.send("kv.put", b"a", 30, WRITE, fail)
    link.send("kv.put", b"b", 30, WRITE, told.append)
    await settled()
    operations, _ = decode_operations(await theirs.read())
    await theirs.write(encode_answers([(operation[0], b"done") for operation in operations]))
    await settled()
    assert told == [b"done"]
    assert [str(each) for each in reported] == ["a bug of one waiter"]


async def test_a_link_that_is_closed_takes_no_call_that_its_end_has_caused(
    ends: tuple[FrameLink, Any, Any],
) -> None:
    link, _, _ = ends
    told = list[bytes | RingmillError]()

    def again(_: bytes | RingmillError) -> None:
        link.send("kv.get", b"", 30, WRITE, told.append)

    link.send("kv.get", b"", 30, WRITE, again)
    await settled()
    await link.close()
    assert [type(each) for each in told] == [Unavailable]
    assert link._running is None


async def test_calls_of_one_handler_come_as_one_batch_in_their_order_and_are_answered_by_callbacks(
    memory_streams: Any,
) -> None:
    ours, theirs = memory_streams
    batches: list[list[bytes]] = []

    def echo(arrivals: Sequence[Arrival]) -> None:
        batches.append([arrival.body for arrival in arrivals])
        for arrival in reversed(arrivals):
            if arrival.body == b"bad":
                arrival.fail(NotFound("nothing"))
            elif arrival.body == b"later":
                arrival.answer_later(settled_body(arrival.body))
            else:
                arrival.answer(arrival.body)

    async def settled_body(body: bytes) -> bytes:
        await settled()
        return body

    async def dial() -> Any:
        return ours

    told: dict[bytes, bytes | RingmillError] = {}
    async with asyncio.TaskGroup() as group:
        handlers = {"kv.put": echo, "kv.delete": echo}
        answering = Answering({}, batch_handlers=handlers, name="n2", clock=SystemClock(), group=group)
        serving = group.create_task(answering.serve(theirs, Dialler(NodeId("n1"))))
        link = FrameLink("n2", dial, clock=SystemClock(), entropy=OsEntropy())
        for method, body in (
            ("kv.put", b"1"),
            ("kv.delete", b"bad"),
            ("kv.put", b"later"),
            ("kv.get", b"no"),
        ):
            link.send(method, body, 30, WRITE, partial(told.__setitem__, body))
        for _ in range(20):
            await settled()
        await answering.drain(5)
        await link.close()
        serving.cancel()
    assert batches == [[b"1", b"bad", b"later"]]
    assert (told[b"1"], told[b"later"]) == (b"1", b"later")
    assert (type(told[b"bad"]), type(told[b"no"])) == (NotFound, ProtocolMismatch)
