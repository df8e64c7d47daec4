"""Attempts of one job, in real task processes, cannot change what others or the node have left."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.cluster.mapreduce.messages.worker_messages import (
    Cancel,
    MapAssignment,
    ReduceAssignment,
    RemoteSlice,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, staging_folder
from ringmill.node.compute.workplace import take_out
from tests.node.compute.worker_bench import ME, TERM, Bench

pytestmark = pytest.mark.skipif(level_of_kernel().lack != "", reason="this kernel cannot contain all of it")

OTHERS = ["overwrites map.run", "overwrites part-00000", "moves map-0.1", "moves reduce-0.1"]
OF_THE_NODE = ["plants a link in j-1", "plants a link in .out.ringmill-j-1"]


async def tries(bench: Bench, *, is_contained: bool) -> Sequence[str]:
    """What attempts of a job did to the outputs of a map and a reduce, to their folders and to the bundle.

    The first runs in the process that has made the outputs, if it was kept, the second in another one.
    """
    folder = bench.folder
    bench.worker._options = replace(
        bench.worker._options,
        containment=TaskContainment(is_on=is_contained, secrets=(f"{folder}/scratch", f"{folder}/bundles")),
    )
    parts = staging_folder(f"{folder}/out", "j-1")
    os.mkdir(parts)
    assignment = bench.map_assignment("a b\npoison\n")
    mapped = MapOutput.from_wire((await bench.run(assignment)).body)
    where = mapped.partitions[0]
    piece = RemoteSlice(ME, 0, 1, where.offset, where.length, where.raw_bytes, where.records, where.crc32c)
    spec, attempt = bench.spec(""), AttemptId("reduce", 0, 1)
    reduced = await bench.run(ReduceAssignment("j-1", attempt, TERM, ME, spec.encode(), 1, (piece,)))
    left = [mapped.file, ReduceOutput.from_wire(reduced.body).file]
    before = contents(left)
    flag = f"{folder}/scratch/j-1:{parts}:{folder}/bundles/{bench.bundle}.zip"
    hostile = replace(spec, params={"mode": "trespass", "flag": flag}).encode()
    done: list[str] = []
    for factor in (1, 2):
        attempt = AttemptId("map", 0, 1 + factor)
        tried = MapAssignment("j-1", attempt, TERM, ME, hostile, factor, assignment.split)
        done += MapOutput.from_wire((await bench.run(tried)).body).log
    assert (contents(left) == before) is is_contained
    return done


def contents(paths: Sequence[str]) -> list[bytes]:
    return [Path(path).read_bytes() for path in paths]


async def test_a_task_writes_its_own_folders_and_nothing_that_another_or_the_node_has_left(
    bench: Bench,
) -> None:
    assert await tries(bench, is_contained=True) == []


async def test_without_containment_the_same_task_changes_all_of_it(bench: Bench) -> None:
    done = await tries(bench, is_contained=False)
    assert {*OTHERS, *OF_THE_NODE, f"overwrites {bench.bundle}.zip"} <= set(done)


async def test_an_attempt_is_told_though_its_process_fills_its_scratch_folder_without_end(
    bench: Bench,
) -> None:
    bench.worker._options = replace(bench.worker._options, containment=TaskContainment(is_on=True))
    os.mkdir(staging_folder(f"{bench.folder}/out", "j-1"))
    assignment = bench.map_assignment("poison\n")
    spec = replace(bench.spec(""), name="filling", reducers=0, order="input")
    mapped = replace(assignment, spec=spec.encode())
    report = await bench.run(mapped)
    assert report.kind == "done", report.failure
    await bench.ask("task.cancel", Cancel("j-1", TERM).encode())
    assert bench.worker.running == 0 and not bench.worker._files.exists(f"{bench.folder}/scratch/j-1")


@pytest.mark.parametrize("what", ["link", "file", "nothing"])
def test_what_a_job_leaves_in_place_of_its_folder_is_no_output(tmp_path: Path, what: str) -> None:
    (tmp_path / "of_user").mkdir()
    (tmp_path / "claimed").mkdir()
    for target in ("new", "claimed"):
        (tmp_path / "attempt").unlink(missing_ok=True)
        if what == "link":
            (tmp_path / "attempt").symlink_to(tmp_path / "of_user")
        if what == "file":
            (tmp_path / "attempt").write_text("x")
        with pytest.raises(TaskFailed, match="the job's code") as failed:
            take_out(OsFileSystem(), f"{tmp_path}/attempt", f"{tmp_path}/{target}")
        assert failed.value.cause is Cause.USER_ERROR
        assert not os.path.lexists(tmp_path / "new") and (tmp_path / "of_user").is_dir()
