"""Loops of one period wake together, whenever each of them went to sleep."""

from __future__ import annotations

import asyncio

from ringmill.cluster.beats import next_beat, until_beat_s
from tests.client.routing.conftest import ImpatientLoop

EVERY_S = 0.2


def test_a_beat_is_a_whole_multiple_of_the_period_and_never_close() -> None:
    async def look() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(8):
            left_s = until_beat_s(EVERY_S)
            assert EVERY_S / 4 <= left_s + 1e-6 <= 1.25 * EVERY_S + 2e-6
            beats = (loop.time() + left_s) / EVERY_S
            assert abs(beats - round(beats)) < 1e-6
            await asyncio.sleep(0.03)

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        runner.run(look())


def test_loops_that_began_at_different_times_wake_together() -> None:
    woken = list[float]()

    async def look() -> None:
        await next_beat(EVERY_S)
        woken.append(asyncio.get_running_loop().time() / EVERY_S)

    async def three() -> None:
        await next_beat(EVERY_S)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(look())
                await asyncio.sleep(EVERY_S / 8)

    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        runner.run(three())
    assert len({round(each, 6) for each in woken}) == 1
