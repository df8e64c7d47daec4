"""Two owners of three have lost the same range: by the operator's word one heals from the third (H12)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Part, PartKind
from ringmill.node.replica import pages
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, prefix_end
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.membership.test_replacement import incr, lose, replace, until
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_healing import KEYS, fill, fill_and_flush, healed, lose_the_log, same_everywhere


async def both_wait(world: HealingWorld) -> None:
    """n1 and n2 have lost the end of their logs and wait for each other."""
    await fill_and_flush(world)
    for key in KEYS[:5]:
        await incr(world, "n3", key, 1)
    await lose_the_log(world, "n1")
    await world.down("n1")
    await lose_the_log(world, "n2")
    await world.up("n1")
    await until(lambda: all(len(world[name].repair.healing.loss.short) == 16 for name in ("n1", "n2")))
    assert world["n1"].repair.healing.loss.short[world.world.partition(KEYS[0])] == {NodeId("n2")}


def test_a_word_for_one_owner_heals_both() -> None:
    """And keeps what survived on either, and what the third has."""

    async def story(world: HealingWorld) -> None:
        await both_wait(world)
        for _ in range(2):  # a word that is given again changes nothing
            await world.inside("n1", accept(world, "n1", "n2"))
        for name in ("n1", "n2"):
            await healed(world, name)
            assert not world[name].repair.healing.loss.given_up, "the word is over"
        async with asyncio.timeout(120):
            while any(world[name].replica.hints.total for name in ("n1", "n2", "n3")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await same_everywhere(world)
        await world.down("n3")
        for key in KEYS:
            assert await world.get("n1", key) == [b"the last"]
        for key in KEYS[:5]:
            assert await incr(world, "n2", key, 2) == 2

    run(story)


def test_a_word_for_one_owner_does_not_hold_for_another() -> None:
    """n1 is told to heal without n2; n3 is silent, and goes on being waited for, also after a start."""

    async def story(world: HealingWorld) -> None:
        await both_wait(world)
        with pytest.raises(InvalidArgument, match="no damaged partition waits for n3"):
            await world.inside("n1", accept(world, "n1", "n3"))
        await world.down("n3")
        await world.inside("n1", accept(world, "n1", "n2"))
        await asyncio.sleep(30)
        assert world["n1"].repair.healing.unfilled == 16
        await world.down("n1")
        await world.up("n1")
        await world.up("n3")
        await asyncio.sleep(30)
        assert world["n1"].repair.healing.unfilled == 16, "a word ends with the node that was given it"
        with pytest.raises(RingmillError):
            await world.get("n1", KEYS[0])

    run(story)


def test_whoever_waits_with_a_silent_third_is_named_with_it() -> None:
    """n1 and n2 have lost the same, and n3 is gone: a word for n3 alone does not heal."""

    async def story(world: HealingWorld) -> None:
        await both_wait(world)
        await world.down("n3")
        both, healing = {NodeId("n2"), NodeId("n3")}, world["n1"].repair.healing
        await until(lambda: list(healing.loss.short.values()) == [both] * 16)
        await world.inside("n1", accept(world, "n1", "n3"))
        await asyncio.sleep(10)
        assert healing.unfilled == 16
        await world.inside("n1", accept(world, "n1", *both))
        await healed(world, "n1")
        of_n2 = world["n2"].repair.healing.loss
        await until(lambda: list(of_n2.short.values()) == [{NodeId("n3")}] * 16)
        await world.inside("n2", accept(world, "n2", "n3"))
        await healed(world, "n2")

    run(story)


async def accept(world: HealingWorld, name: str, *without: str) -> None:
    world[name].repair.healing.accept_loss([NodeId(each) for each in without])


def test_what_survived_is_kept_when_all_owners_have_lost_the_range() -> None:
    """And a node alone is healed by a word about itself."""

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, b"v")
        await world.inside("n1", world["n1"].replica.engine.flush())
        await world.put("n1", KEYS[0], b"lost")
        await lose_the_log(world, "n1")
        await until(lambda: len(world["n1"].repair.healing.loss.short) == 16)
        await world.inside("n1", accept(world, "n1", "n1"))
        await healed(world, "n1")
        assert [await world.get("n1", key) for key in KEYS] == [[b"v"]] * len(KEYS)

    run(story, nodes=1)


def test_two_lost_disks_of_five_are_filled_by_what_is_left() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(f"n{1 + number % 5}", key, b"v%d" % number, "all")
        disks = {name: await lose(world, name) for name in ("n1", "n2")}
        for name, disk in disks.items():
            await replace(world, "n3", name, disk)
        await until(lambda: all(world[name].repair.healing.loss.short for name in disks))
        await asyncio.sleep(20)
        assert all(world[name].repair.healing.unfilled for name in disks)
        await world.inside("n1", accept(world, "n1", "n2"))
        for name in disks:
            await healed(world, name)
        await world.down("n3")
        for number, key in enumerate(KEYS):
            assert await world.get("n4", key) == [b"v%d" % number]

    run(story, nodes=5)


def test_owners_that_were_not_named_are_waited_for() -> None:
    loss, others = AcceptedLoss(), [NodeId(name) for name in ("b", "c", "d", "e")]
    partition = PartitionId(7)
    part = Part(b"", b"x", PartKind.COPY, partition)
    loss.note(part, Unavailable("", detail={"missing": ["b", "c"]}))
    assert loss.sources_needed(partition, others, 3) == 3
    loss.accept(others[:2])
    assert loss.sources_needed(partition, others, 3) == 2, "both of the others"
    assert loss.are_enough(partition, others[2:], others, 3)
    assert not loss.are_enough(partition, others[1:3], others, 3), (
        "c is back and makes up for none that was not named"
    )
    assert loss.are_enough(partition, others[:3], others, 3), "enough without any word"
    loss.note(part, Unavailable("", detail={"missing": others}))
    loss.accept(others[2:])
    assert loss.are_enough(partition, (), others, 3)
    assert loss.sources_needed(partition, others, 3) == 0


def test_owners_that_were_given_up_for_two_partitions_leave_neither_without_any() -> None:
    """The first is filled from n3 and the second from n2, of which one is silent for a moment then."""
    loss, others = AcceptedLoss(), [NodeId("n2"), NodeId("n3")]
    for number, missing in enumerate(("n2", "n3")):
        part = Part(b"%d" % number, b"%dz" % number, PartKind.COPY, PartitionId(number))
        loss.note(part, Unavailable("", detail={"missing": [missing]}))
    loss.accept(others)
    for partition in (PartitionId(0), PartitionId(1)):
        assert loss.sources_needed(partition, others, 2) == 1
        assert not loss.are_enough(partition, (), others, 2)
        assert loss.are_enough(partition, others[:1], others, 2)


def test_registers_of_a_node_alone_are_damaged_until_a_word_about_itself() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS[:5]):
            await incr(world, "n1", key, number)
        await lose_the_log(world, "n1")  # late in it: the first one is below the damage
        await until(lambda: len(world["n1"].repair.healing.loss.short) == 16)
        await asyncio.sleep(10)
        with pytest.raises(RingmillError, match="may be lost"):
            await incr(world, "n1", KEYS[0], 100)
        await world.inside("n1", accept(world, "n1", "n1"))
        await healed(world, "n1")
        assert await incr(world, "n1", KEYS[0], 101)

    run(story, nodes=1)


def test_a_part_that_waits_in_its_middle_is_not_healed_again_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """n1 has lost all of a partition, and n2, a source of it, the last key of it."""
    monkeypatch.setattr(pages, "PAGE_ITEMS", 1)

    async def story(world: HealingWorld) -> None:
        await fill(world)
        place = {key: world.world.partition(key) for key in KEYS}
        fullest = Counter(place.values()).most_common(1)[0][0]
        copy = Copy(fullest, world.world.row(KEYS[0]).copy_epochs[0])
        keys = sorted(Place(copy, DEFAULT_KEYSPACE, key).stored_key for key in KEYS if place[key] == fullest)
        behind, objects = prefix_end(copy_prefix(copy)), world["n1"].replica.objects
        another = Copy(PartitionId((fullest + 1) % 16), copy.copy_epoch)
        await world.down("n3")  # so that neither is healed before the other is fenced
        await world.inside("n2", world["n2"].replica.engine.fence(keys[-1], behind))
        await world.inside("n1", world["n1"].replica.engine.fence(copy_prefix(copy), behind))
        start = copy_prefix(another)
        await world.inside("n1", world["n1"].replica.engine.fence(start, prefix_end(start)))
        await world.up("n3")
        await until(lambda: world["n1"].repair.healing.loss.short == {fullest: {NodeId("n2")}})
        await asyncio.sleep(5)
        assert world["n1"].replica.engine.corrupt_ranges()[0].start == keys[-2], "a page looks one further"
        assert objects.sums.of(another), "the one that was healed is counted"
        heals = objects.heals
        await asyncio.sleep(20)
        assert objects.heals == heals, "nothing more is written"
        await world.inside("n1", accept(world, "n1", "n2"))
        await healed(world, "n1")
        await healed(world, "n2")
        await same_everywhere(world)

    run(story)


def test_two_damaged_ranges_of_a_partition_wait_for_their_own_owners() -> None:
    loss, partition = AcceptedLoss(), PartitionId(5)
    low, high = (Part(at, at + b"z", PartKind.COPY, partition) for at in (b"a", b"b"))
    loss.note(low, Unavailable("", detail={"missing": ["n2"]}))
    loss.note(high, Unavailable("", detail={"missing": ["n3"]}))
    assert loss.short == {partition: {"n2", "n3"}}
    loss.healed(high)
    assert loss.short == {partition: {"n2"}}
    rest = Part(b"am", low.end, PartKind.COPY, partition)
    loss.note(rest, Unavailable("", detail={"missing": ["n4"]}))  # healed up to there
    assert loss.short == {partition: {"n4"}}, "what was noted of the same keys before is over"
    loss.healed(low)
    assert not loss.short


def test_a_word_is_for_the_damage_that_it_was_given_for() -> None:
    loss, partition, others = AcceptedLoss(), PartitionId(5), [NodeId("n2"), NodeId("n3")]
    part = Part(b"a", b"z", PartKind.COPY, partition)
    loss.note(Part(b"a", b"z", PartKind.COPY, PartitionId(9)), Unavailable("", detail={"missing": ["n4"]}))
    loss.note(part, Unavailable("", detail={"missing": others}))
    loss.accept(others)
    assert loss.are_enough(partition, (), others, 2)
    loss.note(part, Unavailable("", detail={"missing": others}))
    assert loss.are_enough(partition, (), others, 2), "it waits on"
    loss.healed(part)
    assert not loss.are_enough(partition, (), others, 2), "later damage, while both are silent for a moment"


def test_owners_named_one_after_the_other_are_given_up_together_while_both_are_missing() -> None:
    for now_missing, is_given_up in (["n2", "n3"], True), (["n3"], False):
        loss, partition, others = AcceptedLoss(), PartitionId(5), [NodeId("n2"), NodeId("n3")]
        part = Part(b"a", b"z", PartKind.COPY, partition)
        loss.note(part, Unavailable("", detail={"missing": others}))
        loss.accept(others[:1])
        loss.note(part, Unavailable("", detail={"missing": now_missing}))
        loss.accept(others[1:])
        assert loss.are_enough(partition, (), others, 2) == is_given_up
