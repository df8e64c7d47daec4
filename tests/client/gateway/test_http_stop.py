"""A door that is told to stop: what only its caller would end is ended at once; requests get their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from ringmill.client.gateway.http.answers import lease_answers
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.registers.registers import AsyncRegisters
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
SILENCE_S = 0.2


class Held:
    """A lease that is held, and says when it was given back."""

    left_s = 60.0
    is_held = True
    term = 7

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.released_at = 0.0

    async def acquire(self, timeout_s: float | None) -> int:
        return self.term

    async def release(self) -> None:
        self.released_at = asyncio.get_running_loop().time()


async def one_change(*_: Any, **__: Any) -> AsyncIterator[Any]:
    """A watch that tells one change, and nothing else."""
    context = SimpleNamespace(text="c")
    yield SimpleNamespace(is_deleted=True, context=context, to_dict=lambda: {"deleted": True})
    await asyncio.sleep(600)


async def connected(caller: Caller) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = caller.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def under_way(caller: Caller) -> int:
    connections = caller.door._connections
    assert connections is not None
    return connections._asked


async def test_a_stop_waits_for_no_watch_and_gives_a_lease_back_when_its_holder_may_not_act(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Held()
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **__: lease)
    monkeypatch.setattr(AsyncKeyspace, "watch", one_change)
    monkeypatch.setattr(lease_answers, "_LONGEST_SILENCE_S", SILENCE_S)
    async with http_door(node[1]) as caller:
        path = f"{caller.url}/v1/kv/default/k"
        accepted = {"Accept": "text/event-stream"}
        async with (
            caller.session.get(path, headers=accepted) as events,
            caller.session.ws_connect(path) as socket,
            caller.session.post(f"{caller.url}/v1/leases/registers/nightly") as holding,
        ):
            assert (await socket.receive_json())["deleted"] is True
            assert await events.content.readline() == b"id: c\n"
            assert await holding.content.readline() == b"id: 7\n"
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            closing = asyncio.create_task(caller.door.close(30.0))
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE and socket.close_code == 1001
            await events.read()
            assert b"event: lost" in await holding.read()
            await closing
            assert loop.time() - began_at < 10.0, "none of them needed its grace"
            assert lease.released_at > began_at + SILENCE_S - 0.01, "until then the last sign was good"


async def test_a_body_on_its_way_when_a_stop_begins_is_heard_to_its_end_and_idle_ones_are_left(
    node: Node,
) -> None:
    async with http_door(node[1]) as caller:
        assert (await caller.ask("GET", "/healthz")).status == 200
        idle, idle_writer = await connected(caller)
        reader, writer = await connected(caller)
        writer.write(b"PUT /v1/kv/default/late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha")
        async with asyncio.timeout(10):
            while not under_way(caller):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            closing = asyncio.create_task(caller.door.close(30.0))
            assert await idle.read() == b""
            writer.write(b"lf")
            heard = await reader.read()
            await closing
        assert heard.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in heard, heard
        assert node[0].values[b"late"] == [b"half"]
        for each in (idle_writer, writer):
            each.close()


async def test_what_needs_longer_than_its_grace_is_cancelled_once_it_is_over(node: Node) -> None:
    async with http_door(node[1]) as caller:
        _, writer = await connected(caller)
        writer.write(b"PUT /v1/kv/default/never HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha")
        async with asyncio.timeout(10):
            while not under_way(caller):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await caller.door.close(0.01)
        assert under_way(caller) == 0
        writer.close()
    assert b"never" not in node[0].values
