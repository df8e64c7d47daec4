"""An owner that answers much more slowly than the others is asked last for a moment, and tried again."""

from __future__ import annotations

from ringmill.cluster.ids import NodeId
from ringmill.node.requests.owners.slow_owners import AVOID_S, SlowOwners
from tests.node.one_key import get, put, values
from tests.node.small_world import World

N2, N3, N4 = NodeId("n2"), NodeId("n3"), NodeId("n4")


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    boottime = wall = monotonic


def test_one_slow_answer_among_fast_ones_is_enough_for_a_moment() -> None:
    clock = HandClock()
    slow = SlowOwners(clock)
    for node in (N2, N3):
        slow.answered(node, 0.001)
    assert not slow.avoided()
    slow.answered(N2, 0.05)
    assert list(slow.avoided()) == [N2]
    clock.now += AVOID_S
    assert not slow.avoided()
    slow.silent([N2], 0.075)
    assert list(slow.avoided()) == [N2]
    slow.answered(N2, 0.002)
    assert not slow.avoided()


def test_when_all_are_slow_none_is_avoided() -> None:
    slow = SlowOwners(HandClock())
    for _ in range(20):
        for node in (N2, N3):
            slow.answered(node, 0.2)
    assert not slow.avoided()


def test_a_node_that_has_left_is_compared_with_nobody() -> None:
    clock = HandClock()
    slow = SlowOwners(clock)
    slow.answered(N2, 0.0003)
    for _ in range(70):
        clock.now += 1.0
        for node in (N3, N4):
            slow.answered(node, 0.012)
    assert not slow.avoided()
    slow.answered(N3, 0.06)
    assert list(slow.avoided()) == [N3], "of those that are left one may be slow"


def test_a_node_that_refuses_at_once_makes_no_other_a_slow_one() -> None:
    slow = SlowOwners(HandClock())
    slow.failed(N2, 0.0001)
    for node in (N3, N4, N3):
        slow.answered(node, 0.012)
    assert not slow.avoided()
    slow.failed(N2, 0.2)
    assert list(slow.avoided()) == [N2]


def test_a_read_beside_a_slow_owner_waits_for_it_once_in_a_while() -> None:
    world = World(3)

    async def story() -> None:
        await put(world, "n1", b"v")
        for _ in range(5):
            await get(world, "n1")
        for name in ("n2", "n3"):
            await get(world, name)
        slow = world.network.link("n1", "n2")
        slow.latency_s = 0.06
        took = []
        for _ in range(20):
            begun = world.loop.time()
            assert values(await get(world, "n1")) == [b"v"]
            took.append(world.loop.time() - begun)
        assert sum(seconds > 0.03 for seconds in took) <= 2, took

    world.run(story())
