"""Attempts of a stint that are stopped, fail or take long: they harm no other, and each is told its own cause
and its own log."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from ringmill.cluster.adapters.processes.task_processes import ForkedTask
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.task_messages import RunAttempt
from ringmill.cluster.mapreduce.messages.worker_messages import Cancel
from ringmill.cluster.ports import TaskProcess
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.stints.stint import Stint
from ringmill.node.compute.task_pool import PooledProcess, TaskPool
from tests.node.compute.stints.test_stint import Stints, scratch
from tests.node.compute.worker_bench import SOURCE, TERM, Bench, once


@pytest.fixture
def stints(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Stints:
    return Stints(bench, monkeypatch)


async def cancel(bench: Bench, task: int) -> None:
    await bench.ask("task.cancel", Cancel("j-1", TERM, AttemptId("map", task, 1)).encode())


def stop_is_called(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    called, stop = asyncio.Event(), Stint.stop

    async def noted(stint: Stint, runner: AttemptRunner) -> None:
        stopping = asyncio.ensure_future(stop(stint, runner))
        await asyncio.sleep(0)
        called.set()
        await stopping

    monkeypatch.setattr(Stint, "stop", noted)
    return called


async def test_one_that_is_stopped_while_it_is_told_of_does_not_kill_the_process(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, finish = stints.bench, ForkedTask.finish_work
    called, cancels = stop_is_called(monkeypatch), list[asyncio.Task[None]]()

    async def slow(task: ForkedTask) -> bytes:
        printed = await finish(task)
        if stints.sizes and not cancels:
            cancels.append(asyncio.create_task(cancel(bench, 1)))
            await called.wait()
        return printed

    monkeypatch.setattr(ForkedTask, "finish_work", slow)
    await stints.order(["b"] * 20)
    reports = await stints.told(19)
    assert {report.kind for report in reports.values()} == {"done"} and 1 not in reports
    await asyncio.gather(*cancels)
    assert "map-1.1" not in scratch(bench), "what it has left is removed"
    assert bench.worker.ended["map", "Cancelled"] == 1


async def test_a_process_that_was_killed_after_its_last_answer_is_not_used_again(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, run = stints.bench, AttemptRunner.run_in_stint
    called, cancels = stop_is_called(monkeypatch), list[asyncio.Task[None]]()

    async def slow(runner: AttemptRunner, process: TaskProcess, attempt: RunAttempt) -> object:
        output = await run(runner, process, attempt)
        if runner.assignment.attempt.task == stints.sizes[0] and not cancels:  # the last of the first stint
            cancels.append(asyncio.create_task(cancel(bench, runner.assignment.attempt.task)))
            await called.wait()
        return output

    killed, kept, kill, give_back = list[TaskProcess](), list[bool](), ForkedTask.kill, TaskPool.give_back

    def kill_noted(task: ForkedTask) -> None:
        killed.append(task)
        kill(task)

    async def noted(pool: TaskPool, pooled: PooledProcess) -> None:
        kept.append(pooled.process in killed)
        await give_back(pool, pooled)

    monkeypatch.setattr(ForkedTask, "kill", kill_noted)
    monkeypatch.setattr(TaskPool, "give_back", noted)
    monkeypatch.setattr(AttemptRunner, "run_in_stint", slow)
    await stints.order(["b"] * 20)
    reports = await stints.told(19)
    assert cancels and killed and not any(kept)
    assert {report.kind for report in reports.values()} == {"done"}
    await asyncio.gather(*cancels)


async def test_one_that_runs_is_not_killed_for_one_that_has_not_begun(stints: Stints) -> None:
    bench = stints.bench
    await stints.order(["poison" if task == 2 else "b" for task in range(8)], "count and wait")
    await stints.told(2)
    async with asyncio.timeout(2):
        await cancel(bench, 3)
    await asyncio.sleep(0.3)
    (bench.folder / "flag").touch()
    assert set(await stints.told(5)) == {2, 4, 5, 6, 7}
    assert (bench.folder / "flag.begun").read_text() == "x"
    assert "map-3.1" not in scratch(bench)


async def test_those_behind_a_long_one_do_not_wait_for_it(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = stints.bench.worker._queue
    await stints.order(["poison" if task == 1 else "b" for task in range(12)], "count and wait")
    await stints.told(1)
    queue.free()  # another slot
    others = await stints.told(9)
    assert stints.sizes[0] > 3 and 1 not in others
    (stints.bench.folder / "flag").touch()
    left = await stints.told(2)
    assert 1 in left and {each.kind for each in (*others.values(), *left.values())} == {"done"}
    assert (stints.bench.folder / "flag.begun").read_text() == "x"
    queue._free -= 1


async def test_those_that_are_done_are_told_though_their_process_began_late(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = ForkedTask.send

    async def to_one_that_is_held_up(task: ForkedTask, message: bytes) -> None:
        if b"stint" in message[:10]:
            os.kill(task.pid, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.35, os.kill, task.pid, signal.SIGCONT)
        await send(task, message)

    monkeypatch.setattr(ForkedTask, "send", to_one_that_is_held_up)
    monkeypatch.setattr(Stint, "_ask_to_leave_off", lambda stint: asyncio.sleep(0))
    await stints.order(["poison" if task == 3 else "b" for task in range(8)], "wait")
    async with asyncio.timeout(5):
        assert set(await stints.told(3)) == {0, 1, 2}
    (stints.bench.folder / "flag").touch()
    await stints.told(5)


async def test_the_end_of_a_process_is_not_told_with_what_others_have_printed(stints: Stints) -> None:
    await stints.order([f"a{task} poison" if task == 3 else "b" for task in range(10)], "say and exit")
    failure = TaskFailed.from_wire((await stints.told(10)).pop(3).failure)
    assert failure.message == "the task process left with exit code 3 before its task was done"


async def test_one_that_prints_much_takes_no_log_of_others(stints: Stints) -> None:
    await stints.order(["a poison" for _ in range(40)], "much")
    reports = await stints.told(40)
    assert max(stints.sizes) > 15
    assert {len(report.output) for report in reports.values()} == {65536}


async def test_those_that_have_printed_much_are_told_early_too(stints: Stints) -> None:
    await stints.order(["poison"] * 12, "much and wait")
    async with asyncio.timeout(8):
        reports = await stints.told(5)
    assert set(reports) == {0, 1, 2, 3, 4}
    (stints.bench.folder / "flag").touch()
    await stints.told(7)


async def test_the_start_of_a_process_counts_as_time_in_the_slot(stints: Stints) -> None:
    bench = stints.bench
    code = build_bundle("trials", {"trials.py": SOURCE + b"\ntime.sleep(1)\n"}.get)
    await bench.worker._bundles.put(code.sha256, once(code.data))
    bench.bundle = code.sha256
    report = await bench.run(bench.map_assignment("b"))
    assert report.ran_s >= 1 > AttemptFigures.from_wire(report.figures).phases["map"]


async def test_a_stint_ends_by_itself_only_after_something_was_done(stints: Stints) -> None:
    await stints.order(["b", "poison", "b", "b", "b", "b"], "rest")
    reports = await stints.told(6)
    failure = TaskFailed.from_wire(reports.pop(1).failure)
    assert failure.cause is Cause.USER_ERROR and "wrote into the task's own pipe" in failure.message
    assert {report.kind for report in reports.values()} == {"done"}


@pytest.mark.parametrize("mode", ["daemon", "daemon ignoring", "leave a child"])
async def test_none_begins_beside_what_one_has_left_behind(
    stints: Stints, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    run, left_off = Stint.run, list[bool]()

    async def noted(stint: Stint) -> None:
        await run(stint)
        left_off.append(stint.has_left_off)

    monkeypatch.setattr(Stint, "run", noted)
    await stints.order(["poison" if task == 3 else "b" for task in range(8)], mode)
    await stints.told(8)
    assert (stints.sizes[0], left_off[0]) == (4, True)


async def test_a_stint_is_put_off_for_clients(stints: Stints) -> None:
    bench, is_busy = stints.bench, [True]
    bench.worker._is_busy = bench.worker._queue._is_busy = lambda: is_busy[0]
    bench.worker._options = replace(bench.worker._options, stint_s=0.05)
    bench.worker._queue._free -= 1
    await stints.order(["b"] * 8)
    await asyncio.sleep(0.05)
    bench.worker._queue.free()
    await asyncio.sleep(0.3)
    async with asyncio.timeout(1):
        await cancel(bench, 2)
    assert stints.sizes == [] and bench.reports.empty()
    is_busy[0] = False
    assert set(await stints.told(7)) == {0, 1, 3, 4, 5, 6, 7}
    assert stints.sizes
