"""Reports of attempts that have ended: together while others are on their way, again until they have
arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ringmill.cluster.errors import NotFound, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.compute import report_box
from ringmill.node.compute.report_box import ReportBox


def ended(task: int, output: bytes = b"") -> AttemptReport:
    return AttemptReport("j-1", AttemptId("map", task, 1), NodeId("n1"), "1", "done", output=output)


class Coordinator:
    """Takes messages once it is told to; refuses those with the report of task `refused`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: int = -1) -> None:
        monkeypatch.setattr(report_box, "_FIRST_PAUSE_S", 0.001)
        self.box = ReportBox(self.take, asyncio.create_task, lambda: self.known)
        self.ready = asyncio.Event()
        self.refused = refused
        self.silent = 0
        self.known = 0
        self.messages: list[list[int]] = []
        self.kept: list[AttemptReport] = []

    async def take(self, reports: Sequence[AttemptReport]) -> None:
        await self.ready.wait()
        self.messages.append([each.attempt.task for each in reports])
        if self.silent:
            self.silent -= 1
            raise Unavailable("nobody is there", outcome="unknown")
        if any(each.attempt.task == self.refused and each.kind == "done" for each in reports):
            raise ProtocolMismatch("no report")
        self.kept += reports

    async def told(self, reports: Sequence[AttemptReport]) -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for each in reports:
                group.create_task(self.box.deliver(each))
            await asyncio.sleep(0)
            self.ready.set()


async def test_those_that_end_meanwhile_travel_together_and_again_until_they_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n1 = Coordinator(monkeypatch)
    n1.silent = 1
    await n1.told([*map(ended, range(20)), ended(20, b"x" * (report_box._MOST_BYTES + 1))])
    assert n1.messages == [list(range(16)), list(range(16)), [16, 17, 18, 19], [20]]
    assert [each.attempt.task for each in n1.kept] == list(range(21))


async def test_the_one_that_is_refused_is_told_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    n1 = Coordinator(monkeypatch, refused=2)
    await n1.told(list(map(ended, range(4))))
    assert [each.attempt.task for each in n1.kept] == [0, 1, 2, 3]
    assert [each.kind for each in n1.kept] == ["done", "done", "failed", "done"]
    assert "its report was refused" in TaskFailed.from_wire(n1.kept[2].failure).message


async def test_one_that_is_stopped_takes_nothing_of_others_with_it_and_the_end_of_the_job_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n1 = Coordinator(monkeypatch)
    first = asyncio.create_task(n1.box.deliver(ended(0)))
    second = asyncio.create_task(n1.box.deliver(ended(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    n1.ready.set()
    async with asyncio.timeout(5):
        await second
    assert n1.messages == [[0, 1]]

    async def is_over(_: Sequence[AttemptReport]) -> None:
        raise NotFound("the job is over")

    with pytest.raises(NotFound):
        await ReportBox(is_over, asyncio.create_task, lambda: 0).deliver(ended(2))


async def test_reports_of_short_tasks_wait_for_each_other_while_the_worker_has_enough_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report_box, "_GATHER_S", 3600.0)
    n1 = Coordinator(monkeypatch)
    n1.ready.set()
    n1.known = 16  # with those that are reported
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for task in range(7):
            group.create_task(n1.box.deliver(ended(task)))
            for _ in range(3):
                await asyncio.sleep(0)
        assert n1.messages == []
        group.create_task(n1.box.deliver(ended(7)))
    assert n1.messages == [list(range(8))], "then it has only eight to do"
    n1.known = 8
    await n1.told([ended(8)])
    assert n1.messages[1:] == [[8]]


async def test_a_report_waits_for_others_no_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    n1 = Coordinator(monkeypatch)
    n1.known = 100
    await n1.told([ended(0)])
    assert n1.messages == [[0]]
    stopped = asyncio.create_task(n1.box.deliver(ended(1)))
    await asyncio.sleep(0)
    stopped.cancel()
    await asyncio.wait([stopped])
    await n1.told([ended(2)])
    assert n1.messages[1:] == [[2]], "of what was stopped meanwhile nothing is told"
