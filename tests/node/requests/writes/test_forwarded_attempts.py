"""Forwarded writes whose owner falls silent: who gets them next, and what their caller hears."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable, from_wire, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.versions.objects import OperationId
from tests.node.one_key import get, put, values
from tests.node.requests.writes.test_writes_in_trouble import outsider_and_owners
from tests.node.small_world import World


async def hear(world: World, outsider: str, owner: str, *, is_heard: bool) -> None:
    """What the owner sends reaches the outsider, or does not; the other way is left open."""
    world.network.link(owner, outsider).is_cut = not is_heard


def coordinator(receipt: QuorumReceipt) -> str:
    return receipt.dot.actor.split("#")[0]


def test_a_write_goes_on_to_the_next_owner_when_one_that_answered_just_now_is_stopped() -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        assert coordinator(await put(world, outsider, b"u")) == owners[0]
        world.loop.pause(world.nodes[owners[0]].process)
        began = world.loop.time()
        receipt = await put(world, outsider, b"v")
        assert coordinator(receipt) == owners[1]
        assert world.loop.time() - began < 1.0
        world.loop.resume(world.nodes[owners[0]].process)
        await world.until(lambda: world.nodes[owners[1]].hints.total == 0)
        assert values(await get(world, outsider, "all")) == [b"v"]

    world.run(story())


def test_a_write_that_an_owner_takes_for_late_goes_on_to_the_next_one() -> None:
    """Its machine stood still for a moment with all its clocks."""
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        for node in world.nodes.values():
            node.clock._booted_s += 1000.0
        assert coordinator(await put(world, outsider, b"u")) == owners[0]
        world.nodes[owners[0]].clock._booted_s -= 10.0
        assert coordinator(await put(world, outsider, b"v")) == owners[1]
        assert values(await get(world, outsider, "all")) == [b"v"]

    world.run(story())


def test_a_write_that_waited_at_an_owner_until_its_time_was_over_goes_to_no_other() -> None:
    world, asked = World(5), list[NodeId]()

    async def busy(node: NodeId, *_: object, **__: object) -> bytes:
        asked.append(node)
        waited = DeadlineExceeded("4.90 s were over before the write was applied anywhere", outcome="failed")
        raise from_wire(to_wire(waited))

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        assert coordinator(await put(world, outsider, b"u")) == owners[0]
        world.nodes[outsider].transport.call = busy  # type: ignore[method-assign, assignment]
        with pytest.raises(DeadlineExceeded) as caught:
            await put(world, outsider, b"v")
        assert (asked, caught.value.outcome) == ([owners[0]], "failed")

    world.run(story())


def test_the_highest_number_of_an_attempt_ends_nobody_when_the_owner_falls_silent() -> None:
    """A client may send it, and whoever forwards the write further counts up."""
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        await put(world, outsider, b"u")
        world.loop.pause(world.nodes[owners[0]].process)
        name = OperationId(7, 1, world.nodes[NodeId(outsider)].hybrid.now())
        receipt = await put(world, outsider, b"v", attempt=2**32 - 1, operation=name)
        assert coordinator(receipt) == owners[1]
        world.loop.resume(world.nodes[owners[0]].process)
        await world.until(lambda: world.nodes[owners[1]].hints.total == 0)
        assert values(await get(world, outsider, "all")) == [b"v"]

    world.run(story())


def test_an_owner_that_has_the_write_and_is_not_heard_answers_through_the_next_one() -> None:
    """Its copy is found by the further attempt, which makes no second one."""
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        first = await put(world, outsider, b"u")
        await hear(world, outsider, owners[0], is_heard=False)
        receipt = await put(world, outsider, b"v")
        assert coordinator(first) == coordinator(receipt) == owners[0]
        await hear(world, outsider, owners[0], is_heard=True)
        assert values(await get(world, outsider)) == [b"v"]

    world.run(story())


def test_the_answer_of_an_owner_that_was_silent_for_a_while_counts() -> None:
    """The others are silent as well, and for longer."""
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        await put(world, outsider, b"u")
        for owner in owners:
            world.loop.pause(world.nodes[owner].process)
        late = asyncio.create_task(put(world, outsider, b"v", level="one"))
        await asyncio.sleep(1.0)
        world.loop.resume(world.nodes[owners[0]].process)
        assert coordinator(await late) == owners[0]
        assert world.loop.time() < 3.0
        for owner in owners[1:]:
            world.loop.resume(world.nodes[owner].process)

    world.run(story())


def test_a_write_whose_owners_are_all_stopped_is_unknown() -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        await put(world, outsider, b"u")
        for owner in owners:
            world.loop.pause(world.nodes[owner].process)
        with pytest.raises(RingmillError) as lost:
            await put(world, outsider, b"v", timeout_s=2)
        assert isinstance(lost.value, DeadlineExceeded | Unavailable)
        assert lost.value.outcome == "unknown"
        for owner in owners:
            world.loop.resume(world.nodes[owner].process)

    world.run(story())


def test_a_slow_owner_that_answers_questions_keeps_its_write() -> None:
    """A disk that takes a second is no silence: nobody else gets the write."""
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        await put(world, outsider, b"u")
        for owner in owners:
            world.nodes[owner].engine.can_sync.clear()
        slow = asyncio.create_task(put(world, outsider, b"v"))
        await asyncio.sleep(1.0)
        for owner in owners:
            world.nodes[owner].engine.can_sync.set()
        assert coordinator(await slow) == owners[0]

    world.run(story())
