"""One connected client for each token; a token that no node knows is told as that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway import clients_by_token
from ringmill.client.gateway.clients_by_token import MOST_OPENING, OPENING_OF_ONE, ClientsByToken
from ringmill.client.gateway.http.http_admission import HttpAdmission, Slot
from ringmill.cluster.errors import DeadlineExceeded, Overloaded, PermissionDenied, RingmillError, Unavailable

GOOD = {"", "good", "other", "third"}


class FakeClient:
    """Connects if its token is good and the cluster is up."""

    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token
        self.registers = SimpleNamespace(get=self._get)

    async def _get(self, _key: bytes) -> None:
        self.world.asked.append(self.token)
        if self.token in self.world.ended:
            raise PermissionDenied("it was revoked", detail={"token": "revoked"})

    async def __aenter__(self) -> FakeClient:
        self.world.opened += 1
        await self.world.may_answer.wait()
        if self.world.is_down or self.world.endpoints_are_down:
            raise Unavailable("none of 3 endpoints answered")
        if self.token not in GOOD and not self.token.startswith("tenant"):
            raise self.world.refusal
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
        self.asked: list[str] = []
        self.ended: set[str] = set()
        self.is_down = False
        self.endpoints_are_down = False
        self.refusal: RingmillError = Unavailable("they proved nothing", detail={"proved": False})
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


async def test_a_good_token_is_not_blamed_when_the_endpoints_are_down_and_other_members_answer() -> None:
    world = World()
    await world.clients.client("")
    world.endpoints_are_down = True
    with pytest.raises(Unavailable, match="none of 3"):
        await world.clients.client("good")


async def test_a_token_that_nodes_refuse_is_blamed_though_another_endpoint_is_silent() -> None:
    world = World()
    world.refusal = DeadlineExceeded("1 of them silent for 5 s", detail={"proved": False})
    with pytest.raises(PermissionDenied):
        await world.clients.client("wrong")
    world.refusal = DeadlineExceeded("3 of them silent for 5 s")
    with pytest.raises(DeadlineExceeded):
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


async def test_a_client_that_is_in_use_is_closed_when_its_last_user_has_left() -> None:
    world = World(most=1)
    async with world.clients.lend("good") as good:
        again = await world.clients.take("good")
        for token in ("other", "third"):
            async with world.clients.lend(token):
                await asyncio.sleep(0)
                assert "good" not in world.closed, "somebody has a request under way"
        assert again is good and world.clients.knows("good")
    await asyncio.sleep(0)
    assert "good" not in world.closed
    world.clients.give_back("good")
    await asyncio.sleep(0)
    open_ones = [token for token in ("good", "other", "third") if token in world.clients._clients]
    assert len(open_ones) == 1 and len(world.closed) == 2


async def test_a_token_that_opens_nothing_has_no_users() -> None:
    world = World()
    with pytest.raises(PermissionDenied):
        await world.clients.take("wrong")
    assert not world.clients._users


async def test_what_goes_on_when_its_caller_has_left_has_its_client_open() -> None:
    ended: list[str] = []
    with Slot(HttpAdmission(), "address") as slot:
        slot.at_end(lambda: ended.append("slot"))
        work = asyncio.create_task(asyncio.sleep(0.01))
        slot.stays_for(work)
    assert not ended
    await work
    await asyncio.sleep(0)
    assert ended == ["slot"]


async def test_strangers_have_few_tokens_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_by_token, "WAIT_S", 0.05)
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


async def test_one_stranger_leaves_room_for_the_tokens_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_by_token, "WAIT_S", 0.05)
    world = World()
    world.may_answer.clear()
    tries = [world.clients.client(f"wrong {n}", "address a") for n in range(OPENING_OF_ONE)]
    trying = [asyncio.ensure_future(each) for each in tries]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await world.clients.client("one more", "address a")
    good = asyncio.ensure_future(world.clients.client("good", "address b"))
    await asyncio.sleep(0)
    world.may_answer.set()
    assert await good
    await asyncio.gather(*trying, return_exceptions=True)
    with pytest.raises(PermissionDenied):
        await world.clients.client("wrong again", "address a")


async def test_tokens_that_were_confirmed_stay_known_when_their_clients_make_room() -> None:
    world = World(most=64)
    for number in range(100):
        await world.clients.client(f"tenant {number}", "address a")
    assert "tenant 0" not in world.clients._clients and world.clients.knows("tenant 0")
    assert not world.clients.knows("never shown")


async def test_known_tokens_wait_for_each_other_and_are_in_no_strangers_way() -> None:
    world = World(most=1)
    tokens = [f"tenant {number}" for number in range(40)]
    for token in tokens:
        await world.clients.client(token, "address a")
    world.may_answer.clear()
    wrong = [
        asyncio.ensure_future(world.clients.client(f"wrong {n}", "address a")) for n in range(OPENING_OF_ONE)
    ]
    again = [asyncio.ensure_future(world.clients.client(token, f"token {token}")) for token in tokens]
    await asyncio.sleep(0)
    world.may_answer.set()
    assert all(await asyncio.gather(*again))
    await asyncio.gather(*wrong, return_exceptions=True)


async def test_strangers_wait_for_each_other_as_when_a_gateway_has_begun_anew() -> None:
    world = World()
    world.may_answer.clear()
    first = [asyncio.ensure_future(world.clients.client(f"tenant {n}", "address a")) for n in range(40)]
    await asyncio.sleep(0)
    world.may_answer.set()
    assert all(await asyncio.gather(*first))


async def test_a_token_that_is_over_is_refused_when_it_is_shown_and_is_a_strangers_from_its_end_on() -> None:
    world = World()
    assert await world.clients.client("tenant 1") and world.clients.knows("tenant 1")
    world.ended |= {"tenant 1", "tenant 2"}
    with pytest.raises(PermissionDenied, match="revoked"):
        await world.clients.client("tenant 2")
    assert not world.clients.knows("tenant 2")
    world.clients.forget("tenant 1")
    with pytest.raises(PermissionDenied, match="revoked"):
        await world.clients.client("tenant 1")
    assert not world.clients.knows("tenant 1")


async def test_a_token_that_was_refused_by_a_clock_that_was_wrong_is_known_again_once_nodes_take_it() -> None:
    world = World()
    first = await world.clients.client("tenant 1")
    world.clients.forget("tenant 1")
    assert await world.clients.client("tenant 1") is first
    assert world.clients.knows("tenant 1")


async def test_nodes_are_asked_once_for_each_time_that_a_token_is_to_be_in_force() -> None:
    world = World()
    for times in (1, 2, 3):
        await world.clients.confirm("tenant 1", "address a")
        assert world.asked == ["tenant 1"] * times
    world.ended.add("tenant 1")
    with pytest.raises(PermissionDenied, match="revoked"):
        await world.clients.confirm("tenant 1", "address a")
    assert len(world.asked) == 4 and not world.clients.knows("tenant 1")
    with pytest.raises(PermissionDenied, match="revoked"):
        await world.clients.confirm("tenant 1", "address a")
    assert len(world.asked) == 5
