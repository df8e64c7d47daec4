"""How a batch or a pipeline ends when its caller, its client or its own code does: told, soon, and clean."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import Message

from ringmill.client import many_keys
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.many_keys import KeyspaceRequests, raise_first
from ringmill.client.routing.balancing import LeastConnections
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Method
from ringmill.client.routing.router import Router
from ringmill.client.routing.window import WINDOW_BYTES, WINDOW_REQUESTS
from ringmill.cluster.errors import ClientClosed, InvalidArgument
from ringmill.cluster.overload.budget import Budget
from tests.client.routing.test_router import FakeCluster, FakeNode
from tests.client.routing.test_window import (
    ANSWERING,
    KEYS,
    SendingCluster,
    client_of,
    nobody_is_silent,
    owned_by,
    pairs,
    some_turns,
)

PATIENCE_S = 20.0


def fall_silent(cluster: FakeCluster) -> None:
    for node in cluster.nodes.values():
        node.is_silent = True


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError


async def test_a_flush_under_way_and_a_later_one_are_told_that_the_pipeline_has_ended() -> None:
    cluster = SendingCluster()
    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=60) as db:
        fall_silent(cluster)
        batch = db.pipeline()
        left = batch.get("k")
        flush = asyncio.create_task(batch.flush())
        await asyncio.sleep(0.01)
        await batch.aclose()
        with pytest.raises(ClientClosed, match="this pipeline has ended"):
            await flush
        with pytest.raises(ClientClosed, match="this pipeline has ended"):
            await batch.flush()
        assert left.cancelled()
        async with db.pipeline() as other:
            await other.aclose()  # leaving it then has nothing to wait for


async def test_a_pipeline_whose_end_is_cancelled_leaves_no_future_open() -> None:
    cluster = SendingCluster()
    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=60) as db:
        fall_silent(cluster)
        batch = db.pipeline()
        left = batch.get("k")
        noticed = False
        while not noticed:  # the silence, by a timer
            await asyncio.sleep(0.01)
            noticed = "client-batch" in {task.get_name() for task in asyncio.all_tasks()}
        end = asyncio.create_task(batch.aclose())
        await asyncio.sleep(0)
        end.cancel()
        await asyncio.wait([end])
        assert left.cancelled()


@pytest.mark.parametrize("how", ["mget", "mput", "pipeline"])
async def test_what_a_cancelled_caller_no_longer_waits_for_is_taken_back(how: str) -> None:
    cluster = SendingCluster()
    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=60) as db:
        raise_first(await db.mput(pairs()))
        fall_silent(cluster)
        caller = asyncio.create_task(_call(db, how))
        await asyncio.sleep(0.01)
        assert len(ANSWERING) >= 100
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0.01)
        assert not ANSWERING, "a link would still send what waits in its queue"


async def _call(db: AsyncKeyspace, how: str) -> None:
    if how == "mget":
        await db.mget(KEYS)
    elif how == "mput":
        await db.mput(pairs())
    else:
        async with db.pipeline() as batch:
            for key, value in pairs():
                batch.put(key, value)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_balancer_hears_of_the_end_of_what_met_a_silent_node(
    is_cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, balancer = SendingCluster(), LeastConnections()
    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=60, balancer=balancer) as db:
        cluster.owners(KEYS[0].encode())[0].is_silent = True
        batch = asyncio.create_task(db.mget(KEYS))
        if is_cancelled:  # in the turn in which the requests are told
            monkeypatch.setattr(Directory, "fell_silent", lambda *_: batch.cancel())
            with pytest.raises(asyncio.CancelledError):
                await batch
        else:
            assert await batch == [None] * len(KEYS)
        assert [balancer.under_way(address) for address in cluster.nodes] == [0] * len(cluster.nodes)


async def test_a_long_pipeline_of_a_client_that_was_closed_lets_others_run_between() -> None:
    async with client_of(SendingCluster()) as db:
        batch = db.pipeline()
        futures = [batch.get(f"k{number}") for number in range(10 * WINDOW_REQUESTS)]
        db._router.directory.lifetime.close()
        turns = 0
        while not futures[-1].done():
            assert (turns := turns + 1) < 10_000
            await asyncio.sleep(0)
        assert {type(each.exception()) for each in futures} == {ClientClosed} and turns >= 10


async def test_a_bug_in_making_a_request_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(PATIENCE_S), client_of(SendingCluster()) as db:
        for name, call in (("get", lambda: db.mget(KEYS)), ("write", lambda: db.mput(pairs()))):
            monkeypatch.setattr(KeyspaceRequests, name, broken)
            with pytest.raises(ZeroDivisionError):
                await call()
        batch = db.pipeline()
        left = batch.get("k")
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await batch.flush()
        await batch.aclose()
        assert left.cancelled()


async def test_a_bug_in_reading_an_answer_is_raised_and_no_key_is_taken_for_absent(
    monkeypatch: pytest.MonkeyPatch, unheard_errors: list[str]
) -> None:
    async with asyncio.timeout(PATIENCE_S), client_of(SendingCluster()) as db:
        raise_first(await db.mput(pairs()))
        monkeypatch.setattr(many_keys, "item_of", broken)
        with pytest.raises(ZeroDivisionError):
            await db.mget(KEYS)
    assert all("ZeroDivisionError" in told for told in unheard_errors)
    unheard_errors.clear()


async def test_an_exception_of_the_input_passes_as_itself_before_anything_is_sent() -> None:
    cluster = SendingCluster()
    async with client_of(cluster) as db:
        with pytest.raises(ZeroDivisionError):
            await db.mget("k" if number < 700 else broken() for number in range(900))
        with pytest.raises(ZeroDivisionError):
            await db.mput(("k", b"v") if number < 700 else broken() for number in range(900))
    assert cluster.sent == 0


async def test_errors_of_two_items_are_two_objects() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=0.3) as db:
        raise_first(await db.mput(pairs()))
        for node in cluster.nodes.values():
            node.is_listening = False
        outcomes = await db.mput(pairs())
        assert [one.detail["index"] for one in outcomes if isinstance(one, Exception)] == list(range(200))
        assert len({id(one) for one in outcomes}) == len(KEYS)
        assert len({id(one.detail) for one in outcomes if isinstance(one, Exception)}) == len(KEYS)


@pytest.mark.parametrize("kind", [SendingCluster, FakeCluster])
async def test_a_request_earns_its_share_of_the_budgets_once(
    kind: type[FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    earned = Counter[int]()
    monkeypatch.setattr(Budget, "earn", lambda self: earned.update([id(self)]))
    async with client_of(kind(), timeout_s=5) as db:
        await db.get("k", None)
        await db.mget(KEYS)
    assert set(earned.values()) == {len(KEYS) + 1}


async def test_what_reads_bring_back_is_bounded_too() -> None:
    cluster = SendingCluster()
    size = WINDOW_BYTES // 64
    under_way: list[int] = []
    now = 0
    answer = FakeNode.call

    async def counted(self: FakeNode, method: Method[Message], request: Message, timeout_s: float) -> Message:
        nonlocal now
        now += 1
        under_way.append(now)
        try:
            await some_turns()
            return await answer(self, method, request, timeout_s)
        finally:
            now -= 1

    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=60) as db:
        keys = [f"k{number}" for number in range(600)]
        cluster.values = dict.fromkeys([key.encode() for key in keys], bytes(size))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeNode, "call", counted)
            nobody_is_silent(patch)
            raise_first(await db.mget(keys))
            assert max(under_way) <= WINDOW_REQUESTS // 4, "no answer has told yet how large values are"
            assert max(under_way[300:]) <= 70
            under_way.clear()
            cluster.values = dict.fromkeys([key.encode() for key in keys], b"1")
            raise_first(await db.mget(keys))
            assert max(under_way) > WINDOW_REQUESTS // 4, "small ones do not make it narrow"


async def test_items_about_an_unknown_keyspace_are_reported_one_by_one() -> None:
    async with client_of(SendingCluster()) as db:
        router: Router = db._router
        outcomes = await AsyncKeyspace("nope", router, db._operations).mget(KEYS)
        assert {type(one) for one in outcomes} == {InvalidArgument}


async def test_a_dead_nodes_items_keep_the_order_of_a_key() -> None:
    cluster = SendingCluster()
    async with asyncio.timeout(PATIENCE_S), client_of(cluster, timeout_s=10) as db:
        raise_first(await db.mput(pairs()))
        dead = cluster.owners(KEYS[0].encode())[0]
        dead.is_listening = False
        own = owned_by(cluster, dead)
        cluster.writes.clear()
        batch = db.pipeline()
        puts = [batch.put(key, b"%d" % number) for number in range(4) for key in own]
        gets = [batch.get(key) for key in own]
        await batch.flush()
        assert all(put.result().w == 2 for put in puts)
        assert {got.result().value for got in gets} == {b"3"}
    for key in own:
        assert [one.value for one in cluster.writes if one.key == key.encode()] == [b"0", b"1", b"2", b"3"]
