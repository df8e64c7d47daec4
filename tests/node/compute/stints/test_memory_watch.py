"""A worker that is short of memory begins no attempt; when it is nearly out it ends the newest one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.task_messages import Said
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, Poll, PollAnswer
from ringmill.cluster.ports import MemoryLeft, TaskProcess
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.stints import memory_watch
from ringmill.node.compute.task_pool import PooledProcess, TaskPool
from tests.node.compute.stints.test_stint import Stints, scratch
from tests.node.compute.worker_bench import TERM, Bench

ENOUGH, SHORT, NEARLY_OUT = 4000, 400, 100


@pytest.fixture
def stints(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Stints:
    monkeypatch.setattr("ringmill.cluster.overload.node_memory.LOOK_S", 0.02)
    monkeypatch.setattr("ringmill.cluster.overload.node_memory.HOLD_S", 0.2)
    monkeypatch.setattr("ringmill.node.compute.stints.at_work.LOOK_S", 0.02)
    left_at(bench, ENOUGH)
    return Stints(bench, monkeypatch)


def left_at(bench: Bench, mib: int) -> None:
    bench.worker._memory._read = telling(mib)


def telling(mib: int) -> Callable[[], Sequence[MemoryLeft]]:
    return lambda: [MemoryLeft(mib << 20, 8 << 30)]


async def polled(bench: Bench) -> PollAnswer:
    poll = Poll("j-1", TERM, asks_machine=True, reads_heavy_keys=True, asks_why=True)
    return PollAnswer.decode(await bench.ask("task.poll", poll.encode()))


async def slots(bench: Bench) -> int:
    return (await polled(bench)).slots


def in_processes(bench: Bench) -> list[AttemptRunner]:
    return [each for each in bench.worker._at_work._attempts.values() if each._process is not None]


async def until_running(bench: Bench, count: int) -> None:
    async with asyncio.timeout(20):
        while len(in_processes(bench)) < count:  # noqa: ASYNC110 - nobody tells that one has begun
            await asyncio.sleep(0.01)


async def until_read(bench: Bench) -> None:
    await asyncio.sleep(0.1)
    assert bench.worker._memory.left == bench.worker._memory._read()[0]


def failure(report: AttemptReport) -> TaskFailed:
    assert report.kind == "failed", report.body
    return TaskFailed.from_wire(report.failure)


async def two_that_wait(stints: Stints) -> None:
    """Two attempts that run beside each other until there is the flag, and one that waits."""
    await polled(stints.bench)  # as a coordinator that knows the cause
    stints.bench.worker._queue._free += 1
    await stints.order(["poison", "poison", "b"], "count and wait")
    await until_running(stints.bench, 2)


async def test_what_runs_goes_on_while_memory_is_short_and_nothing_else_begins(stints: Stints) -> None:
    bench = stints.bench
    assert await slots(bench) == 1
    await stints.order(["poison", "b", "b"], "count and wait")
    await until_running(bench, 1)
    left_at(bench, SHORT)
    await until_read(bench)
    answered = await polled(bench)
    assert answered.slots == 0
    assert (answered.why or "").startswith("its machine has 400 MiB of 8192 MiB of memory left")
    assert bench.worker.running == 1
    (bench.folder / "flag").touch()
    reports = await stints.told(3)
    assert reports[0].kind == "done"
    for task in (1, 2):
        given_back = failure(reports[task])
        assert given_back.cause is Cause.NODE_MEMORY
        assert given_back.message == "not begun by n1, which is short of memory"
    assert bench.worker.ended["map", "NodeMemory"] == 2
    left_at(bench, ENOUGH)
    await until_read(bench)
    assert await slots(bench) == 0, "it has not been left for long"
    await asyncio.sleep(0.3)
    assert await slots(bench) == 1


async def test_the_newest_ends_when_memory_is_nearly_out_and_no_other(
    stints: Stints, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = stints.bench
    await two_that_wait(stints)
    left_at(bench, NEARLY_OUT)
    reports = await stints.told(2)
    assert set(reports) == {1, 2}, "the one that waited has not begun"
    ended = failure(reports[1])
    assert ended.cause is Cause.NODE_MEMORY
    assert ended.message == (
        "ended by n1, whose machine had 100 MiB of 8192 MiB of memory left, as its newest task"
    )
    assert "n1: map-1.1 of job j-1 is ended: the machine has 100 MiB" in caplog.text
    await asyncio.sleep(0.2)
    assert bench.worker.running == 1, "its memory has a moment to come back"
    monkeypatch.setattr(memory_watch, "_SETTLE_S", 0.1)
    reports = await stints.told(1)
    assert failure(reports[0]).cause is Cause.NODE_MEMORY
    assert scratch(bench) == []


async def test_a_process_that_waits_for_another_attempt_ends_before_one_that_runs(stints: Stints) -> None:
    bench = stints.bench
    await two_that_wait(stints)
    idle = await bench.worker._pool.spawner.start_task(
        workdir=str(bench.folder), environment={}, limits=bench.worker._pool.limits
    )
    bench.worker._pool._idle.append(_Pooled(idle))  # type: ignore[arg-type]
    left_at(bench, NEARLY_OUT)
    async with asyncio.timeout(10):
        await idle.wait()
    assert bench.worker.running == 2
    await stints.told(2)


async def test_a_process_that_waits_ends_where_nothing_runs(stints: Stints) -> None:
    """Else it could keep the memory for which nothing begins."""
    bench = stints.bench
    await stints.order(["b"])
    await stints.told(1)
    assert bench.worker._pool.has_idle
    async with asyncio.timeout(20):
        while bench.worker._at_work._watching is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        left_at(bench, SHORT)
        while bench.worker._pool.has_idle:  # noqa: ASYNC110 - the janitor tells nobody
            await asyncio.sleep(0.1)


async def test_of_a_stint_the_one_that_runs_is_ended_and_the_rest_is_given_back(stints: Stints) -> None:
    bench = stints.bench
    await polled(bench)
    await stints.order(["poison" if task == 2 else "b" for task in range(6)], "count and wait")
    await stints.told(2)
    await until_running(bench, 1)
    left_at(bench, NEARLY_OUT)
    reports = await stints.told(4)
    assert {failure(report).cause for report in reports.values()} == {Cause.NODE_MEMORY}
    assert "as its newest task" in failure(reports[2]).message
    assert "not begun" in failure(reports[3]).message
    assert reports[2].attempt == AttemptId("map", 2, 1)


async def test_the_one_that_its_process_has_begun_since_is_no_fault_of_its_code(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest was done as it was ended, and the node had not heard that."""
    bench, listen = stints.bench, AttemptRunner._listen
    await polled(bench)

    async def ended_when_done(runner: AttemptRunner, process: TaskProcess) -> Said:
        said = await listen(runner, process)
        if runner.assignment.attempt.task == 2 and said.kind == "done":
            assert runner.end_for(Cause.NODE_MEMORY, "ended by n1")
        return said

    monkeypatch.setattr(AttemptRunner, "_listen", ended_when_done)
    await stints.order(["poison" if task == 3 else "b" for task in range(6)], "count and wait")
    reports = await stints.told(6)
    ended = failure(reports.pop(3))
    assert (ended.cause, ended.message) == (Cause.NODE_MEMORY, "ended by n1")
    assert {report.kind for report in reports.values()} == {"done"}


@pytest.mark.parametrize("count", [1, 6])
async def test_a_process_that_was_ended_after_its_last_answer_is_not_used_again(
    stints: Stints, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Of an attempt by itself, and of a stint."""
    listen, give_back, given_back = AttemptRunner._listen, TaskPool.give_back, list[int]()

    async def ended_when_done(runner: AttemptRunner, process: TaskProcess) -> Said:
        said = await listen(runner, process)
        assert said.kind != "done" or runner.end_for(Cause.NODE_MEMORY, "ended by n1")
        return said

    async def noted(pool: TaskPool, pooled: PooledProcess) -> None:
        given_back.append(pooled.number)
        await give_back(pool, pooled)

    monkeypatch.setattr(AttemptRunner, "_listen", ended_when_done)
    monkeypatch.setattr(TaskPool, "give_back", noted)
    await stints.order(["b"] * count)
    reports = await stints.told(count)
    assert reports[0].kind == "done"
    assert given_back == []


async def test_an_attempt_that_was_ended_is_no_fault_of_its_code_when_its_process_takes_long_to_go(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that waits for a disk, and a machine without memory waits for its disks."""
    bench = stints.bench
    await polled(bench)
    monkeypatch.setattr("ringmill.node.compute.attempt_runner._LAST_WORDS_S", 0.0)
    await stints.order(["poison"], "count and wait")
    await until_running(bench, 1)
    left_at(bench, NEARLY_OUT)
    assert failure((await stints.told(1))[0]).cause is Cause.NODE_MEMORY


async def test_a_node_says_what_it_lacks_to_offer_slots_and_one_that_is_to_have_none_lacks_nothing(
    bench: Bench,
) -> None:
    async with bench.another(is_leaving=lambda: True) as leaving:
        assert (leaving.slots, leaving.lack) == (0, "it is to leave the cluster")
    async with bench.another(slots=0, is_leaving=lambda: True) as without:
        assert (without.slots, without.lack) == (0, "")
    assert (bench.worker.slots, bench.worker.lack) == (1, "")
    bench.worker._pool.is_able = False
    assert (bench.worker.slots, bench.worker.lack) == (0, "it could not start its last task process")


async def test_a_coordinator_of_an_earlier_release_is_told_that_the_attempt_is_lost(stints: Stints) -> None:
    left_at(stints.bench, SHORT)
    await stints.order(["b"])
    given_back = failure((await stints.told(1))[0])
    assert given_back.cause is Cause.LOST_NODE
    assert given_back.message == "not begun by n1, which is short of memory"


class _Pooled:
    """An idle process of another job."""

    def __init__(self, process: object) -> None:
        self.process, self.kind = process, None
