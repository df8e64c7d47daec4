"""What a node may do after a crash: an actor that may have forgotten dots is never used again (rule I4)."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.quorum.receipt import Durability, QuorumReceipt
from tests.node.one_key import read_request, write_request
from tests.node.small_world import World


async def put(world: World, value: bytes, **options: object) -> QuorumReceipt:
    request = write_request("", b"key", value, **options)
    return await world.on("n1", world.nodes["n1"].requests.write(request))


async def get(world: World, at: str) -> list[bytes | None]:
    result = await world.on(at, world.nodes[at].requests.get(read_request(b"key")))
    return [sibling.value for sibling in result.siblings]


@pytest.mark.parametrize("is_orderly", [True, False])
def test_every_start_writes_under_an_actor_of_its_own(is_orderly: bool) -> None:
    world = World()

    async def story() -> None:
        first = await put(world, b"a")
        if is_orderly:
            await world.stop("n1")
        else:
            world.kill("n1")
        await world.start("n1")
        second = await put(world, b"b")
        assert second.dot.actor != first.dot.actor
        assert second.dot.counter == 1

    world.run(story())


def test_two_starts_of_one_number_write_under_different_actors() -> None:
    """A folder that is put back counts its starts again."""
    world = World()

    async def story() -> None:
        first = await put(world, b"a")
        world.kill("n1")
        world.disks[world.names[0]].put_back()
        await world.start("n1")
        second = await put(world, b"b")
        assert second.dot.actor.split(".")[0] == first.dot.actor.split(".")[0]
        assert second.dot.actor != first.dot.actor

    world.run(story())


def test_a_write_after_a_crash_is_not_taken_for_one_that_was_forgotten() -> None:
    assert _seen_after_a_forgotten_write(reuses_actor=False) == [b"new", b"forgotten here"]


def test_with_the_actor_used_again_an_acked_write_is_lost() -> None:
    assert _seen_after_a_forgotten_write(reuses_actor=True) == [b"forgotten here"]


def _seen_after_a_forgotten_write(*, reuses_actor: bool) -> list[bytes | None]:
    """A write in memory at n1 and seen by the others is forgotten by n1, which then writes again."""
    world = World()
    world.disks[world.names[0]].boot = "0" * 16 if reuses_actor else ""

    async def story() -> list[bytes | None]:
        world.nodes["n1"].engine.can_sync.clear()
        await put(world, b"forgotten here", durability="memory", level="all")
        await asyncio.sleep(0.1)
        world.kill("n1")
        if reuses_actor:
            world.disks[world.names[0]].put_back()
        await world.start("n1")
        receipt = await put(world, b"new", is_blind=True, level="all")
        assert {ack.durability for ack in receipt.replicas} == {Durability.SYNCED}
        return await get(world, "n2")

    return world.run(story())
