"""Loops of one period wake together, whenever each of them went to sleep."""

from __future__ import annotations

import asyncio

from ringmill.cluster.beats import next_beat, until_beat_s

EVERY_S = 0.2


async def test_a_beat_is_a_whole_multiple_of_the_period_and_never_close() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(8):
        left_s = until_beat_s(EVERY_S)
        assert EVERY_S / 4 <= left_s + 1e-6 <= 1.25 * EVERY_S + 2e-6
        beats = (loop.time() + left_s) / EVERY_S
        assert abs(beats - round(beats)) < 0.01
        await asyncio.sleep(0.03)


async def test_loops_that_began_at_different_times_wake_together() -> None:
    loop, woken = asyncio.get_running_loop(), list[float]()

    async def look() -> None:
        await next_beat(EVERY_S)
        woken.append(loop.time() / EVERY_S)

    await next_beat(EVERY_S)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(look())
            await asyncio.sleep(EVERY_S / 8)
    assert len({round(each) for each in woken}) == 1
