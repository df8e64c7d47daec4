"""The simulated loop: the same seed gives the same run, whatever Python's hash seed."""

import asyncio
import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Stuck, VirtualLoop

ROOT = Path(__file__).resolve().parents[2]


def _drawing(seed: int) -> VirtualLoop:
    """A loop that draws the order of callbacks, too."""
    return VirtualLoop(stream(seed, "schedule"), stream(seed, "callbacks"))


def _tangle(seed: int, *, is_drawn: bool = False) -> str:
    """Four processes with task groups, timeouts, sets of tasks, a kill and a pause; hash of what they did."""
    loop = _drawing(seed) if is_drawn else VirtualLoop(stream(seed, "schedule"))
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
    for is_drawn in (False, True):
        assert _tangle(1, is_drawn=is_drawn) == _tangle(1, is_drawn=is_drawn)
        assert len({_tangle(seed, is_drawn=is_drawn) for seed in range(6)}) > 1


def test_a_run_does_not_depend_on_the_hash_seed_of_python() -> None:
    here = str(Path(__file__).parent)
    tangles = "t._tangle(5), t._tangle(5, is_drawn=True)"
    code = f"import sys; sys.path.insert(0, {here!r}); import test_world_loop as t; print({tangles})"
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
    assert outputs == {f"{_tangle(5)} {_tangle(5, is_drawn=True)}\n"}


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


@pytest.mark.parametrize(("error", "is_told"), [(KeyError("a bug"), True), (Unavailable("no node"), False)])
def test_a_task_that_a_bug_has_ended_is_told_while_somebody_still_holds_it(
    error: Exception, is_told: bool
) -> None:
    """Python itself tells of it when it is collected, and no run waits for that."""
    loop = VirtualLoop(stream(1, "schedule"))

    async def fail() -> None:
        raise error

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        return task

    task = loop.run_until_complete(main())
    assert [each["exception"] for each in loop.unhandled()] == ([error] if is_told else [])
    assert task.exception() is error
    assert loop.unhandled() == [], "somebody has heard of it"


def test_what_a_killed_process_had_raised_is_not_told() -> None:
    loop = VirtualLoop(stream(1, "schedule"))
    kept: list[asyncio.Task[None]] = []

    async def fail() -> None:
        raise OSError("the disk is gone")

    async def victim() -> None:
        kept.append(asyncio.create_task(fail()))
        await asyncio.sleep(10)

    async def main() -> None:
        process = loop.process("n1")
        loop.spawn(process, victim())
        await asyncio.sleep(1)
        assert loop.unhandled() != []
        loop.kill(process)

    loop.run_until_complete(main())
    assert loop.unhandled() == []


def _fail() -> None:
    raise KeyError("a bug")


@pytest.mark.parametrize("delay_s", [None, 1.0])
def test_an_error_of_a_callback_is_told_as_what_it_is(delay_s: float | None) -> None:
    loop = VirtualLoop(stream(1, "schedule"))

    async def main() -> None:
        loop.call_soon(_fail) if delay_s is None else loop.call_later(delay_s, _fail)
        await asyncio.sleep(2)

    loop.run_until_complete(main())
    (told,) = loop.unhandled()
    assert repr(told["exception"]) == "KeyError('a bug')"
    assert "_fail" in told["message"]


def _lost_updates(loop: VirtualLoop) -> int:
    """Two messages, the second 0.3 ms after the first, to a handler that reads, yields, and writes."""
    node = loop.process("n1")
    count = 0

    async def add() -> None:
        nonlocal count
        read = count
        for _ in range(5):
            await asyncio.sleep(0)
        count = read + 1

    async def main() -> None:
        for number in range(2):
            arrive = partial(loop.call_in, node, lambda: asyncio.ensure_future(add()))
            loop.carry(0.1 + 0.0003 * number, f"from client {number}", arrive)
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    return 2 - count


def test_drawn_callbacks_find_a_race_inside_a_process_that_fifo_never_shows() -> None:
    assert {_lost_updates(VirtualLoop(stream(seed, "schedule"))) for seed in range(50)} == {0}
    assert {_lost_updates(_drawing(seed)) for seed in range(50)} == {0, 1}


def test_drawn_callbacks_keep_what_asyncio_promises() -> None:
    """`call_soon` is first in, first out, and so is what comes over one line; nothing that has come since
    breaks into a turn."""
    orders = set()
    for seed in range(50):
        loop = _drawing(seed)
        order = _arrivals_and_soons(loop)
        for promised in (["soon 0", "soon 1", "later"], ["a0", "a1"], ["b0", "b1"]):
            assert [each for each in order if each in promised] == promised
        between = order[order.index("soon 0") : order.index("soon 1")]
        assert between == ["soon 0"]
        orders.add(tuple(order))
    assert {order[0] for order in orders} == {"soon 0", "a0", "b0"}
    assert len(orders) > 10


def _arrivals_and_soons(loop: VirtualLoop) -> list[str]:
    """A process with two callbacks of its own stands still while four messages come over two lines."""
    node = loop.process("n1")
    order: list[str] = []

    def take(what: str) -> None:
        order.append(what)
        if what == "a0":
            asyncio.get_running_loop().call_soon(order.append, "later")

    async def register() -> None:
        for number in range(2):
            loop.call_soon(order.append, f"soon {number}")
        loop.pause(node)

    async def main() -> None:
        loop.spawn(node, register())
        for number, what in enumerate(("a0", "b0", "a1", "b1")):
            arrive = partial(loop.call_in, node, take, what)
            loop.carry(0.1 * (number + 1), f"from {what[0]}", arrive)
        await asyncio.sleep(1)
        loop.resume(node)
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    return order


def _timers(loop: VirtualLoop) -> list[int]:
    """Four that are all due when their process goes on."""
    node = loop.process("n1")
    order: list[int] = []

    async def register() -> None:
        for at, delay_s in enumerate((0.1, 0.1, 0.1008, 0.1012)):
            loop.call_later(delay_s, order.append, at)

    async def main() -> None:
        await loop.spawn(node, register())
        loop.pause(node)
        await asyncio.sleep(1)
        loop.resume(node)
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    return order


def test_drawn_timers_change_places_within_a_millisecond_and_no_further() -> None:
    orders = {tuple(_timers(_drawing(seed))) for seed in range(50)}
    assert all(max(order.index(0), order.index(1)) < order.index(3) for order in orders)
    assert {order[0] for order in orders} == {0, 1, 2}


def test_a_killed_process_takes_its_ready_callbacks_with_it_where_they_are_drawn() -> None:
    loop = _drawing(1)
    order: list[str] = []

    async def main() -> None:
        node = loop.process("n1")
        loop.pause(node)
        loop.call_in(node, order.append, "never")
        loop.kill(node)
        loop.call_in(node, order.append, "never either")
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert order == []
