"""A worker beside what hangs gives back its slots, and a stop ends in the time that it has."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.membership.stop_time import AFTER_CALLS_S, StopTime
from ringmill.cluster.ports import TaskProcess
from ringmill.node.compute import task_pool
from ringmill.node.compute.task_pool import ProcessKind, TaskPool
from tests.node.compute.worker_bench import Bench

LEFT_S = 0.1


class Stuck:
    """A task process that hangs in the kernel: it neither answers nor ends."""

    is_alive, peak_bytes, breach, kills = True, 0, "", 0

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()

    async def start_task(self, **_: Any) -> TaskProcess:
        return cast("TaskProcess", self)

    async def send(self, message: bytes) -> None:
        self.is_asked.set()

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    def kill(self) -> None:
        self.kills += 1

    async def wait(self) -> None:
        await asyncio.Event().wait()

    def output(self) -> bytes:
        return b""


class Ended(Stuck):
    """One that only has not answered yet."""

    async def wait(self) -> None: ...


@pytest.fixture
def hung_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Folders whose removal was begun and does not end."""
    goes_on, begun = threading.Event(), list[str]()

    def remove_tree(path: str) -> None:
        begun.append(path)
        if os.path.exists(path):
            goes_on.wait(10)

    monkeypatch.setattr(bench.worker._files, "remove_tree", remove_tree)
    yield begun
    goes_on.set()


async def stops_in_time(bench: Bench, process: Stuck, *, is_dropped: bool = False) -> None:
    """Stop a worker that runs an attempt, whose job was dropped before if it `is_dropped`."""
    loop, stop_time = asyncio.get_running_loop(), StopTime(SystemClock())
    async with asyncio.timeout(20):
        async with bench.another(spawner=process, stop_time=stop_time) as worker:
            worker._begin([bench.map_assignment("a\n")])
            await process.is_asked.wait()
            if is_dropped:
                worker._drop("j-1")
                await asyncio.sleep(0.02)
            stop_time.begin(AFTER_CALLS_S + LEFT_S)
            begun_at = loop.time()
    assert loop.time() - begun_at < LEFT_S + 5
    assert process.kills, "it ends once the kernel lets it go"


async def test_a_task_process_that_cannot_be_killed_does_not_use_up_a_stop(bench: Bench) -> None:
    await stops_in_time(bench, Stuck())


async def test_nor_does_one_whose_job_was_dropped_before(bench: Bench) -> None:
    await stops_in_time(bench, Stuck(), is_dropped=True)


async def test_nor_do_folders_whose_disk_hangs(bench: Bench, hung_disk: list[str]) -> None:
    await stops_in_time(bench, Ended())
    assert any("/j-1/" in folder for folder in hung_disk)


async def test_nor_do_those_of_a_dropped_job(bench: Bench, hung_disk: list[str]) -> None:
    await stops_in_time(bench, Ended(), is_dropped=True)
    assert any("/j-1/" in folder for folder in hung_disk)


async def test_an_idle_process_that_cannot_be_killed_does_not_either(bench: Bench) -> None:
    stuck, stop_time = Stuck(), StopTime(SystemClock())
    async with asyncio.timeout(20):
        async with bench.another(spawner=stuck, stop_time=stop_time) as worker:
            kind = ProcessKind("bundle")
            await worker._pool.give_back(await worker._pool.take(kind, "/"))
            stop_time.begin(AFTER_CALLS_S)
    assert stuck.kills


async def test_a_process_that_cannot_be_killed_keeps_its_slot_from_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_pool, "END_S", 0.01)
    stuck = Stuck()
    pool = TaskPool(spawner=stuck, slots=1, limits={"family_bytes": 1})
    async with asyncio.timeout(20):
        await pool.give_back(await pool.take(ProcessKind("one"), "/"))
        assert (await pool.take(ProcessKind("another"), "/")).number == 2
        await pool.end(cast("TaskProcess", stuck))
    assert stuck.kills == 2
