"""A caller whose machine is gone says nothing more: what it holds at a door is given to others."""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ringmill.client.gateway.http import connection_guard
from ringmill.client.gateway.http.answers import change_streams, lease_answers
from ringmill.client.gateway.http.http_admission import HttpAdmission
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import DeadlineExceeded
from tests.client.gateway.http_world import Caller, http_door
from tests.client.gateway.redis.redis_world import Registers, redis_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
VANISHED_S = 0.3
LEASE = b"POST /v1/leases/registers/nightly?wait=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n"
WATCH = b"GET /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # one instruction of BPF: take 0 bytes of each packet
_SO_ATTACH_FILTER = 26


class Lease:
    """A lease that is free, or that another one holds until `wait_s` are over."""

    def __init__(self, is_free: bool, wait_s: float = 3600.0) -> None:
        self.term = 7
        self.left_s = 3600.0
        self.lost = asyncio.Event()
        self.is_held = self._is_free = is_free
        self._wait_s = wait_s
        self.released = asyncio.Event()

    async def acquire(self, timeout_s: float) -> int:
        if not self._is_free:
            await asyncio.sleep(self._wait_s)
            raise DeadlineExceeded("the lease was not free", outcome="failed")
        return self.term

    async def release(self) -> None:
        self.released.set()


@asynccontextmanager
async def vanishing(port: int, said: bytes, heard: bytes) -> AsyncIterator[Callable[[], None]]:
    """A caller that says and hears this, and what has its machine vanish: it acknowledges nothing more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, said)
        came = b""
        async with asyncio.timeout(20):
            while heard not in came:
                came += await loop.sock_recv(connection, 4096)
        program = ctypes.create_string_buffer(_DROP_ALL)
        given = struct.pack("HL", 1, ctypes.addressof(program))
        yield lambda: connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)


def port_of(caller: Caller) -> int:
    return int(caller.url.rpartition(":")[2])


async def has_come(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("is_free", "heard"), [(True, b": held"), (False, b": waiting")])
async def test_a_lease_is_not_held_by_nor_given_to_whoever_has_vanished(
    node: Node, is_free: bool, heard: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(is_free)
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **__: lease)
    monkeypatch.setattr(lease_answers, "_LONGEST_SILENCE_S", 0.1)
    monkeypatch.setattr(lease_answers, "BEAT_S", 0.05)
    monkeypatch.setattr(lease_answers, "_LONGEST_VANISHED_S", VANISHED_S)
    async with http_door(node[1]) as caller, vanishing(port_of(caller), LEASE, heard) as vanish:
        vanish()
        await asyncio.wait_for(lease.released.wait(), 10)


async def test_a_stream_of_whoever_has_vanished_takes_no_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one_change(*_: Any, **__: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(600)
        yield

    monkeypatch.setattr(AsyncKeyspace, "watch", one_change)
    monkeypatch.setattr(change_streams, "BEAT_S", 0.05)
    monkeypatch.setattr(change_streams, "FIRST_S", 0.01)
    monkeypatch.setattr(connection_guard, "ANSWER_S", VANISHED_S)
    admission = HttpAdmission()
    async with (
        http_door(node[1], admission=admission) as caller,
        vanishing(port_of(caller), WATCH, b": nothing new") as vanish,
    ):
        assert admission.streams._taken == {"address 127.0.0.1": 1}
        vanish()
        await has_come(lambda: not admission.streams._taken)


async def test_a_connection_to_redis_of_whoever_has_vanished_ends() -> None:
    async with redis_door(Registers(), unread_s=VANISHED_S) as (door, _):
        port = door._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        async with vanishing(port, b"PING\r\n", b"+PONG") as vanish:
            vanish()
            connection = door.connections()[0]
            connection._transport.write(b"+PONG\r\n")  # type: ignore[union-attr]
            await has_come(lambda: not door.connections())


async def test_a_lease_that_is_waited_for_for_long_is_refused_by_an_event(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status has been sent by then.  A short wait has one of its own."""
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **__: Lease(False, 0.1))
    async with http_door(node[1]) as caller:
        told = await caller.ask("POST", "/v1/leases/registers/nightly?wait=1")
        assert (told.status, told.json["code"]) == (504, "DEADLINE_EXCEEDED")
        monkeypatch.setattr(lease_answers, "BEAT_S", 0.04)
        told = await caller.ask("POST", "/v1/leases/registers/nightly?wait=1")
    waits, _, error = told.body.partition(b"event: error\ndata: ")
    assert (told.status, waits.replace(b": waiting\n\n", b"")) == (200, b""), told.body
    assert json.loads(error)["code"] == "DEADLINE_EXCEEDED"
