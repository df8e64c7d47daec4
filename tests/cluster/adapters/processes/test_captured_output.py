"""What a task prints is read through a pipe that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.processes.captured_output import CapturedOutput
from ringmill.cluster.adapters.processes.task_processes import ForkedTask


async def test_a_pipe_whose_opening_is_cancelled_leaves_no_descriptor() -> None:
    before = _descriptors()
    opening = asyncio.create_task(CapturedOutput().open())
    asyncio.get_running_loop().call_soon(opening.cancel)
    await asyncio.wait([opening])
    assert opening.cancelled()
    await asyncio.sleep(0.01)
    assert not _descriptors() - before


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_task_that_is_waited_for_no_longer_leaves_no_descriptor(is_over: bool) -> None:
    """Its process hangs in the kernel, or is gone while a descendant holds the pipe."""
    before = _descriptors()
    output, owner = CapturedOutput(), cast("Any", None)
    task = ForkedTask(owner, 1, output)
    if is_over:
        task._ended.set_result(0)
    held = await output.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await task.wait()
    await asyncio.sleep(0)
    left = [each for each in _descriptors() - before if "pipe:" in each]
    os.close(held)
    assert len(left) == 1, "the end that the process has"


def _descriptors() -> set[str]:
    """Of the process; what earlier tests have left behind is closed first."""
    gc.collect()
    return {f"{each} {_target(each)}" for each in os.listdir("/proc/self/fd")}


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # the one by which the folder is listed
        return ""
