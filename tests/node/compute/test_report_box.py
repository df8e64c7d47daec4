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
        self.box = ReportBox(self.take, asyncio.create_task)
        self.ready = asyncio.Event()
        self.refused = refused
        self.silent = 0
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
    await n1.told([*map(ended, range(36)), ended(36, b"x" * (report_box._MOST_BYTES + 1))])
    assert n1.messages == [list(range(32)), list(range(32)), [32, 33, 34, 35], [36]]
    assert [each.attempt.task for each in n1.kept] == list(range(37))


async def test_the_one_that_is_refused_is_told_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    n1 = Coordinator(monkeypatch, refused=2)
    await n1.told(list(map(ended, range(4))))
    assert [each.attempt.task for each in n1.kept] == [0, 1, 2, 3]
    assert [each.kind for each in n1.kept] == ["done", "done", "failed", "done"]
    assert "its report was refused" in TaskFailed.from_wire(n1.kept[2].failure).message


async def test_a_bug_of_a_coordinator_on_this_node_ends_nothing_but_that_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report_box, "_FIRST_PAUSE_S", 0.001)
    kept: list[AttemptReport] = []

    async def take(reports: Sequence[AttemptReport]) -> None:
        if any(each.attempt.task == 1 and each.kind == "done" for each in reports):
            raise KeyError("no such budget")
        kept.extend(reports)

    box = ReportBox(take, asyncio.create_task)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for each in map(ended, range(3)):
            group.create_task(box.deliver(each))
    assert [(each.attempt.task, each.kind) for each in kept] == [(0, "done"), (1, "failed"), (2, "done")]
    assert "KeyError: 'no such budget'" in TaskFailed.from_wire(kept[1].failure).message


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
        await ReportBox(is_over, asyncio.create_task).deliver(ended(2))
