"""The simulated loop: the same seed gives the same run, whatever Python's hash seed."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Stuck, VirtualLoop

ROOT = Path(__file__).resolve().parents[2]


def _tangle(seed: int) -> str:
    """Four processes with task groups, timeouts, sets of tasks, a kill and a pause; hash of what they did."""
    loop = VirtualLoop(stream(seed, "schedule"))
    story: list[tuple[str, int, str, float]] = []

    async def one(name: str, index: int) -> None:
        await asyncio.sleep(0.1 * index)
        story.append((name, index, "slept", loop.time()))
        try:
            async with asyncio.timeout(0.05):
                await asyncio.sleep(1)
        except TimeoutError:
            story.append((name, index, "timed out", loop.time()))

    async def worker(name: str) -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(5):
                group.create_task(one(name, index))

    async def main() -> None:
        processes = [loop.process(f"n{number}") for number in range(4)]
        tasks = [loop.spawn(process, worker(process.name)) for process in processes]
        await asyncio.sleep(0.2)
        loop.kill(processes[0])
        loop.pause(processes[1])
        await asyncio.sleep(5)
        loop.resume(processes[1])
        await asyncio.wait(tasks[1:])

    loop.run_until_complete(main())
    assert loop.unhandled() == []
    return hashlib.sha256(repr(story).encode()).hexdigest()


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    assert _tangle(1) == _tangle(1)
    assert len({_tangle(seed) for seed in range(6)}) > 1


def test_a_run_does_not_depend_on_the_hash_seed_of_python() -> None:
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import test_world_loop as t; print(t._tangle(5))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert outputs == {_tangle(5) + "\n"}


def test_time_jumps_to_the_next_timer() -> None:
    loop = VirtualLoop(stream(1, "schedule"))
    loop.run_until_complete(asyncio.wait_for(_sleep(86_400), None))
    assert loop.time() == 86_400


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_a_run_in_which_nothing_can_happen_any_more_says_so() -> None:
    loop = VirtualLoop(stream(1, "schedule"))
    with pytest.raises(Stuck, match="nothing is ready"):
        loop.run_until_complete(loop.create_future())


def test_a_run_that_waits_for_a_killed_process_while_timers_go_on_says_so() -> None:
    loop = VirtualLoop(stream(1, "schedule"))
    loop.longest_s = 60.0

    async def driver() -> None:
        victim = loop.process("victim")
        waited = loop.spawn(victim, _sleep(1))
        ticking = asyncio.ensure_future(_sleep(61))
        await asyncio.sleep(0.5)
        loop.kill(victim)
        await waited
        ticking.cancel()

    with pytest.raises(Stuck, match="not ended after 61 s"):
        loop.run_until_complete(driver())


def test_nothing_of_a_killed_process_runs_again() -> None:
    loop = VirtualLoop(stream(1, "schedule"))
    heard: list[str] = []

    async def victim() -> None:
        try:
            await asyncio.sleep(1)
            heard.append("woke")
        finally:
            heard.append("cleaned up")

    async def main() -> None:
        process = loop.process("n1")
        loop.spawn(process, victim())
        await asyncio.sleep(0.5)
        loop.kill(process)
        await asyncio.sleep(10)

    loop.run_until_complete(main())
    assert heard == []
