"""Turns go to those who wait in their order, as far as the share of each caller allows."""

from __future__ import annotations

import asyncio

from ringmill.client.gateway.protection.shared_turns import SharedTurns


async def test_a_caller_with_its_share_waits_behind_nobody_else() -> None:
    turns = SharedTurns(3, 2)
    assert [turns.take_at_once("a") for _ in range(3)] == [True, True, False]
    mine = asyncio.create_task(turns.take("a", 20))
    await asyncio.sleep(0)
    assert turns.take_at_once("b")
    other = asyncio.create_task(turns.take("b", 20))
    await asyncio.sleep(0)
    turns.leave("b")
    assert await other and not mine.done(), "its share is taken"
    turns.leave("a")
    assert await mine
    assert not turns.take_at_once("c"), "all three are taken"


async def test_a_turn_that_was_given_to_whoever_leaves_goes_on() -> None:
    turns = SharedTurns(1, 1)
    assert turns.take_at_once("a")
    assert not await turns.take("b", 0.01), "none in time"
    left, next_one = (asyncio.create_task(turns.take(each, 20)) for each in "bc")
    await asyncio.sleep(0)
    turns.leave("a")
    left.cancel()
    assert await next_one
    turns.leave("c")
    assert turns.take_at_once("d")
