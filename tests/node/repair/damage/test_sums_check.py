"""Sums of copies are made anew now and then: right ones stay, a wrong one is found and mended (H10)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ringmill.cluster.ids import Epoch
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_exchange import KEYS, until


def copy_of(world: HealingWorld, key: bytes) -> Copy:
    return Copy(world.world.partition(key), Epoch(1))


def test_right_sums_are_found_right_also_while_the_copy_changes() -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS[:60]:
            await world.put("n1", key, b"v", "all")
        check, objects = world["n1"].repair.sums, world["n1"].replica.objects
        check._options = replace(check._options, count_slice=1)
        await until(lambda: objects.sums.of(copy_of(world, KEYS[0])) is not None)
        before = objects.counts
        for key in KEYS[:5]:
            asked = asyncio.ensure_future(world.inside("n1", check.check(copy_of(world, key))))
            for other in KEYS[:60]:
                if world.world.partition(other) == world.world.partition(key):
                    await world.put("n1", other, b"newer", "all")
            assert await asked is True
        assert (check.checked, check.wrong, objects.counts) == (5, 0, before)

    run(story)


def test_a_sum_that_has_missed_a_change_is_found_and_all_are_made_anew() -> None:
    async def story(world: HealingWorld) -> None:
        key = KEYS[0]
        await world.put("n1", key, b"v", "all")
        check, objects, copy = world["n1"].repair.sums, world["n1"].replica.objects, copy_of(world, key)
        await until(lambda: objects.sums.of(copy) is not None)
        right = objects.sums.of(copy)
        objects.sums.change(
            Place(copy, DEFAULT_KEYSPACE, b"x").stored_key, None, b"an object that is not stored"
        )
        assert await world.inside("n1", check.check(copy)) is False
        assert check.wrong == 1
        await until(lambda: objects.sums.of(copy) is not None)
        assert right is not None and objects.sums.of(copy).root == right.root  # type: ignore[union-attr]
        assert await world.inside("n1", check.check(copy)) is True

    run(story)


def test_each_copy_has_its_turn() -> None:
    async def story(world: HealingWorld) -> None:
        check = world["n1"].repair.sums
        check._every_s = 32.0
        await until(
            lambda: world["n1"].replica.objects.is_counted and not world["n1"].repair.keyspaces.waiting
        )
        turns = asyncio.ensure_future(world.inside("n1", check.run()))
        await until(lambda: check.checked >= world.world.options.partitions)
        assert check.wrong == 0
        turns.cancel()

    run(story)
