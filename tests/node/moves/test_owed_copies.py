"""A former owner keeps its copy while others may lack what it alone may hold, and brings them that (M6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ring.moves import with_plan
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.node.moves.owed_copies import OwedCopies, Owing
from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.exchange import Exchange
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.stored_key import Copy
from ringmill.simulator.disk.moment import CrashModel
from tests.node.moves.test_new_copies import NAMES, change, get, stored, until
from tests.node.repair.healing_world import HealingWorld, run

NOTHING: Any = None


class Seats:
    """The leaver of a partition, whose joiner reads the two other owners first; and one of its keys."""

    def __init__(self, world: HealingWorld) -> None:
        keys = (b"key%d" % number for number in range(1000))
        self.key = next(key for key in keys if world.world.partition(key) % 3 == 1)
        self.partition = world.world.partition(self.key)
        row = world.world.row(self.key)
        self.leaver, *self.stay = row.whole
        (self.joiner,) = {NodeId(name) for name in NAMES} - {*row.whole}
        self.copy = Copy(self.partition, row.copy_epoch_of(self.leaver))

    def turned(self, topology: Topology, may_be_made: bool) -> Topology | None:
        """The joiner takes the leaver's place."""
        wanted = [row.whole for row in topology.rows]
        wanted[self.partition] = (*self.stay, self.joiner)
        return with_plan(topology, topology.members, wanted)


class Pushes:
    """Former copies cannot be brought to these owners.  No hint has room, and owners are not compared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: set[str] = {*NAMES}
        push = Exchange.push

        async def may_push(exchange: Exchange, copy: Copy, row: Row, peer: NodeId) -> None:
            if peer in self.held:
                raise Unavailable("not now")
            await push(exchange, copy, row, peer)

        async def compare_nothing(anti_entropy: AntiEntropy, *, is_due: bool) -> None:
            return

        monkeypatch.setattr(HintStore, "_is_within_bounds", lambda *_: False)
        monkeypatch.setattr(AntiEntropy, "_round", compare_nothing)
        monkeypatch.setattr(Exchange, "push", may_push)


async def put_at_the_leaver_alone(world: HealingWorld, seats: Seats) -> None:
    for name in seats.stay:
        world.world.nodes[name].pause()
    await world.put(seats.leaver, seats.key, b"v", "one")
    await until(lambda: not world[seats.leaver].repair.anti_entropy.is_done)
    for name in seats.stay:
        world.world.nodes[name].resume()


async def leave(world: HealingWorld) -> Seats:
    """The leaver is no owner any more, and keeps a copy that is owed."""
    seats = Seats(world)
    await put_at_the_leaver_alone(world, seats)
    await change(world, seats.turned)
    await until(lambda: not world.world.topology.is_moving)
    await until(lambda: len(world[seats.leaver].moves.owed_copies) == 1)
    return seats


def test_what_the_leaver_alone_holds_is_brought_before_its_copy_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    pushes = Pushes(monkeypatch)

    async def story(world: HealingWorld) -> None:
        seats = await leave(world)
        moves = world[seats.leaver].moves
        await until(lambda: "not now" in moves.held_back[seats.partition])
        assert await stored(world, seats.leaver, seats.copy) == 1, "nobody else has the write"
        pushes.held.clear()
        await until(lambda: not (len(moves.owed_copies) or moves.held_back))
        for name in (*seats.stay, seats.joiner):
            assert await get(world, name, seats.key, "one") == [b"v"]
        await asyncio.sleep(1.0)
        assert await stored(world, seats.leaver, seats.copy) == 0

    run(story, nodes=4)


def test_a_start_after_a_kill_finds_the_copy_owed_still(monkeypatch: pytest.MonkeyPatch) -> None:
    pushes = Pushes(monkeypatch)

    async def story(world: HealingWorld) -> None:
        seats = await leave(world)
        world.world.nodes[seats.leaver].kill(CrashModel.PREFIX)
        moves = (await world.up(seats.leaver)).moves
        await until(lambda: seats.partition in moves.held_back)
        pushes.held.clear()
        await until(lambda: not len(moves.owed_copies))
        assert await get(world, seats.stay[0], seats.key, "all") == [b"v"]

    run(story, nodes=4)


def test_a_stop_that_leaves_an_owed_copy_behind_is_not_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    Pushes(monkeypatch)

    async def story(world: HealingWorld) -> None:
        seats = await leave(world)
        await world.down(seats.leaver)
        node = await world.up(seats.leaver)
        await until(lambda: len(node.moves.owed_copies) >= 1)

    run(story, nodes=4)


def test_an_owner_that_cannot_take_it_is_waited_for_as_long_as_the_copy_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After that it is enough that one has it: comparing brings it to the others."""
    pushes = Pushes(monkeypatch)

    async def story(world: HealingWorld) -> None:
        seats = await leave(world)
        moves = world[seats.leaver].moves
        pushes.held = {seats.joiner}
        await asyncio.sleep(5.0)
        assert len(moves.owed_copies) == 1 and seats.joiner in moves.held_back[seats.partition]
        await until(lambda: not len(moves.owed_copies))
        assert await get(world, seats.stay[0], seats.key, "one") == [b"v"]

    run(story, nodes=4)


@pytest.mark.parametrize("vouches", [True, False])
def test_no_watermark_passes_what_is_still_to_be_brought(
    vouches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The present owners would take it for something that was deleted and forgotten (P2, P3)."""
    pushes = Pushes(monkeypatch)
    if not vouches:
        monkeypatch.setattr(OwedCopies, "may_owe", lambda owed, partition: False)

    async def story(world: HealingWorld) -> None:
        seats = await leave(world)
        stay = (*seats.stay, seats.joiner)
        await until(
            lambda: not any(world[node].membership.topology.serving_topology().is_moving for node in stay)
        )
        first = min(stay)
        keys = (b"other%d" % number for number in range(1000))
        other = next(key for key in keys if world.world.partition(key) == seats.partition)
        await world.put(first, other, b"v", "all")
        await world.delete(first, other, "all")
        await asyncio.sleep(12.0)
        assert world[first].replica.objects.dead.total == int(vouches)
        if vouches:
            assert "former copy" in world[first].repair.purging.why_kept(seats.partition)
        pushes.held.clear()
        await until(lambda: not len(world[seats.leaver].moves.owed_copies))
        assert await get(world, first, seats.key, "all") == ([b"v"] if vouches else [])
        await until(lambda: not world[first].replica.objects.dead.total)

    run(story, nodes=4, purge=PurgeOptions(after_s=5.0, every_s=0.5, settle_s=1.0))


def test_a_start_that_has_not_looked_yet_may_owe_everything() -> None:
    owed = OwedCopies(NodeId("n1"), Owing(lambda _: False, True, NOTHING), topology=NOTHING, liveness=NOTHING)
    assert owed.may_owe(PartitionId(1)) and owed.may_owe(PartitionId(2))
    owed.find([Copy(PartitionId(1), Epoch(1))])
    assert owed.may_owe(PartitionId(1)) and not owed.may_owe(PartitionId(2))
