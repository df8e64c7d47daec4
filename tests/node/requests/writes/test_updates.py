"""Counters, sets and maps over a few nodes: what is taken, what is refused, and what a split leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import DeadlineExceeded, DiskFull, InvalidArgument, QuorumNotReached
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import Actor, KeyspaceId
from ringmill.cluster.limits import MAX_ENTRIES, MAX_TOTAL
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.mergeable import count_of, elements_of, entries_of
from ringmill.cluster.versions.objects import OperationId, StoredObject
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.requests.request_values import ReadRequest
from tests.node.one_key import write_request
from tests.node.small_world import World

SPACES = [
    KeyspaceEntry(KeyspaceId(1, ordinal), policy, policy=policy)
    for ordinal, policy in enumerate(("counter", "set", "map"), 2)
]


def world_of(nodes: int = 3) -> World:
    return World(nodes, keyspaces=SPACES)


async def update(world: World, at: str, space: str, value: bytes | None = b"", **given: Any) -> QuorumReceipt:
    request = write_request(space, b"key", value, **given)
    requests = world.nodes[at].requests
    return await world.on(at, requests.write(request))


async def shown(world: World, at: str, space: str, level: str = "") -> list[bytes]:
    request = ReadRequest(space, b"key", ReadOptions(level))
    result = await world.on(at, world.nodes[at].requests.get(request))
    return [sibling.value for sibling in result.siblings if sibling.value is not None]


def place_of(world: World, space: str) -> Place:
    home = world.topology.keyspace_named(space).id
    partition = world.topology.partition_of(home, b"key")
    return Place(Copy(partition, world.topology.row(partition).copy_epochs[0]), home, b"key")


async def add_others(world: World, more: int) -> None:
    """Elements beside the only one of the set, on every node, as another node would have added them.

    In one object, as each addition that a node takes reads and writes all elements before it.
    """
    place = place_of(world, "set")
    held = await world.on("n1", world.nodes["n1"].objects.read(place))
    (first,) = held.siblings
    dots = [Dot(Actor("n9#1.0000000000"), number) for number in range(1, more + 1)]
    others = (
        first._replace(dot=dot, value=b"%d" % dot.counter, operation=OperationId(9, dot.counter, first.time))
        for dot in dots
    )
    filled = StoredObject(held.context.join(VersionVector.of(dots)), (first, *others), held.forgotten)
    for name in world.names:
        await world.on(name, world.nodes[name].objects.apply(place, filled))


def test_additions_at_every_node_add_up() -> None:
    world = world_of(5)

    async def story() -> None:
        for number, name in enumerate(world.names, 1):
            await update(world, name, "counter", amount=number)
        await update(world, "n1", "counter", amount=-3)
        for name in world.names:
            assert count_of(await shown(world, name, "counter")) == 12

    world.run(story())


def test_both_sides_of_a_split_count_and_nothing_is_lost() -> None:
    world = world_of()

    async def story() -> None:
        await update(world, "n1", "counter", amount=1)
        world.cut("n1", "n2")
        await update(world, "n1", "counter", amount=10)
        await update(world, "n2", "counter", amount=100)
        world.cut("n1", "n2", is_cut=False)
        assert count_of(await shown(world, "n3", "counter", "all")) == 111

    world.run(story())


def test_a_removal_removes_what_its_coordinator_had_not_seen() -> None:
    world = world_of()

    async def story() -> None:
        world.cut("n1", "n2")
        await update(world, "n1", "set", entry=b"a")  # n1 and n3 have it
        await update(world, "n2", "set", None, entry=b"a")
        world.cut("n1", "n2", is_cut=False)
        assert elements_of(await shown(world, "n1", "set", "all")) == set()

    world.run(story())


def test_an_entry_is_replaced_by_a_later_one_whose_clock_is_behind() -> None:
    world = world_of()

    async def story() -> None:
        world.nodes["n1"].clock.jump(0.4)
        world.cut("n1", "n2")
        await update(world, "n1", "map", b"first", entry=b"colour")
        await update(world, "n2", "map", b"second", entry=b"colour")
        world.cut("n1", "n2", is_cut=False)
        assert entries_of(await shown(world, "n3", "map", "all")) == {b"colour": b"second"}

    world.run(story())


def test_a_deleted_key_counts_from_zero() -> None:
    world = world_of()

    async def story() -> None:
        await update(world, "n1", "counter", amount=7)
        await update(world, "n1", "counter", None)
        assert await shown(world, "n2", "counter") == []
        await update(world, "n1", "counter", amount=2)
        assert count_of(await shown(world, "n2", "counter")) == 2

    world.run(story())


def test_a_later_attempt_of_an_addition_is_not_counted_and_of_an_element_is() -> None:
    world = world_of()

    async def story() -> None:
        name = OperationId(7, 1, HybridTime(0))
        with pytest.raises(DeadlineExceeded) as caught:
            await update(world, "n1", "counter", amount=1, operation=name, attempt=1)
        assert caught.value.outcome == "unknown"
        assert await shown(world, "n1", "counter") == []
        await update(world, "n1", "set", entry=b"a", operation=name, attempt=1)
        assert await shown(world, "n2", "set") == [b"a"]

    world.run(story())


@pytest.mark.parametrize(
    ("space", "value", "given", "says"),
    [
        ("", b"v", {"entry": b"a"}, "keeps siblings"),
        ("", b"v", {"amount": 1}, "keeps siblings"),
        ("counter", b"v", {}, "policy counter: add to it"),
        ("counter", b"", {"entry": b"a"}, "policy counter: add to it"),
        ("counter", None, {"entry": b"a"}, "policy counter: add to it"),
        ("counter", b"", {"amount": MAX_TOTAL + 1}, "the limit is"),
        ("set", b"v", {"entry": b"a"}, "policy set: add and remove elements"),
        ("set", b"", {}, "policy set: add and remove elements"),
        ("set", b"", {"entry": b"a" * 1025}, "the entry has 1025 bytes, the limit is 1024"),
        ("map", b"v", {}, "policy map: put and remove entries"),
        ("map", b"v", {"entry": b"a", "amount": 1}, "policy map: put and remove entries"),
        ("map", b"v", {"entry": b"a", "is_blind": True}, "takes no context"),
    ],
)
def test_what_does_not_suit_the_keyspace_is_refused(
    space: str, value: bytes | None, given: dict[str, Any], says: str
) -> None:
    world = world_of()

    async def story() -> None:
        with pytest.raises(InvalidArgument, match=says):
            await update(world, "n1", space, value, **given)

    world.run(story())


def test_one_more_entry_than_the_limit_is_refused_and_a_known_one_is_not() -> None:
    world = world_of(3)

    async def story() -> None:
        await update(world, "n1", "set", entry=b"0")
        await add_others(world, MAX_ENTRIES - 2)
        await update(world, "n1", "set", entry=b"the last one")
        with pytest.raises(InvalidArgument, match=f"{MAX_ENTRIES + 1} entries, the limit is {MAX_ENTRIES}"):
            await update(world, "n1", "set", entry=b"one more")
        await update(world, "n1", "set", entry=b"0")
        assert len(await shown(world, "n2", "set")) == MAX_ENTRIES

    world.run(story())


def test_a_set_whose_elements_have_expired_has_room_again() -> None:
    world = world_of(3)

    async def story() -> None:
        await update(world, "n1", "set", entry=b"0", ttl_ms=60_000)
        await add_others(world, MAX_ENTRIES - 1)
        await update(world, "n1", "set", None, entry=b"no such element")
        await asyncio.sleep(61)
        await update(world, "n1", "set", entry=b"new")
        assert await shown(world, "n2", "set") == [b"new"]

    world.run(story())


@pytest.mark.parametrize("ahead", ["n1", "n2"])
def test_two_that_have_started_while_the_third_is_away_still_make_room_where_elements_have_expired(
    ahead: str,
) -> None:
    world = world_of(3)

    async def story() -> None:
        await update(world, "n1", "set", entry=b"0", ttl_ms=60_000)
        await add_others(world, MAX_ENTRIES - 1)
        for name in world.names:
            await world.on(name, world.nodes[name].objects.wait_synced())
            world.kill(name)
        for started in await gather_all(world.start(name) for name in ("n1", "n2")):
            if started.name == ahead:
                started.clock.jump(30.0)
                started.hybrid.accept_jump()
        await asyncio.sleep(35)
        for at in ("n1", "n2"):  # one of the two clocks says that they have expired
            with pytest.raises(InvalidArgument, match="the limit is"):
                await update(world, at, "set", entry=b"early")
        await asyncio.sleep(30)
        await update(world, "n1", "set", entry=b"new")
        await update(world, "n2", "set", entry=b"newer")
        assert {*await shown(world, "n2", "set")} == {b"new", b"newer"}

    world.run(story())


@pytest.mark.parametrize(
    ("space", "value", "given"),
    [("set", b"", {"entry": b"y"}), ("set", None, {"entry": b"y"}), ("map", b"1", {"entry": b"y"})],
)
def test_an_update_removes_nothing_by_a_clock_that_was_compared_with_too_few(
    space: str, value: bytes | None, given: dict[str, Any]
) -> None:
    """Two readings of three are no median: n2 may be as right as n1."""
    world = world_of(3)

    async def story() -> None:
        await update(world, "n1", space, b"" if space == "set" else b"0", entry=b"x", ttl_ms=3_600_000)
        (x,) = await shown(world, "n1", space)
        world.kill("n3")
        world.kill("n2")
        await world.start("n2")
        world.nodes["n2"].clock.jump(7_200.0)
        world.nodes["n2"].hybrid.accept_jump()
        await update(world, "n2", space, value, **given)
        await world.start("n3")
        assert x in await shown(world, "n1", space, "all")
        await asyncio.sleep(3_601)
        assert x not in await shown(world, "n2", space, "all")
        await update(world, "n2", space, value, **given)  # by the clock of all
        held = await world.on("n2", world.nodes["n2"].objects.read(place_of(world, space)))
        assert x not in [sibling.value for sibling in held.siblings]

    world.run(story())


@pytest.mark.parametrize("keyspace_ttl_ms", [0, 10_000])
def test_an_element_that_is_added_again_with_a_ttl_expires_though_its_coordinator_had_missed_it(
    keyspace_ttl_ms: int,
) -> None:
    expiring = KeyspaceEntry(KeyspaceId(1, 2), "set", policy="set", ttl_ms=keyspace_ttl_ms)
    world = World(3, keyspaces=[expiring])

    async def story() -> None:
        world.cut("n1", "n2")
        await update(
            world, "n1", "set", entry=b"e", ttl_ms=60_000 if keyspace_ttl_ms else 0
        )  # n1, n3 have it
        await update(world, "n2", "set", entry=b"e", ttl_ms=0 if keyspace_ttl_ms else 10_000)
        world.cut("n1", "n2", is_cut=False)
        assert elements_of(await shown(world, "n3", "set", "all")) == {b"e"}
        await asyncio.sleep(11)
        assert await shown(world, "n3", "set", "all") == []

    world.run(story())


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_entry_whose_newest_put_has_expired_is_gone_though_an_older_put_is_left(is_changed: bool) -> None:
    world = world_of(3)

    async def story() -> None:
        world.nodes["n2"].clock.jump(0.2)
        await gather_all(  # neither knows of the other
            [
                update(world, "n1", "map", b"older", entry=b"colour"),
                update(world, "n2", "map", b"newer", entry=b"colour", ttl_ms=10_000),
            ]
        )
        place = place_of(world, "map")
        assert len((await world.on("n3", world.nodes["n3"].objects.read(place))).siblings) == 2
        assert entries_of(await shown(world, "n3", "map", "all")) == {b"colour": b"newer"}
        await asyncio.sleep(11)
        assert await shown(world, "n3", "map", "all") == []
        if is_changed:  # which takes what has expired away
            await update(world, "n3", "map", b"of another entry", entry=b"size")
            assert set(entries_of(await shown(world, "n1", "map", "all"))) == {b"size"}

    world.run(story())


def test_a_map_does_not_grow_beyond_the_limit_by_larger_values() -> None:
    world = world_of(3)
    large = bytes(1 << 20)

    async def story() -> None:
        for number in range(5):
            await update(world, "n1", "map", b"small", entry=b"%d" % number)
        for number in range(3):
            await update(world, "n1", "map", large, entry=b"%d" % number)
        with pytest.raises(InvalidArgument, match="the limit is 4194304 bytes"):
            for number in range(3, 5):
                await update(world, "n1", "map", large, entry=b"%d" % number)
        await update(world, "n1", "map", None, entry=b"0")
        await update(world, "n1", "map", b"smaller", entry=b"1")
        assert entries_of(await shown(world, "n2", "map"))[b"1"] == b"smaller"

    world.run(story())


def test_a_count_has_no_ttl() -> None:
    world = world_of()

    async def story() -> None:
        with pytest.raises(InvalidArgument, match="an addition has no ttl"):
            await update(world, "n1", "counter", amount=1, ttl_ms=1000)

    world.run(story())


def test_a_later_attempt_that_cannot_ask_what_it_replaces_is_unknown() -> None:
    everywhere = [KeyspaceEntry(KeyspaceId(1, 2), "map", policy="map", r=3, w=1)]
    world = World(3, keyspaces=everywhere)

    async def story() -> None:
        world.cut("n1", "n3")
        name = OperationId(7, 1, HybridTime(0))
        with pytest.raises(QuorumNotReached) as first:
            await update(world, "n1", "map", b"v", entry=b"e", operation=name, timeout_s=0.5)
        with pytest.raises(QuorumNotReached) as second:
            await update(world, "n1", "map", b"v", entry=b"e", operation=name, attempt=1, timeout_s=0.5)
        assert (first.value.outcome, second.value.outcome) == ("failed", "unknown")

    world.run(story())


@pytest.mark.parametrize(("attempt", "outcome"), [(0, "failed"), (1, "unknown")])
def test_a_disk_that_is_full_as_others_are_asked_leaves_a_later_attempt_unknown(
    attempt: int, outcome: str
) -> None:
    """An earlier one may have been applied by an owner that is cut off."""
    world = world_of(3)

    async def story() -> None:
        world.cut("n1", "n2")
        await update(world, "n2", "set", entry=b"x")  # n2 and n3 have it
        world.nodes["n1"].engine.is_full = True
        world.cut("n1", "n2", is_cut=False)
        name = OperationId(7, 1, world.nodes["n1"].hybrid.now())
        with pytest.raises(DiskFull) as caught:
            await update(world, "n1", "set", None, entry=b"x", operation=name, attempt=attempt)
        assert caught.value.outcome == outcome

    world.run(story())
