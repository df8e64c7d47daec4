"""An HTTP door before a node that keeps every value as a sibling of its own (tests/client/one_node.py)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.http_door import HttpDoor, HttpOptions, Pages
from ringmill.cluster.adapters.os_entropy import OsEntropy

__all__ = ["Caller", "http_door"]


class Caller:
    """Asks the door at `url`, and collects the whole of each answer."""

    def __init__(self, url: str, session: aiohttp.ClientSession, door: HttpDoor) -> None:
        self.url = url
        self.door = door
        self.session = session

    async def ask(self, method: str, path: str, **given: Any) -> Answered:
        async with self.session.request(method, f"{self.url}{path}", **given) as answer:
            return Answered(answer, await answer.read())


class Answered:
    """The status, headers and body of an answer."""

    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def http_door(
    address: str, pages: Sequence[Pages] = (), timeout_s: float = 5.0, **options: Any
) -> AsyncIterator[Caller]:
    """A door on a port that the system chooses, and a caller; both end with the test."""

    def connect(token: str) -> AsyncClient:
        return AsyncClient([address], timeout_s, token, True, finds_token=False)

    clients = ClientsByToken(connect)
    door = HttpDoor(HttpOptions("127.0.0.1", 0, **options), clients, OsEntropy(), pages)
    url = await door.open()
    try:
        async with aiohttp.ClientSession() as session:
            yield Caller(url, session, door)
    finally:
        await door.close(1.0)
        await clients.aclose()
