"""When the writer of a socket waits, and when it gives the other side up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.adapters.network.sockets import socket_stream
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.wire.socket_layout import greeting


class FullTransport(asyncio.Transport):
    """A socket that takes nothing, or `step` bytes whenever it is looked at, until it has taken all."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = 1000
        self.step = step
        self.stream: SocketStream | None = None
        self.looks = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 9), "socket": _Options()}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def writelines(self, list_of_data: Any) -> None:
        assert self.stream is not None
        self.stream.pause_writing()

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        self.left -= self.step
        if self.left <= 0 and self.stream is not None:
            self.stream.resume_writing()
        return self.left

    def abort(self) -> None:
        assert self.stream is not None
        asyncio.get_running_loop().call_soon(self.stream.connection_lost, None)


class _Options:
    family = 0

    def setsockopt(self, *_: int) -> None:
        pass


def connected(step: int) -> tuple[SocketStream, FullTransport]:
    stream, transport = SocketStream("", is_dialled=False, max_frame_bytes=1000), FullTransport(step)
    transport.stream = stream
    stream.connection_made(transport)
    return stream, transport


@pytest.fixture(autouse=True)
def short_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_stream, "STALL_S", 0.01)


async def test_a_side_that_takes_nothing_is_given_up() -> None:
    stream, _ = connected(0)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 took none of 1000 bytes") as caught:
        async with asyncio.timeout(20):
            await stream.write(b"frame")
    assert caught.value.outcome == "unknown"
    with pytest.raises(Unavailable, match="took none of"):
        await stream.write(b"another")


async def test_a_side_that_takes_a_little_is_waited_for_however_long_it_takes() -> None:
    stream, transport = connected(50)
    await stream.write(b"frame")
    assert transport.looks == 20


async def test_a_writer_that_waits_hears_of_the_end() -> None:
    stream, _ = connected(0)
    writing = asyncio.create_task(stream.write(b"frame"))
    await asyncio.sleep(0)
    stream.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(Unavailable, match="reset by peer"):
        await writing


async def test_a_reader_that_waits_hears_of_the_end() -> None:
    stream, _ = connected(0)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(Unavailable, match="reset by peer"):
        await reading


async def test_a_frame_that_flows_slowly_is_waited_for_and_one_that_drips_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_stream, "LOOK_S", 0.05)
    monkeypatch.setattr(socket_stream, "LEAST_BYTES", 20)
    stream, _ = connected(0)
    stream.allow(1_000_000)
    stream.data_received(greeting({}, is_dialling=True) + (1_000_000).to_bytes(4))
    reading = asyncio.create_task(stream.read())
    for _ in range(25):
        stream.data_received(bytes(20))
        await asyncio.sleep(0.01)
    assert not reading.done()
    async with asyncio.timeout(20):
        while not reading.done():
            stream.data_received(b"\0")
            await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9: half a frame came, and then \d bytes in 0\.05 s"):
        await reading


def test_one_lost_probe_ends_no_idle_connection() -> None:
    """Linux asks only whether a probe is out when the time is over."""
    times = socket_stream._KEEPALIVE
    ends_s = times["TCP_USER_TIMEOUT"] / 1000
    assert times["TCP_KEEPIDLE"] + 2 * times["TCP_KEEPINTVL"] < ends_s
    assert ends_s <= times["TCP_KEEPIDLE"] + times["TCP_KEEPCNT"] * times["TCP_KEEPINTVL"] <= ends_s + 1
