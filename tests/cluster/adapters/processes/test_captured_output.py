"""What a task prints is read through a pipe that leaves nothing behind."""

from __future__ import annotations

import asyncio
import os

from ringmill.cluster.adapters.processes.captured_output import CapturedOutput


async def test_a_pipe_whose_opening_is_cancelled_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    opening = asyncio.create_task(CapturedOutput().open())
    asyncio.get_running_loop().call_soon(opening.cancel)
    await asyncio.wait([opening])
    assert opening.cancelled()
    await asyncio.sleep(0.01)
    assert os.listdir("/proc/self/fd") == before
