"""Short maps of one job share a message to their process, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.inputs import SourcePaths
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.cluster.mapreduce.messages.worker_messages import (
    AttemptReport,
    Cancel,
    MapAssignment,
    Poll,
    PollAnswer,
    encode_assignments,
)
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.node.compute.held_job import HeldJob
from ringmill.node.compute.stints.stint import Stint, told_apart
from tests.node.compute.worker_bench import ME, TERM, Bench

CONTAINMENTS = [False] if level_of_kernel().lack else [False, True]


class Stints:
    """How many attempts each stint of a bench had."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.sizes = bench, list[int]()
        run = Stint.run

        async def counted(stint: Stint) -> None:
            self.sizes.append(len(stint.runners))
            await run(stint)

        monkeypatch.setattr(Stint, "run", counted)
        # maps count as short, also on a machine that others use
        monkeypatch.setattr(HeldJob, "note_map", lambda job, ran_s: None)
        monkeypatch.setattr("ringmill.node.compute.stints.stint._LONGEST_S", 60.0)

    async def order(self, texts: Sequence[str], mode: str = "") -> None:
        """A map of each text; the node has found that they are short."""
        orders = []
        for task, text in enumerate(texts):
            path = self.bench.folder / f"input-{task}"
            path.write_text(text)
            (split,) = plan_input([SourcePaths("", "lines", (str(path),))], OsFileSystem()).splits
            spec = replace(
                self.bench.spec(mode),
                inputs=(str(self.bench.folder),),
                params={"mode": mode, "flag": str(self.bench.folder / "flag")},
            )
            attempt = AttemptId("map", task, 1)
            orders.append(MapAssignment("j-1", attempt, TERM, ME, spec.encode(), 1, split.to_wire()))
        self.bench.worker._heard("j-1", ME).usual_s = 0.001
        await self.bench.ask("task.start", encode_assignments(orders))

    async def told(self, count: int) -> dict[int, AttemptReport]:
        """The next reports, by task."""
        async with asyncio.timeout(30):
            reports = [await self.bench.reports.get() for _ in range(count)]
        return {report.attempt.task: report for report in reports}

    async def until_known_are(self, *tasks: int) -> None:
        """An attempt is known for a moment after its report has come."""
        known: set[int] = {-1}
        async with asyncio.timeout(5):
            while known != set(tasks):
                await asyncio.sleep(0.01)
                answer = await self.bench.ask("task.poll", Poll("j-1", TERM).encode())
                known = {attempt.task for attempt in PollAnswer.decode(answer).running}


@pytest.fixture
def stints(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Stints:
    return Stints(bench, monkeypatch)


def scratch(bench: Bench) -> list[str]:
    return sorted(each.name for each in (bench.folder / "scratch" / "j-1").iterdir() if each.is_dir())


@pytest.mark.parametrize("is_contained", CONTAINMENTS)
async def test_each_has_its_own_output_and_figures_and_what_it_printed(
    stints: Stints, *, is_contained: bool
) -> None:
    bench = stints.bench
    bench.worker._options = replace(bench.worker._options, containment=TaskContainment(is_on=is_contained))
    texts = [f"a{task} poison" if task % 2 else "\n" if task == 4 else f"b{task}" for task in range(10)]
    await stints.order(texts, "whisper")
    reports = await stints.told(10)
    assert sum(stints.sizes) >= 7 and stints.sizes[0] == 5, "the first runs while the others wait"
    for task, report in reports.items():
        output, figures = MapOutput.from_wire(report.body), AttemptFigures.from_wire(report.figures)
        assert (report.kind, output.records_in) == ("done", 1), report.failure
        assert report.output == (f"map-{task}.1\n".encode() if task % 2 else b"")
        assert figures.peak_bytes > 1 << 20 and figures.phases["map"] < 5
        folder = f"{bench.folder}/scratch/j-1/map-{task}.1"
        assert output.file.startswith(folder)
        assert bench.worker._files.exists(output.file) == (task != 4), "an empty output is no file"
    await stints.until_known_are()


@pytest.mark.parametrize(
    ("mode", "cause", "words"),
    [("raise", Cause.USER_ERROR, "no such thing"), ("exit", Cause.USER_ERROR, "left with exit code 0")],
)
async def test_one_that_fails_fails_alone(stints: Stints, mode: str, cause: Cause, words: str) -> None:
    await stints.order([f"a{task} poison" if task == 3 else "b" for task in range(10)], mode)
    reports = await stints.told(10)
    failure = TaskFailed.from_wire(reports.pop(3).failure)
    assert (failure.cause, words in failure.message) == (cause, True)
    assert {report.kind for report in reports.values()} == {"done"}
    assert stints.sizes[0] == 5
    assert "map-3.1" not in scratch(stints.bench)


async def test_one_that_is_stopped_takes_no_other_with_it(stints: Stints) -> None:
    bench = stints.bench
    await stints.order(["poison" if task == 3 else "b" for task in range(8)], "loop")
    early = await stints.told(3)
    assert set(early) == {0, 1, 2}, "those that are done are told though one of the stint is not"
    await stints.until_known_are(3, 4, 5, 6, 7)
    await bench.ask("task.cancel", Cancel("j-1", TERM, AttemptId("map", 3, 1)).encode())
    assert "map-3.1" not in scratch(bench)
    assert set(await stints.told(4)) == {4, 5, 6, 7}


async def test_one_behind_another_that_runs_can_be_stopped(stints: Stints) -> None:
    await stints.order(["poison" if task == 2 else "b" for task in range(8)], "wait")
    await stints.told(2)
    await stints.bench.ask("task.cancel", Cancel("j-1", TERM, AttemptId("map", 3, 1)).encode())
    (stints.bench.folder / "flag").touch()
    reports = await stints.told(5)
    assert set(reports) == {2, 4, 5, 6, 7} and {each.kind for each in reports.values()} == {"done"}


async def test_one_that_is_stopped_as_a_slot_is_freed_leaves_it_to_the_next(stints: Stints) -> None:
    await stints.order(["poison", "b", "b"], "loop")
    queue, job = stints.bench.worker._queue, stints.bench.worker._jobs["j-1"]
    await asyncio.sleep(0.05)
    job.attempts[AttemptId("map", 1, 1)].cancel()
    queue.free()  # in the same turn of the loop
    assert set(await stints.told(1)) == {2}
    queue._free -= 1


async def test_a_job_that_is_dropped_ends_its_stints(stints: Stints) -> None:
    bench = stints.bench
    await stints.order(["poison" if task > 1 else "b" for task in range(8)], "wait")
    await stints.told(2)
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    assert list((bench.folder / "scratch").glob("j-*")) == []
    assert bench.worker.running == bench.worker.waiting == 0
    await stints.order(["b"] * 4)
    assert len(await stints.told(4)) == 4, "its slot is free again"


async def test_processes_that_one_leaves_behind_are_ended_before_the_next_begins(stints: Stints) -> None:
    await stints.order(["poison" if task == 3 else "b" for task in range(8)], "leave a child")
    reports = await stints.told(8)
    assert {each.kind for each in reports.values()} == {"done"}
    assert stints.sizes[:2] == [4, 2], "the process has left one of the first stint"
    forkserver = stints.bench.processes.forkserver_pid
    [process] = of_process(f"{forkserver}/task/{forkserver}/children").split()
    [child] = of_process(f"{process}/task/{process}/children").split()
    assert ") Z " in of_process(f"{child}/stat"), "it has ended, and nobody has waited for it"


def of_process(name: str) -> str:
    return Path(f"/proc/{name}").read_text()


async def test_those_that_take_longer_than_was_thought_are_left_for_another_turn(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.node.compute.stints.stint._LONGEST_S", 0.0)
    await stints.order(["b"] * 8)
    assert len(await stints.told(8)) == 8
    assert len(stints.sizes) >= 4 and min(stints.sizes) > 1, "none of them is run alone for it"


async def test_a_stint_that_cannot_begin_is_run_one_by_one(
    stints: Stints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(stint: Stint, *_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Stint, "_placed", full)
    await stints.order(["b"] * 8)
    reports = await stints.told(8)
    assert {each.kind for each in reports.values()} == {"done"}


def test_what_was_printed_is_told_apart_and_never_lost_without_a_word() -> None:
    mark = b"\0mark\0"
    assert told_apart(b"1" + mark + b"2\n" + mark + mark + b"late", mark, 0, 3) == [b"1", b"2\n", b""]
    assert told_apart(b"1" + mark + b"2\n" + mark + mark + b"late", mark, 1, 2) == [b"2\n", b""]
    [first, second] = told_apart(b"1" + mark + b"2", mark, 0, 2)
    assert first == b"1" and b"[ringmill] what this attempt printed" in second
    assert told_apart(b"x" + mark, mark, 0, 0) == []


@pytest.mark.skipif(level_of_kernel().lack != "", reason="this kernel cannot contain all of it")
async def test_one_that_fills_its_folder_without_end_is_told_and_can_be_stopped(stints: Stints) -> None:
    """Its process goes on, and would make folders as fast as they are removed."""
    bench = stints.bench
    bench.worker._options = replace(bench.worker._options, containment=TaskContainment(is_on=True))
    await stints.order(["poison"] * 4, "fill")
    reports = await stints.told(4)
    assert {each.kind for each in reports.values()} == {"done"}
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    await stints.until_known_are()
    assert bench.worker.running == 0
    assert not (bench.folder / "scratch" / "j-1").exists()
