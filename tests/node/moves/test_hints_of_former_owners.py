"""A hint for an owner that is away goes to the present owners once that one is an owner no longer (H1)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.moves import with_plan
from ringmill.cluster.ring.topology import Topology
from ringmill.node.replica.hinted.hint_codec import Hint
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.stored_key import HintKey
from ringmill.node.storage.engine import Commit
from tests.node.moves.test_new_copies import change, until
from tests.node.repair.healing_world import HealingWorld, run

AWAY, JOINER = NodeId("n3"), NodeId("n4")


def in_its_place(topology: Topology, may_be_made: bool) -> Topology | None:
    """The owner that is away gives its partitions up, and stays a member."""
    wanted = [[JOINER if node == AWAY else node for node in row.whole] for row in topology.rows]
    whole = [
        row.whole if JOINER in row.whole else nodes for row, nodes in zip(topology.rows, wanted, strict=True)
    ]
    return with_plan(topology, topology.members, whole)


def test_hints_for_an_owner_that_is_away_do_not_wait_for_it() -> None:
    async def story(world: HealingWorld) -> None:
        await world.down(AWAY)
        keys = (b"key%d" % number for number in range(1000))
        lost = next(
            key for key in keys if AWAY in (row := world.world.row(key)).whole and JOINER not in row.whole
        )
        kept = next(key for key in keys if {AWAY, JOINER} <= {*world.world.row(key).whole})
        for key in (lost, kept):
            await world.put("n1", key, b"v")
        hints = [world[name].replica.hints for name in ("n1", "n2", JOINER)]
        await until(lambda: sum(each.counts().get(AWAY, 0) for each in hints) == 2)

        await change(world, in_its_place)
        await until(lambda: not world.world.topology.is_moving)
        await until(lambda: all(world.world.partition(lost) not in each.partitions() for each in hints))
        assert sum(each.counts().get(AWAY, 0) for each in hints) == 1, "it is an owner of the other key"

    run(story, nodes=4)


@pytest.mark.parametrize("failure", [CorruptData("a damaged block"), DiskFull("read-only")])
def test_a_hint_that_cannot_be_readdressed_keeps_no_other_waiting(
    failure: RingmillError, monkeypatch: pytest.MonkeyPatch
) -> None:
    readdress = HintStore.readdress
    tried: list[bytes] = []

    async def story(world: HealingWorld) -> None:
        async def damaged(hints: HintStore, key: HintKey, target: NodeId, owners: Sequence[NodeId]) -> None:
            tried.append(key.key)
            if key.key == lost[0]:
                raise failure
            await readdress(hints, key, target, owners)

        await world.down(AWAY)
        keys = (b"key%d" % number for number in range(1000))
        rows = [(key, world.world.row(key).whole) for key in keys]
        lost = [key for key, owners in rows if AWAY in owners and JOINER not in owners][:3]
        for key in lost:
            await world.put("n1", key, b"v")
        hints = world["n1"].replica.hints
        await until(lambda: hints.counts().get(AWAY, 0) == 3)
        monkeypatch.setattr(HintStore, "readdress", damaged)
        await change(world, in_its_place)
        await until(lambda: tried.count(lost[0]) >= 3)
        assert hints.counts()[AWAY] == 1

    run(story, nodes=4)


def test_on_a_full_disk_a_hint_for_a_former_owner_is_delivered_to_the_present_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(hints: HintStore, key: HintKey, hint: Hint) -> Commit:
        raise DiskFull("read-only")

    async def story(world: HealingWorld) -> None:
        await world.down(AWAY)
        keys = (b"key%d" % number for number in range(1000))
        rows = ((key, world.world.row(key).whole) for key in keys)
        lost = next(key for key, owners in rows if {"n1", AWAY} <= {*owners} and JOINER not in owners)
        await world.put("n1", lost, b"v")
        hints, delivery = world["n1"].replica.hints, world["n1"].repair.delivery
        await until(lambda: hints.counts() == {AWAY: 1})
        before = delivery.delivered
        monkeypatch.setattr(HintStore, "_put", refuse)
        await change(world, in_its_place)
        await until(lambda: not hints.total)
        assert delivery.delivered == before + 2, "the joiner and the one that stayed"

    run(story, nodes=4)
