"""What a task prints is read through a pipe that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os

from ringmill.cluster.adapters.processes.captured_output import CapturedOutput


async def test_a_pipe_whose_opening_is_cancelled_leaves_no_descriptor() -> None:
    before = _descriptors()
    opening = asyncio.create_task(CapturedOutput().open())
    asyncio.get_running_loop().call_soon(opening.cancel)
    await asyncio.wait([opening])
    assert opening.cancelled()
    await asyncio.sleep(0.01)
    assert not _descriptors() - before


def _descriptors() -> set[str]:
    """Of the process; what earlier tests have left behind is closed first."""
    gc.collect()
    return {f"{each} {_target(each)}" for each in os.listdir("/proc/self/fd")}


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # the one by which the folder is listed
        return ""
