"""Touches over a few nodes: the value stays, its expiry changes, and no acknowledged write is lost."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    QuorumNotReached,
    UnresolvedSiblings,
    WrongEpoch,
)
from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.hybrid_time import ZERO
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.object_store import Written
from ringmill.node.replica.stored_key import Place
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.storage.batch import Batch
from tests.node.one_key import get, put, values, write_request
from tests.node.small_world import World

SPACES = [
    KeyspaceEntry(KeyspaceId(1, 2), "cache", policy="lww"),
    KeyspaceEntry(KeyspaceId(1, 3), "lists", policy="set"),
]


async def touch(world: World, at: str, *, keyspace: str = "", **given: Any) -> QuorumReceipt:
    request: WriteRequest = write_request(keyspace, b"key", b"", is_touch=True, **given)
    return await world.on(at, world.nodes[at].requests.write(request))


def test_a_touch_gives_the_value_another_expiry_and_none() -> None:
    world = World(3)

    async def story() -> None:
        await put(world, "n1", b"v", ttl_ms=60_000)
        await touch(world, "n2", ttl_ms=3_600_000)
        found = await get(world, "n3")
        assert values(found) == [b"v"]
        left_ms = found.siblings[0].expires_at_ms - found.judged_at_ms
        assert 3_590_000 < left_ms <= 3_600_000
        await touch(world, "n3")
        found = await get(world, "n1")
        assert (values(found), found.siblings[0].expires_at_ms, found.judged_at_ms) == ([b"v"], 0, 0)

    world.run(story())


def test_a_touch_keeps_what_its_coordinator_had_missed() -> None:
    world = World(3)

    async def story() -> None:
        await put(world, "n1", b"old")
        world.cut("n1", "n2")
        await put(world, "n2", b"new")  # n2 and n3 have it
        await touch(world, "n1", ttl_ms=60_000)
        world.cut("n1", "n2", is_cut=False)
        assert values(await get(world, "n2", "all")) == [b"new"]

    world.run(story())


def test_what_has_no_value_is_not_found_and_siblings_are_refused() -> None:
    world = World(3)

    async def story() -> None:
        with pytest.raises(NotFound) as missing:
            await touch(world, "n1", ttl_ms=1000)
        assert missing.value.outcome == "failed"
        await put(world, "n1", b"a", is_blind=True)
        await put(world, "n2", b"b", is_blind=True)
        with pytest.raises(UnresolvedSiblings, match="holds 2 values"):
            await touch(world, "n3", ttl_ms=1000)
        await put(world, "n1", None)
        with pytest.raises(NotFound):
            await touch(world, "n2", ttl_ms=1000)

    world.run(story())


def test_a_touch_that_is_sent_again_is_one_write() -> None:
    world = World(3)

    async def story() -> None:
        await put(world, "n1", b"v")
        operation = OperationId(7, 1, ZERO)
        first = await touch(world, "n1", ttl_ms=60_000, operation=operation)
        again = await touch(world, "n2", ttl_ms=60_000, operation=operation, attempt=1)
        assert again.dot == first.dot
        assert values(await get(world, "n3", "all")) == [b"v"]

    world.run(story())


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_touch_that_nobody_knows_is_not_done_again(*, is_replaced: bool) -> None:
    """The second one would keep another client's value under the name of the first, and whatever hides or
    replaces the first would do the same to that value."""
    world = World(3, r=1)

    async def story() -> None:
        await put(world, "n1", b"x", level="all")
        operation = OperationId(7, 1, world.nodes["n1"].hybrid.now())
        for other in ("n2", "n3"):
            world.cut("n1", other)
        with pytest.raises(QuorumNotReached):
            await touch(world, "n1", ttl_ms=60_000, operation=operation, timeout_s=0.05)
        await put(world, "n2", b"y")  # n3 has it, too
        with pytest.raises(DeadlineExceeded, match="an earlier one may have been applied") as again:
            await touch(world, "n2", ttl_ms=60_000, operation=operation, attempt=1)
        assert (again.value.outcome, again.value.detail["earlier"]) == ("unknown", "unknown")
        if is_replaced:
            await put(world, "n1", b"z", level="1")
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        assert {*values(await get(world, "n2", "all"))} == {b"y", b"z" if is_replaced else b"x"}

    world.run(story())


def test_a_node_that_is_not_an_owner_forwards_a_touch() -> None:
    world = World(5)

    async def story() -> None:
        owners = {(await put(world, "n1", b"v")).dot.actor.partition("#")[0]}
        for name in world.names:
            await touch(world, name, ttl_ms=60_000)
            owners.add((await touch(world, name)).dot.actor.partition("#")[0])
        assert len(owners) <= 3
        assert values(await get(world, "n5")) == [b"v"]

    world.run(story())


def test_a_node_that_has_dropped_its_copy_meanwhile_does_not_say_that_there_is_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(3)
    node = world.nodes

    def owns_no_more(partition: PartitionId, row_epoch: Epoch) -> None:
        raise WrongEpoch("owners have changed")

    async def story() -> None:
        await put(world, "n1", b"v", level="all")
        write, objects = node["n1"].objects.write, node["n1"].objects

        async def late(place: Place, *rest: Any) -> Written:
            dropped = Batch()
            dropped.delete(place.stored_key)
            await node["n1"].engine.apply(dropped).synced()
            monkeypatch.setattr(node["n1"].membership.topology, "check_row", owns_no_more)
            return await write(place, *rest)

        monkeypatch.setattr(objects, "write", late)
        with pytest.raises(WrongEpoch) as refused:
            await touch(world, "n1", ttl_ms=1000)
        assert refused.value.outcome == "failed"

    world.run(story())


def test_a_touch_suits_single_values_only() -> None:
    world = World(3, keyspaces=SPACES)

    async def story() -> None:
        requests = world.nodes["n1"].requests
        await world.on("n1", requests.write(write_request("cache", b"key", b"v")))
        await touch(world, "n1", keyspace="cache", ttl_ms=1000)
        with pytest.raises(InvalidArgument, match="keeps sets"):
            await touch(world, "n1", keyspace="lists", ttl_ms=1000)

    world.run(story())
