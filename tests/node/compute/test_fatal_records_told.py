"""Of a process that ends within map the node tells the record, and an attempt can do without it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, at_record
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.messages.worker_messages import MapAssignment, encode_assignments
from ringmill.cluster.mapreduce.outputs import MapOutput
from tests.node.compute.test_worker import processes_of, until
from tests.node.compute.worker_bench import Bench

TEXT = "fine\nwell\nhere is poison\nlast\n"


def setting_aside(assignment: MapAssignment) -> MapAssignment:
    return replace(assignment, spec=replace(JobSpec.decode(assignment.spec), bad_records=3).encode())


async def test_the_record_at_which_a_process_ends_is_told(bench: Bench) -> None:
    failure = await bench.fails(setting_aside(bench.map_assignment(TEXT, "exit")))
    assert (failure.cause, failure.position, failure.fatal_record) == (Cause.USER_ERROR, at_record(3), 3)


async def test_so_is_that_of_a_process_that_is_killed(bench: Bench) -> None:
    await bench.ask("task.start", encode_assignments([setting_aside(bench.map_assignment(TEXT, "loop"))]))
    await until(lambda: len(processes_of(bench)) == 1)
    await until(lambda: any(each.read_bytes()[:1] == b"\x03" for each in bench.folder.rglob(".at-record")))
    os.kill(int(processes_of(bench)[0]), signal.SIGKILL)
    failure = TaskFailed.from_wire((await bench.reports.get()).failure)
    assert (failure.cause, failure.position) == (Cause.KILLED, at_record(3))


async def test_without_that_record_the_attempt_ends_well(bench: Bench) -> None:
    assignment = setting_aside(bench.map_assignment(TEXT, "exit"))
    split = replace(Split.from_wire(assignment.split), fatal=(3,))
    report = await bench.run(replace(assignment, split=split.to_wire()))
    assert report.kind == "done"
    output = MapOutput.from_wire(report.body)
    assert [part.records for part in output.partitions[2:]] == [1], "it is set aside"
    assert output.counters == {"lines": 3}
    assert not list(bench.folder.rglob(".at-record"))


@pytest.mark.parametrize("mode", ["forge mark", "fifo mark", "long mark", "folder of a mark"])
async def test_a_forged_mark_names_no_record_and_holds_nobody(bench: Bench, mode: str) -> None:
    async with asyncio.timeout(10):
        failure = await bench.fails(setting_aside(bench.map_assignment(TEXT, mode)))
    assert (failure.cause, failure.fatal_record) == (Cause.USER_ERROR, 0)


async def test_of_a_keyspace_none_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobSpec, "has_sure_numbers", lambda *_: False)
    failure = await bench.fails(setting_aside(bench.map_assignment(TEXT, "exit")))
    assert (failure.cause, failure.fatal_record) == (Cause.USER_ERROR, 0)
