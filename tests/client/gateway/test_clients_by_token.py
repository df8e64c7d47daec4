"""One connected client for each token; a token that no node knows is told as that."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import MOST_OPENING, ClientsByToken
from ringmill.cluster.errors import Overloaded, PermissionDenied, Unavailable

GOOD = {"", "good", "other", "third"}


class FakeClient:
    """Connects if its token is good and the cluster is up."""

    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token

    async def __aenter__(self) -> FakeClient:
        self.world.opened += 1
        await self.world.may_answer.wait()
        if self.world.is_down or self.token not in GOOD:
            raise Unavailable("none of 3 endpoints answered")
        return self

    async def status(self, *, timeout: float) -> None:
        if self.world.is_down:
            raise Unavailable("none of 3 endpoints answered")

    async def aclose(self) -> None:
        self.world.closed.append(self.token)


class World:
    def __init__(self, most: int = 64) -> None:
        self.opened = 0
        self.closed: list[str] = []
        self.is_down = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.clients = ClientsByToken(lambda token: cast("AsyncClient", FakeClient(self, token)), most)


async def test_a_token_has_one_client_however_many_ask_at_once() -> None:
    world = World()
    found = await asyncio.gather(*(world.clients.client("good") for _ in range(50)))
    assert len({id(each) for each in found}) == 1 and world.opened == 1
    await world.clients.aclose()
    assert world.closed == ["good"]
    with pytest.raises(Unavailable, match="stopping"):
        await world.clients.client("good")


async def test_a_token_that_no_node_knows_is_refused_and_a_cluster_that_is_down_is_not_blamed_on_it() -> None:
    world = World()
    with pytest.raises(PermissionDenied, match="no node of the cluster knows this token"):
        await world.clients.client("wrong")
    world.is_down = True
    with pytest.raises(Unavailable, match="none of 3"):
        await world.clients.client("wrong")


async def test_wrong_tokens_push_no_good_one_out() -> None:
    world = World(most=2)
    good = await world.clients.client("good")
    for number in range(100):
        with pytest.raises(PermissionDenied):
            await world.clients.client(f"wrong {number}")
    assert await world.clients.client("good") is good
    await world.clients.client("other")
    await world.clients.client("third")
    await asyncio.sleep(0)
    assert "good" in world.closed and "third" not in world.closed


async def test_strangers_have_few_tokens_tried_at_once() -> None:
    world = World()
    await world.clients.client("good")
    world.may_answer.clear()
    trying = [asyncio.ensure_future(world.clients.client(f"wrong {n}")) for n in range(MOST_OPENING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await world.clients.client("one more")
    assert await world.clients.client("good")
    world.may_answer.set()
    assert all(
        isinstance(each, PermissionDenied) for each in await asyncio.gather(*trying, return_exceptions=True)
    )
