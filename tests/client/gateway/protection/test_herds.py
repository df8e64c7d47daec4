"""Many callers that ask for one key at once cost one read, also where the gateway has few places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from ringmill.client.gateway.http.http_admission import HttpAdmission, room_of_requests
from ringmill.client.gateway.protection.read_cache import ReadCache
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import HELD, SLOW, OneNode

HERD = 1000
Node = tuple[OneNode, str]


class Asked(asyncio.Protocol):
    """One connection that asks once, and what comes on it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.heard = b""
        self.is_over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        asked = f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.transport.write(asked.encode())

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over.set()


def _same(one: Asked) -> Asked:
    return one


@asynccontextmanager
async def herd(caller: Caller, path: str) -> AsyncIterator[list[Asked]]:
    """A thousand connections that have asked for this."""
    loop, port = asyncio.get_running_loop(), int(caller.url.rpartition(":")[2])
    asked = [Asked(path) for _ in range(HERD)]
    await asyncio.gather(*(loop.create_connection(partial(_same, each), "127.0.0.1", port) for each in asked))
    try:
        yield asked
    finally:
        for each in asked:
            each.transport.close()


async def test_a_herd_of_a_thousand_costs_one_read_and_all_are_answered(node: Node) -> None:
    one, address = node
    cache = ReadCache(60.0)
    one.values[HELD.encode()] = [b"v"]
    async with http_door(address, admission=HttpAdmission(cache=cache)) as caller:
        async with herd(caller, f"/v1/kv/default/{HELD}?timeout=60") as asked:
            async with asyncio.timeout(20):
                while cache.reads["own_read"] + cache.reads["other_read"] < HERD:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert caller.door.admission.requests.taken == 1, "who waits for another's read has no place"
            one.may_answer.set()
            for each in asked:
                await asyncio.wait_for(each.is_over.wait(), 20)
            assert {each.heard[:12] for each in asked} == {b"HTTP/1.1 200"}
        # The node may be asked again meanwhile: a client does that with a read that takes long.
        assert cache.reads == {"memory": 0, "other_read": HERD - 1, "own_read": 1}


async def test_what_is_in_memory_is_answered_when_all_places_are_taken_and_what_is_not_is_refused(
    node: Node,
) -> None:
    one, address = node
    admission = HttpAdmission(requests=room_of_requests(1), cache=ReadCache(60.0))
    async with http_door(address, admission=admission) as caller:
        await caller.ask("PUT", "/v1/kv/default/known", data=b"v")
        assert (await caller.ask("GET", "/v1/kv/default/known")).headers["Cache-Status"].endswith("fwd=miss")
        before = one.waiting
        slow = asyncio.create_task(caller.ask("GET", f"/v1/kv/default/{SLOW}"))
        while one.waiting == before:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        known = await caller.ask("GET", "/v1/kv/default/known")
        assert (known.status, known.headers["Cache-Status"]) == (200, "ringmill; hit")
        refused = await caller.ask("GET", "/v1/kv/default/other")
        assert (refused.status, refused.json["code"]) == (503, "BUSY")
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
