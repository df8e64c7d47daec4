"""What a task prints is read through a pipe that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.processes.captured_output import CapturedOutput
from ringmill.cluster.adapters.processes.task_processes import ForkedTask
from tests.traced_memory import TracedMemory


async def test_a_pipe_whose_opening_is_cancelled_leaves_no_descriptor() -> None:
    before = _descriptors()
    opening = asyncio.create_task(CapturedOutput().open())
    asyncio.get_running_loop().call_soon(opening.cancel)
    await asyncio.wait([opening])
    assert opening.cancelled()
    async with asyncio.timeout(30):
        while _descriptors() - before:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


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


async def test_of_what_several_attempts_print_the_last_of_each_is_kept() -> None:
    output, mark = CapturedOutput(b"[mark]"), b"[mark]"
    printed = [b"%d " % number + bytes(100 * number) for number in range(50)]
    output.data_received(mark.join(printed))
    assert output.tail() == mark.join(printed[-33:])


async def test_marks_without_end_are_not_taken_apart() -> None:
    """A job's code can find the mark of its stint, and print nothing else."""
    output, megabyte = CapturedOutput(b"m" * 16), b"m" * (1 << 20)
    with TracedMemory() as memory:
        for _ in range(4):
            output.data_received(megabyte)
    assert memory.peak_bytes < 8 << 20
    assert output.tail() == b"m" * 16 * 32


def _descriptors() -> set[str]:
    """Of the process; what earlier tests have left behind is closed first.

    Without the one by which the folder is listed: it has another number each time that a lower one is free.
    """
    gc.collect()
    targets = {each: _target(each) for each in os.listdir("/proc/self/fd")}
    return {f"{each} {target}" for each, target in targets.items() if target}


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""
