"""Batches and pipelines over real connections, async and blocking, with and without a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ringmill.client.blocking import Client
from ringmill.client.connection import connect
from ringmill.client.many_keys import raise_first
from ringmill.cluster.errors import (
    ClientClosed,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    QuorumNotReached,
)
from tests.client.one_node import SLOW, OneNode

Node = tuple[OneNode, str]
WAYS: tuple[dict[str, Any], ...] = ({}, {"session": False}, {"transport": "tcp"})
COUNT = 1_200  # more than one window


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    given: dict[str, Any] = request.param
    return given


def pairs(prefix: str) -> Iterator[tuple[str, bytes]]:
    return ((f"{prefix}{number}", b"%d" % number) for number in range(COUNT))


async def test_what_was_put_in_a_batch_is_got_in_a_batch(node: Node, way: dict[str, Any]) -> None:
    async with connect(node[1], timeout=20, **way) as db:
        raise_first(await db.mput(pairs("a")))
        found = raise_first(await db.mget([*(key for key, _ in pairs("a")), "nope"]))
        assert [one.value for one in found if one] == [value for _, value in pairs("a")]
        assert found[-1] is None
        batch = db.pipeline()
        items = await asyncio.gather(*[batch.get(key) for key, _ in pairs("a")])
        assert [one.value for one in items] == [value for _, value in pairs("a")]


async def test_a_batch_of_an_unconnected_client_connects(node: Node, way: dict[str, Any]) -> None:
    db = connect(node[1], timeout=20, **way)
    raise_first(await db.mput({"b": b"1"}))
    assert [one.value for one in raise_first(await db.mget(["b"])) if one] == [b"1"]
    await db.aclose()


async def test_each_item_has_its_own_outcome_and_deadline(node: Node, way: dict[str, Any]) -> None:
    async with connect(node[1], timeout=20, **way) as db:
        fine, late = await db.mput([("c", b"1"), (SLOW, b"2")], timeout=0.3)
        assert not isinstance(fine, Exception)
        assert isinstance(late, DeadlineExceeded) and late.outcome == "unknown" and late.detail["index"] == 1
        outcomes = await db.mput({"c": b"1", "d": b"2"}, w=3)
        assert [type(one) for one in outcomes] == [QuorumNotReached, QuorumNotReached]
        with pytest.raises(QuorumNotReached):
            raise_first(outcomes)


async def test_closing_tells_every_item(node: Node, way: dict[str, Any]) -> None:
    db, before = connect(node[1], timeout=30, **way), node[0].waiting
    batch = db.pipeline()
    futures = [batch.put(SLOW if number == 0 else f"e{number}", b"v") for number in range(20)]
    read = batch.get(SLOW)  # behind the put
    async with asyncio.timeout(20):
        while node[0].waiting == before:  # noqa: ASYNC110 - it is counted in another thread
            await asyncio.sleep(0.01)
        await asyncio.gather(*futures[1:])
        await db.aclose()
        with pytest.raises(ClientClosed) as sent:
            await futures[0]
        with pytest.raises(ClientClosed) as unsent:
            await read
    assert (sent.value.outcome, unsent.value.outcome) == ("unknown", "failed")


def test_the_blocking_twin_does_the_same(node: Node, way: dict[str, Any]) -> None:
    with Client(node[1], timeout=20, **way) as db:
        raise_first(db.mput(pairs("f")))
        copied = db.mput((f"g{number}", db.get(f"f{number}").value) for number in range(3))
        assert len(raise_first(copied)) == 3
        assert [one.value for one in raise_first(db.mget(["g0", "g2"])) if one] == [b"0", b"2"]
        with db.pipeline() as batch:
            put, got = batch.put("h", b"1"), batch.get("h")
            assert got.result(20).value == b"1"
            others = [batch.get(key) for key, _ in pairs("f")]
            absent, missing = batch.get("nope", None), batch.get("nope")
            with pytest.raises(InvalidArgument, match="key is empty"):
                batch.get("")
        assert put.result().w == 1 and absent.result() is None
        assert [each.result().value for each in others] == [value for _, value in pairs("f")]
        with pytest.raises(NotFound):
            missing.result()
        with pytest.raises(ClientClosed, match="this pipeline has ended"):
            batch.put("h", b"1")
        left = db.pipeline()
    for call in (
        lambda: db.mget(["h"]),
        lambda: db.mput({"h": b"1"}),
        lambda: left.put("h", b"1"),
        left.flush,
    ):
        with pytest.raises(ClientClosed):
            call()
