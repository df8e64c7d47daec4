"""Whatever comes to the place where a node takes frames ends that one connection, and costs it little."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ringmill.cluster.adapters.network.sockets import socket_listener, socket_stream
from ringmill.cluster.adapters.network.sockets.socket_listener import SocketListener
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES, decode_answers, encode_operations
from ringmill.cluster.wire.offers import CarrierName, Place
from ringmill.cluster.wire.socket_layout import SocketParser, frame_length, greeting
from tests.cluster.adapters.conftest import Nodes
from tests.log_records import own_records

N2 = NodeId("n2")
HELLO = greeting({"ringmill-node": "n9", "ringmill-cluster": "c1"}, is_dialling=True)


@pytest.fixture(params=["tcp", "unix"])
def carrier(request: pytest.FixtureRequest) -> CarrierName:
    name: CarrierName = request.param
    return name


@pytest.fixture
async def nodes(carrier: CarrierName) -> AsyncIterator[Nodes]:
    """Without a secret: whoever connects gets further than a stranger does, to what looks at frames."""
    async with AsyncExitStack() as stack:
        yield Nodes(stack, carrier, secret="")


class Caller:
    """Whoever connects: writes what it likes, and reads only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.heard = SocketParser(is_dialled=True, max_frame_bytes=MAX_FRAME_BYTES)
        self.frames: list[bytes] = []

    @classmethod
    async def connect(cls, place: Place) -> Caller:
        if isinstance(place, int):
            return cls(*await asyncio.open_connection("127.0.0.1", place, limit=1024))
        return cls(*await asyncio.open_unix_connection(place, limit=1024))

    def send_frame(self, frame: bytes) -> None:
        self.writer.write(frame_length(frame) + frame)

    async def hear(self) -> RingmillError | None:
        """Read to the end; what the farewell said."""
        async with asyncio.timeout(20):
            try:
                while data := await self.reader.read(65536):
                    self.frames += self.heard.feed(data)
            except ConnectionError:
                pass
            finally:
                self.writer.close()
        return self.heard.failure


@pytest.fixture
async def node(nodes: Any) -> AsyncIterator[Any]:
    """A node n2 that echoes, and n1 that checks on it."""
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", lambda incoming: incoming.body)
    yield nodes
    assert await n1.call(N2, "echo", b"unharmed", timeout_s=20, priority=Priority.READ) == b"unharmed"


@pytest.fixture
async def caller(node: Any) -> AsyncIterator[Caller]:
    one = await Caller.connect(node.places[N2])
    yield one
    one.writer.close()


def call(number: int, size: int) -> bytes:
    return encode_operations([(number, "echo", 60_000_000, Priority.READ, bytes(size))])


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(4096),
        b"RMFR\x01\x01\xff\xff",
        os.urandom(65536),
    ],
    ids=["http", "tls", "zeroes", "a long greeting", "random"],
)
async def test_rubbish_is_told_what_it_is_and_is_one_line_in_the_log(
    caller: Caller, caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    with caplog.at_level(logging.INFO):
        caller.writer.write(rubbish)
        assert isinstance(await caller.hear(), ProtocolMismatch)
    assert len(own_records(caplog)) == 1
    assert "was refused" in own_records(caplog)[0].message


async def test_rubbish_that_comes_again_and_again_does_not_fill_the_log(
    node: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            caller = await Caller.connect(node.places[N2])
            caller.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await caller.hear()
    assert len(own_records(caplog)) == 1


async def test_whoever_connects_and_says_nothing_is_not_kept(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, node: Any
) -> None:
    monkeypatch.setattr(socket_listener, "HANDSHAKE_S", 0.1)
    slow = await Caller.connect(node.places[N2])
    slow.writer.write(HELLO[:9])
    with caplog.at_level(logging.INFO):
        told = await slow.hear()
    assert isinstance(told, ProtocolMismatch)
    assert "no whole greeting came within 0.1 s" in told.message
    assert len(own_records(caplog)) == 1


async def test_whoever_hangs_up_within_its_greeting_leaves_nothing(caller: Caller) -> None:
    caller.writer.write(HELLO[:9])
    await caller.writer.drain()
    caller.writer.write_eof()
    assert await caller.hear() is not None


async def test_an_invalid_frame_ends_its_connection_with_the_reason(caller: Caller) -> None:
    caller.writer.write(HELLO)
    caller.send_frame(b"no frame at all")
    told = await caller.hear()
    assert isinstance(told, ProtocolMismatch)
    assert "frame version" in told.message


async def test_a_length_over_the_limit_ends_its_connection_at_once(caller: Caller) -> None:
    caller.writer.write(HELLO + struct.pack(">I", MAX_CLIENT_MESSAGE_BYTES + 1))
    told = await caller.hear()
    assert isinstance(told, ProtocolMismatch)
    assert (
        f"a frame of {MAX_CLIENT_MESSAGE_BYTES + 1} bytes is over the limit of {MAX_CLIENT_MESSAGE_BYTES}"
        in told.message
    )


async def test_a_dialler_of_another_cluster_hears_which(caller: Caller) -> None:
    caller.writer.write(greeting({"ringmill-node": "n9", "ringmill-cluster": "c9"}, is_dialling=True))
    told = await caller.hear()
    assert isinstance(told, ProtocolMismatch)
    assert told.message == "n9 is of cluster c9, n2 of cluster c1"
    assert told.detail["clusters"] == {"n9": "c9", "n2": "c1"}


async def test_a_session_may_call_what_clients_may_and_no_more(caller: Caller) -> None:
    caller.writer.write(greeting({"ringmill-class": "session"}, is_dialling=True))
    caller.send_frame(call(1, 10))
    while not caller.frames:
        caller.frames += caller.heard.feed(await caller.reader.read(65536))
    caller.writer.write_eof()
    assert await caller.hear() is None
    (answer,) = decode_answers(caller.frames[0])[0]
    assert len(answer) == 3


async def test_whoever_stops_reading_is_given_up_and_holds_no_more_than_the_bounds(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket_stream, "STALL_S", 0.5)
    caller.writer.write(HELLO)
    taken_bytes = 0
    with caplog.at_level(logging.INFO):
        try:
            async with asyncio.timeout(60):
                while True:
                    caller.send_frame(call(1, 250_000))
                    await caller.writer.drain()
                    taken_bytes += 250_000
        except ConnectionError:
            pass
    assert taken_bytes < 64 * 1024 * 1024
    [line] = [record.message for record in own_records(caplog)]
    assert "took none of" in line


async def test_whoever_reads_slowly_gets_everything(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "STALL_S", 0.5)
    monkeypatch.setattr(socket_stream, "_WRITE_HIGH_BYTES", 64 * 1024)
    caller.writer.write(HELLO)

    async def ask() -> None:
        for number in range(40):
            caller.send_frame(call(number, 250_000))
            await caller.writer.drain()

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(60):
        while len(caller.frames) < 40:
            caller.frames += caller.heard.feed(await caller.reader.read(400_000))
            await asyncio.sleep(0.02)
    await asking
    answers = [answer for frame in caller.frames for answer in decode_answers(frame)[0]]
    assert [len(answer[1]) for answer in answers] == [250_000] * 40


async def test_a_node_that_is_slow_to_read_stops_the_writer_and_not_itself(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that nobody takes stay in the sockets, but for a bounded part."""
    held: list[SocketStream] = []
    go_on = asyncio.Event()

    async def answer(stream: Any, dialler: object) -> None:
        held.append(stream)
        await go_on.wait()
        while await stream.read() is not None:
            pass

    monkeypatch.setattr(node.transports[N2], "answer", answer)
    caller = await Caller.connect(node.places[N2])
    caller.writer.write(HELLO)
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(400):
            caller.send_frame(bytes(100_000))
            await caller.writer.drain()
            written += 100_000
        caller.writer.write_eof()

    writing = asyncio.create_task(write())
    before = -1
    while not held or written > before:
        before = written
        await asyncio.sleep(0.3)
    assert not writing.done()
    assert held[0].waiting_bytes < 2 * socket_stream.READ_HIGH_BYTES
    go_on.set()
    async with asyncio.timeout(20):
        await writing
    assert await caller.hear() is None
    monkeypatch.undo()


async def test_a_connection_too_many_is_told_so(nodes: Any) -> None:
    n2 = await nodes.start("n2")
    listener = SocketListener(N2, n2, clock=SystemClock(), max_connections=2)
    async with listener.tcp("127.0.0.1:0") as port:
        kept = [await Caller.connect(port) for _ in range(2)]
        for one in kept:
            one.writer.write(HELLO)
            await one.reader.readexactly(1)
        told = await (await Caller.connect(port)).hear()
        assert isinstance(told, Overloaded)
        assert told.message == "n2 has 2 connections open"
        for one in kept:
            one.writer.close()


async def test_a_fault_of_ours_ends_one_connection_and_no_node(
    caller: Caller, node: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(node.transports[N2], "answer", broken)
        caller.writer.write(HELLO)
        told = await caller.hear()
    assert told is not None
    assert (told.code, told.outcome) == ("INTERNAL", "unknown")
    assert len([record for record in own_records(caplog) if record.exc_info]) == 1


async def test_a_stopping_node_says_so_to_who_connects(nodes: Any) -> None:
    n2 = await nodes.start("n2")
    await n2.drain(1)
    caller = await Caller.connect(nodes.places[N2])
    caller.writer.write(HELLO)
    told = await caller.hear()
    assert isinstance(told, Unavailable)
    assert told.message == "n2 is stopping"


async def test_answers_that_were_given_before_the_end_arrive(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_: Incoming) -> bytes:
        arrived.set()
        await go_on.wait()
        return bytes(3_000_000)

    n2.serve("waits", waits)
    asked = asyncio.create_task(n1.call(N2, "waits", b"", timeout_s=30, priority=Priority.READ))
    await arrived.wait()
    draining = asyncio.create_task(n2.drain(10))
    go_on.set()
    await draining
    assert await asked == bytes(3_000_000)


async def test_whoever_sends_half_a_frame_and_no_more_is_not_kept(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_stream, "LOOK_S", 0.05)
    caller.writer.write(HELLO)
    caller.send_frame(call(1, 100))
    caller.writer.write(struct.pack(">I", MAX_CLIENT_MESSAGE_BYTES) + bytes(70_000))
    told = await caller.hear()
    assert isinstance(told, Unavailable)
    assert "half a frame came, and then 0 bytes in 0.05 s" in told.message


async def test_whoever_has_sent_whole_frames_is_kept_whatever_it_does_not_say(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_stream, "LOOK_S", 0.02)
    caller.writer.write(HELLO)
    most = 8
    for number in range(1, most):
        whole = frame_length(call(number, 100)) + call(number, 100)
        caller.writer.write(whole[:50])
        await asyncio.sleep(0.01)
        caller.writer.write(whole[50:])
    await asyncio.sleep(0.1)
    caller.send_frame(call(most, 100))
    answered: list[int] = []
    async with asyncio.timeout(20):
        while len(answered) < most:
            for frame in caller.heard.feed(await caller.reader.read(65536)):
                answered += [answer[0] for answer in decode_answers(frame)[0]]
    assert sorted(answered) == list(range(1, most + 1))
