"""Answers of plain calls that nobody reads are bounded, and end; those who read are served beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Set
from functools import partial
from typing import Any, Self, cast

import grpc
import pytest

from ringmill.cluster.adapters.network.closed_connections import close_connections
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_acceptor import GrpcAcceptor
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest, GetResponse, Sibling
from ringmill.node.service_tables import service_tables
from ringmill.node.services.grpc_calls import unread_answers
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.grpc_calls.unread_answers import (
    CONNECTION_BYTES,
    LEAST_BYTES,
    LONG_BYTES,
    AnswerPlace,
    UnreadAnswers,
)
from ringmill.node.services.server import NodeServer, Services
from ringmill.node.services.table import Call, Service, Unary, unary
from ringmill.node.traces.traced_tables import traced
from ringmill.simulator.world.services import PROCESS
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.services.raw_http2 import RawHttp2

GET, WATCH = "/ringmill.v1.Kv/Get", "/ringmill.v1.Kv/Watch"
LARGE = GetRequest(key=b"large").SerializeToString()
MIB = 1 << 20


class LargeValues:
    """A node's Kv whose keys named large have a value of 1 MiB, and whose watches wait."""

    def __init__(self) -> None:
        self.made = 0
        self.size_bytes = MIB
        self.stalled_until_s = 0.0
        self.address = ""
        self.answers = UnreadAnswers(partial(close_connections, 0))

    async def get(self, request: GetRequest, call: Call) -> GetResponse:
        if request.key != b"large":
            return GetResponse(epoch=7)
        await asyncio.sleep(max(0.0, self.stalled_until_s - asyncio.get_running_loop().time()))
        self.made += 1
        return GetResponse(siblings=[Sibling(value=bytes(self.size_bytes))])

    async def watch(self, request: GetRequest, call: Call) -> GetResponse:
        await asyncio.sleep(600)
        raise AssertionError

    async def assert_answers(self) -> None:
        async with ClientLink(self.address) as link:
            assert (await link.unary(GET, GetRequest(), GetResponse, 20)).epoch == 7


@pytest.fixture
async def node() -> AsyncIterator[LargeValues]:
    clock, values = SystemClock(), LargeValues()
    transport = FrameTransport(NodeId("n1"), GrpcCarrier(LINK, clock=clock), clock=clock, entropy=OsEntropy())
    table = Service(
        "ringmill.v1.Kv",
        {"Get": unary(GetRequest, values.get), "Watch": unary(GetRequest, values.watch, holds=True)},
    )
    async with transport:
        services = Services(GrpcAcceptor(transport), grpc_handlers([table], clock, answers=values.answers))
        async with NodeServer("127.0.0.1:0", services) as server:
            values.address = server.address
            yield values


async def settled(values: LargeValues) -> int:
    """How many large answers were made once no more are."""
    before = -1
    while before != values.made or not before:
        before = values.made
        await asyncio.sleep(0.15)
    return before


async def test_answers_that_nobody_reads_are_bounded_and_all_come_to_who_reads_later(
    node: LargeValues,
) -> None:
    caller = await RawHttp2().open(node.address, window=0)
    calls = [caller.begin(GET, len(LARGE), LARGE) for _ in range(64)]
    async with asyncio.timeout(20):
        made = await settled(node)
    assert made * MIB <= 2 * CONNECTION_BYTES, "a guess of 512 KiB lets 16 begin"
    await node.assert_answers()
    caller.read(2 * MIB)
    async with asyncio.timeout(20):
        for each in calls:
            await each.wait()
    assert node.made == 64 and caller.read_bytes > 64 * MIB
    await caller.close()


async def test_a_connection_that_does_not_read_an_answer_in_its_time_is_closed(
    node: LargeValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_answers, "READ_S", 0.2)
    monkeypatch.setattr(unread_answers, "_LOOK_S", 0.05)
    monkeypatch.setattr(unread_answers, "_SLOWEST", 1 << 30)
    reading = await RawHttp2().open(node.address, window=2 * MIB)
    reading.begin(WATCH, 0, b"")
    caller = await RawHttp2().open(node.address, window=1000)
    for _ in range(60):
        caller.begin(GET, len(LARGE), LARGE)
    async with asyncio.timeout(20):
        await caller.until_closed()
        while node.answers.waiting_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await reading.begin(GET, 0, b"").wait()
    await caller.close()
    await reading.close()


async def test_calls_that_hold_take_no_room_of_answers(node: LargeValues) -> None:
    caller = await RawHttp2().open(node.address, window=MIB)
    for _ in range(200):
        caller.begin(WATCH, 0, b"")
    async with asyncio.timeout(20):
        await caller.begin(GET, 0, b"").wait()
    await caller.close()


class UnreadCall:
    """A call on a connection whose answer is read when the test says so."""

    def __init__(self, answers: UnreadAnswers, peer: str = "p:1", *, holds: bool = False) -> None:
        self._peer = peer
        self._on_end: Callable[[object], None]
        self.place: AnswerPlace = answers.place(cast("Any", self), holds=holds)

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self._on_end = callback

    async def answer(self, size_bytes: int) -> Self:
        """Nobody reads it yet."""
        try:
            await self.place.enter()
            await self.place.hand(size_bytes)
        except Overloaded:
            self.end()
            raise
        return self

    def end(self) -> None:
        """It was read, or its connection is gone."""
        self._on_end(self)


async def test_where_all_room_is_taken_small_answers_are_kept_and_who_has_not_read_for_long_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_answers, "MOST_BYTES", MIB)
    monkeypatch.setattr(unread_answers, "NODE_BYTES", MIB)
    monkeypatch.setattr(unread_answers, "_GIVE_WAY_S", 0.0)
    closed: list[str] = []

    async def close(peers: Set[str]) -> None:
        closed.extend(peers)

    answers = UnreadAnswers(close)
    unread = await UnreadCall(answers, "p:1").answer(MIB)
    await UnreadCall(answers, "p:2").answer(LONG_BYTES)
    for slow_s, gave_way in [(60.0, []), (0.0, ["p:1"])]:
        monkeypatch.setattr(unread_answers, "SLOW_S", slow_s)
        with pytest.raises(Overloaded) as refused:
            await UnreadCall(answers, "p:3").answer(LONG_BYTES + 1)
        assert refused.value.outcome == "unknown"
        await asyncio.sleep(0)
        assert closed == gave_way
    unread.end()
    await UnreadCall(answers, "p:3").answer(MIB - LONG_BYTES)
    assert (answers.waiting_bytes, answers.unread_connections) == (MIB, 2)


async def test_a_call_without_room_for_long_is_refused_with_nothing_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_answers, "WAIT_S", 0.02)
    answers = UnreadAnswers()
    unread = await UnreadCall(answers).answer(CONNECTION_BYTES)
    with pytest.raises(Overloaded) as refused:
        await UnreadCall(answers).answer(1)
    assert refused.value.outcome == "failed"
    late = asyncio.create_task(UnreadCall(answers).answer(1))
    await asyncio.sleep(0)
    unread.end()
    await late


async def test_calls_whose_answers_were_small_begin_all_at_once_and_those_without_answers_in_time_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_answers, "_GUESS_S", 0.01)
    answers = UnreadAnswers()
    kept = UnreadCall(answers, holds=True)  # so that the connection is remembered
    places = [UnreadCall(answers).place for _ in range(500)]
    began = [asyncio.create_task(each.enter()) for each in places]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(each.done() for each in began) == CONNECTION_BYTES // (512 << 10)
    await asyncio.sleep(0.2)
    assert sum(each.done() for each in began) == CONNECTION_BYTES // LONG_BYTES
    for each in places[:128]:
        await each.hand(100)
        each.leave(each)
    await asyncio.gather(*began)
    for each in places[128:]:
        each.leave(each)
    for _ in range(60):
        (await UnreadCall(answers).answer(100)).end()
    async with asyncio.timeout(0.005):
        for _ in range(500):
            await UnreadCall(answers).place.enter()
    kept.end()


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def many(answers: UnreadAnswers, peer: str, calls: int) -> list[UnreadCall]:
    """As many calls on one connection, which have all begun, as its answers were small until now."""
    asked = [UnreadCall(answers, peer) for _ in range(calls)]
    answers._connections[peer]._guess_bytes = 100
    await asyncio.gather(*(each.place.enter() for each in asked))
    return asked


async def handed(asked: list[UnreadCall], size_bytes: int) -> list[object]:
    """Their answers, all at once: None, or the error of those that were left out."""
    return await asyncio.gather(*(each.place.hand(size_bytes) for each in asked), return_exceptions=True)


async def test_short_answers_count_too_but_for_the_least_of_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_answers, "MOST_BYTES", 32 * MIB)
    monkeypatch.setattr(unread_answers, "WAIT_S", 0.05)
    answers = UnreadAnswers()
    most = 0
    for number in range(20):
        asked = await many(answers, f"p:{number}", 300)
        told = asyncio.ensure_future(handed(asked, LONG_BYTES))
        await turns()
        most = max(most, answers.waiting_bytes + answers.held_bytes)
        assert None in await told, "the first ones are kept, whatever others have"
    assert most <= 32 * MIB + 20 * LEAST_BYTES
    assert not answers.held_bytes


async def test_more_than_was_expected_waits_until_it_is_read_and_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = UnreadAnswers()
    asked = await many(answers, "p:1", 200)
    told = asyncio.ensure_future(handed(asked, MIB))
    await turns()
    assert (answers.waiting_bytes, answers.held_bytes) == (4 * CONNECTION_BYTES, 168 * MIB)
    for each in asked:
        each.end()
        await turns()
    assert await told == [None] * 200
    assert (answers.waiting_bytes, answers.held_bytes) == (0, 0)

    monkeypatch.setattr(unread_answers, "WAIT_S", 0.05)
    late = await many(answers, "p:2", 34)
    left_out = [each for each in await handed(late, MIB) if each is not None]
    assert len(left_out) == 2 and all("on their way" in str(each) for each in left_out)
    assert not answers.held_bytes


async def test_an_answer_whose_call_ended_while_it_waited_is_not_counted() -> None:
    answers = UnreadAnswers()
    first, second, third = await many(answers, "p:1", 3)
    await first.place.hand(4 * CONNECTION_BYTES)
    waiting = [asyncio.ensure_future(each.place.hand(MIB)) for each in (second, third)]
    await turns()
    waiting[1].cancel()
    second.end()
    first.end()
    await asyncio.gather(*waiting, return_exceptions=True)
    third.end()
    assert (answers.waiting_bytes, answers.held_bytes, answers._connections) == (0, 0, {})


async def test_of_those_that_did_not_read_for_long_who_has_most_gives_way_and_nobody_below_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_answers, "SLOW_S", 0.05)
    monkeypatch.setattr(unread_answers, "_GIVE_WAY_S", 0.0)
    monkeypatch.setattr(unread_answers, "WAIT_S", 0.01)
    monkeypatch.setattr(unread_answers, "MOST_BYTES", 64 * MIB)
    closed: list[str] = []

    async def close(peers: Set[str]) -> None:
        closed.extend(peers)

    answers = UnreadAnswers(close)
    await UnreadCall(answers, "slow:1").answer(MIB)
    await asyncio.sleep(0.06)
    await handed(await many(answers, "p:1", 60), MIB)
    await handed(await many(answers, "p:2", 60), MIB)
    await asyncio.sleep(0.06)
    assert not closed, "all others are young, and the slow one has little"
    await handed(await many(answers, "p:3", 60), MIB)
    await turns()
    assert closed == ["p:1"]


@pytest.mark.parametrize("size_bytes, calls", [(MIB, 150), (256 << 10, 300)])
async def test_who_reads_at_full_speed_is_served_also_when_all_reads_end_at_once_after_a_stall(
    node: LargeValues, size_bytes: int, calls: int
) -> None:
    node.size_bytes, node.stalled_until_s = size_bytes, asyncio.get_running_loop().time() + 1.0
    many_bytes = [("grpc.max_receive_message_length", 64 * MIB)]
    async with grpc.aio.insecure_channel(node.address, options=many_bytes) as channel:
        get = channel.unary_unary(GET)
        async with asyncio.timeout(30):
            told = await asyncio.gather(*(get(LARGE) for _ in range(calls)))
    assert all(len(each) > size_bytes for each in told)


def test_what_a_node_serves_knows_which_calls_hold() -> None:
    """Else watches that wait for a change take all the room of their connection."""

    async def story(world: HealingWorld) -> None:
        tables = traced(service_tables(world["n1"], PROCESS), cast("Any", None))
        assert {
            f"{service.name}/{name}"
            for service in tables
            for name, method in service.methods.items()
            if isinstance(method, Unary) and method.holds
        } == {"ringmill.v1.Kv/Watch", "ringmill.v1.Kv/WatchPrefix"}

    run(story)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "closed connections whose answers are not read, with 1048576 bytes in all: p:1"),
        (OSError(24, "none left"), "cannot be closed (p:1): [Errno 24] none left"),
    ],
)
async def test_the_log_says_whom_the_node_closed_and_that_it_could_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError | None, said: str
) -> None:
    monkeypatch.setattr(unread_answers, "READ_S", 0.0)
    monkeypatch.setattr(unread_answers, "_LOOK_S", 0.02)
    monkeypatch.setattr(unread_answers, "_SLOWEST", 1 << 30)
    tries = 0

    async def close(peers: Set[str]) -> None:
        nonlocal tries
        tries += 1
        if error is not None:
            raise error

    await UnreadCall(UnreadAnswers(close)).answer(MIB)
    await asyncio.sleep(0.2)
    assert tries > 1 and said in caplog.text
