"""An answer that is late is not waited for: one more owner is asked, for a twentieth of the reads at most."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.cluster.ring.topology import KeyspaceEntry
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.node_options import RequestOptions
from ringmill.node.requests.owners.hedging import UNHEDGED, Hedging, Patience
from ringmill.node.requests.request_values import ReadRequest
from tests.node.one_key import get, put, values, write_request
from tests.node.requests.arrivals import asked_by
from tests.node.requests.test_slow_owners import HandClock
from tests.node.small_world import World

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
OPTIONS = RequestOptions()
STALL_S, SAVED = OPTIONS.stall_s, int(OPTIONS.hedges_saved)


def answered(hedging: Hedging, node: NodeId, *times_s: float, rounds: int = 1) -> None:
    for _ in range(rounds):
        for took_s in times_s:
            hedging.answered(node, took_s)


def test_what_is_late_is_learned_from_the_fastest_owner() -> None:
    hedging = Hedging(HandClock(), OPTIONS)
    assert hedging.patience == Patience(STALL_S, STALL_S), "nothing is known yet: no hedge"
    answered(hedging, N2, *[0.012] * 19, 0.07, rounds=5)
    assert hedging.patience == pytest.approx((0.0125, STALL_S)), "one in twenty is late"
    answered(hedging, N2, 0.012, 0.012, 0.012, 0.012, 0.03, rounds=40)
    assert hedging.patience.hedge_s == pytest.approx(0.0325), "one in five is not"
    answered(hedging, N3, 0.001, rounds=100)
    assert hedging.patience.hedge_s == OPTIONS.hedge_floor_s, "another owner would have answered by now"


def test_recent_answers_count_and_an_owner_that_is_gone_does_not() -> None:
    clock = HandClock()
    hedging = Hedging(clock, OPTIONS)
    answered(hedging, N2, 0.001, rounds=2000)
    answered(hedging, N2, 0.02, rounds=200)
    assert 0.02 < hedging.patience.hedge_s < 0.023
    answered(hedging, N3, 0.001, rounds=100)
    clock.now += 100.0
    answered(hedging, N2, 0.02, rounds=100)
    assert 0.02 < hedging.patience.hedge_s < 0.023


def test_where_all_owners_are_late_none_is_replaced_for_that() -> None:
    """So a storm asks no node for twice as much: beyond the budget they are waited for as in overload."""
    hedging = Hedging(HandClock(), OPTIONS)
    answered(hedging, N2, 0.2, rounds=100)
    assert hedging.patience == Patience(STALL_S, UNHEDGED * STALL_S)
    assert hedging.crowded == Patience(UNHEDGED * STALL_S, UNHEDGED * STALL_S)
    answered(hedging, N3, 0.02, rounds=100)
    assert hedging.patience.stall_s == STALL_S, "one that is fast takes the place of one that is silent"
    assert hedging.crowded == pytest.approx((UNHEDGED * 0.0225, UNHEDGED * STALL_S))


def test_hedges_are_a_twentieth_of_the_reads_and_a_few_that_were_saved() -> None:
    hedging = Hedging(HandClock(), OPTIONS)
    hedged = 0
    for _ in range(1000):
        hedging.begun()
        hedged += hedging.may_hedge()
    assert hedged == hedging.hedged
    assert SAVED + 45 <= hedged <= SAVED + 50
    assert hedging.refused == 1000 - hedged
    for _ in range(100_000):
        hedging.begun()
    assert sum(hedging.may_hedge() for _ in range(1000)) == SAVED, "no more are saved in quiet times"


def test_how_long_is_late_is_up_to_the_owner_that_would_be_asked() -> None:
    hedging = Hedging(HandClock(), OPTIONS)
    assert hedging.late_s(N2) == STALL_S
    answered(hedging, N2, 0.001, rounds=100)
    assert hedging.late_s(N2) == hedging.late_s(N3) == OPTIONS.hedge_floor_s
    answered(hedging, N3, 0.021, rounds=100)
    assert hedging.late_s(N2) == OPTIONS.hedge_floor_s
    assert hedging.late_s(N3) == hedging.late_s(NodeId("n9")) == pytest.approx(0.0225)


def test_a_slow_spell_is_forgotten_after_a_while_and_not_after_many_answers() -> None:
    clock = HandClock()
    hedging = Hedging(clock, OPTIONS)
    answered(hedging, N2, 0.2, rounds=200)
    clock.now += 86400.0
    answered(hedging, N2, 0.001, rounds=32)
    assert hedging.patience == Patience(OPTIONS.hedge_floor_s, STALL_S)
    answered(hedging, N2, 0.2, rounds=400)
    assert hedging.patience.stall_s > STALL_S
    for _ in range(240):
        clock.now += 1.0
        hedging.answered(N2, 0.001)
    assert hedging.patience == Patience(OPTIONS.hedge_floor_s, STALL_S)


async def took_s(world: World, at: str = "n1") -> float:
    begun = world.loop.time()
    assert values(await get(world, at)) == [b"v"]
    return world.loop.time() - begun


async def warm(world: World) -> None:
    """One key on all owners, and enough answers to know how long they take."""
    await put(world, "n1", b"v", level="3")
    for _ in range(40):
        await took_s(world)


def spent(world: World) -> Hedging:
    """The hedges of n1, none of which is left."""
    hedging = world.nodes["n1"].requests.hedging
    while hedging.may_hedge():
        pass
    return hedging


def test_a_read_with_a_late_answer_is_as_fast_as_the_next_owner() -> None:
    world = World()

    async def story() -> None:
        await warm(world)
        hedging = world.nodes["n1"].requests.hedging
        fast, slow = 0.0004, 0.06
        for round_ in range(5):
            for name in ("n2", "n3"):
                world.network.link("n1", name).latency_s = (
                    slow if (name == "n2") == (round_ % 2 == 0) else fast
                )
            for _ in range(10):
                assert await took_s(world) < 0.03
            await asyncio.sleep(2.0)
        assert hedging.hedged

    world.run(story())


def test_when_all_are_late_few_reads_ask_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        await warm(world)
        for name in ("n2", "n3"):
            world.network.link("n1", name).latency_s = 0.2
        for _ in range(60):
            await took_s(world)
        asked = asked_by(world.nodes["n1"], monkeypatch)
        for _ in range(100):
            await took_s(world)
        assert 100 <= len(asked) <= 100 + 5 + 1

    world.run(story())


def test_a_stopped_owner_is_replaced_though_no_hedge_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        await warm(world)
        asked = asked_by(world.nodes["n1"], monkeypatch)
        await took_s(world)
        world.cut("n1", asked[0][0])
        hedging = spent(world)
        assert STALL_S <= await took_s(world) < STALL_S + 0.03
        assert hedging.refused > 1

    world.run(story())


def test_what_came_while_the_node_itself_was_held_up_is_not_late() -> None:
    world = World()

    async def story() -> None:
        await warm(world)
        node = world.nodes["n1"]
        reading = asyncio.ensure_future(took_s(world))
        await asyncio.sleep(0.0005)
        world.loop.pause(node.process)
        await asyncio.sleep(0.04)
        world.loop.resume(node.process)
        assert 0.04 <= await reading < 0.045
        assert not node.requests.hedging.hedged

    world.run(story())


def test_a_fallback_is_not_asked_for_an_answer_that_is_merely_late(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = KeyspaceEntry(KeyspaceId(1, 2), "loose", quorum="sloppy")
    world = World(5, keyspaces=[loose])

    async def story() -> None:
        owners = world.topology.owners(world.topology.partition_of(loose.id, b"k"))
        at, other = owners[0], owners[1]
        node = world.nodes[at]
        await world.on(at, node.requests.write(write_request("loose", b"k", b"v", level="3")))
        read = ReadRequest("loose", b"k", ReadOptions("3", 0.0))
        for _ in range(40):
            await world.on(at, node.requests.get(read))
        world.network.link(at, other).latency_s = 0.05
        asked = asked_by(node, monkeypatch)
        for _ in range(3):
            result = await world.on(at, node.requests.get(read))
            assert not result.is_weak
        assert {to for to, _ in asked} == set(owners[1:])
        assert not node.requests.hedging.hedged

    world.run(story())


def test_far_owners_are_not_late_by_the_measure_of_a_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two zones: n1 and one other here, the rest 20 ms away, and a read of three asks one of those."""
    world = World(5, n=5, r=3, w=3)

    async def story() -> None:
        await put(world, "n1", b"v", level="5")
        node = world.nodes["n1"]
        first = asked_by(node, monkeypatch)
        await took_s(world)
        far = {"n2", "n3", "n4", "n5"} - {first[0][0]}
        await put(world, "n1", b"v", level="5")
        for name in far:
            world.network.link("n1", name).latency_s = 0.02
        for _ in range(100):
            await took_s(world)
        hedging = node.requests.hedging
        before = hedging.hedged + hedging.refused
        asked = asked_by(node, monkeypatch)
        for _ in range(400):
            await took_s(world)
        assert hedging.hedged + hedging.refused == before
        world.network.link("n1", next(to for to, _ in asked if to in far)).latency_s = 1.0
        assert await took_s(world) < STALL_S, "one that stands still has a hedge to the next"

    world.run(story())


def test_an_owner_that_is_seen_down_is_not_asked_for_a_late_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        await warm(world)
        node = world.nodes["n1"]
        asked = asked_by(node, monkeypatch)
        await took_s(world)
        near = asked[0][0]
        world.seen("n2" if near == "n3" else "n3", "down")
        world.network.link("n1", near).latency_s = 0.04
        for _ in range(10):
            await took_s(world)
        assert not node.requests.hedging.hedged

    world.run(story())
