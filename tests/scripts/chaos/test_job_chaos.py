"""What a series of jobs under faults draws, damages and compares."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import google_crc32c
import psutil
import pytest

from chaos.jobs import job_faults
from chaos.jobs.comparing import differing, differing_counts, hidden_beside
from chaos.jobs.job_faults import JOB_FAULTS
from chaos.jobs.job_load import JobLoad
from chaos.jobs.job_scene import JobScene
from chaos.jobs.job_series import JobRun, JobSeries, drawn_runs, idle_faults
from chaos.jobs.job_shapes import SHAPES, shapes_of
from chaos.jobs.run_damage import flip_bit, is_finished, replace_value
from chaos.jobs.task_sight import SeenTask, bound_files, seen_tasks
from ringmill.client.local.checked_load import KeyStep
from ringmill.client.local.local_state import LocalCluster
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_table import ProcessTable
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.mapreduce.codecs.codecs import value_codec
from ringmill.cluster.mapreduce.files.run_file import RunWriter, read_groups, read_index
from ringmill.cluster.mapreduce.local.in_process import LocalResult
from ringmill.cluster.mapreduce.outputs import Slice

INTS = value_codec(int, "here")
Rows = list[tuple[bytes, list[int]]]


def row(run: JobRun) -> tuple[str, int, str]:
    return run.shape.name, run.mib, run.fault


def test_a_seed_fixes_the_plan_and_fifty_runs_have_every_job_and_every_fault() -> None:
    first, again, other = (
        list(map(row, drawn_runs(seed, 50, SHAPES, [2, 4], list(JOB_FAULTS)))) for seed in (7, 7, 8)
    )
    assert first == again != other
    faults, jobs = Counter(fault for *_, fault in first), Counter(name for name, *_ in first)
    assert set(faults) == set(JOB_FAULTS) and max(faults.values()) <= min(faults.values()) + 2
    assert set(jobs) == {shape.name for shape in SHAPES} and max(jobs.values()) == 4


@pytest.mark.parametrize("seed", range(20))
def test_no_job_gets_a_fault_that_cannot_befall_it(seed: int) -> None:
    for run in drawn_runs(seed, 30, SHAPES, [1], list(JOB_FAULTS)):
        assert run.shape.has_shuffle or not JOB_FAULTS[run.fault].needs_shuffle


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="no job 'chess'"):
        shapes_of(["words", "chess"])
    with pytest.raises(ValueError, match="can befall grep_maps"):
        drawn_runs(1, 1, shapes_of(["grep_maps"]), [1], ["shuffle_lost"])


def test_a_job_is_asked_for_by_its_name_or_by_that_of_its_style() -> None:
    assert [each.name for each in shapes_of(["sort", "join_hash"])] == [
        "sort_record",
        "sort_batch",
        "join_hash",
    ]


def written(path: Path, compression: str) -> tuple[Rows, list[Slice], list[int]]:
    """The rows of a run of two partitions, the places of these, and the checksums that its map commits."""
    with closing(OsFileSystem()) as files:
        writer = RunWriter(files, str(path), INTS, compression)
        rows = [(b"%04d" % key, [key, 300 + key]) for key in range(2000)]
        for part in (rows[:1000], rows[1000:]):
            writer.write_partition(part)
        index = writer.finish()
    places = [Slice(str(path), one.offset, one.length, one.raw_bytes, one.records) for one in index]
    return [(key, list(values)) for key, values in rows], places, [one.crc32c for one in index]


def read(places: list[Slice]) -> Rows:
    with closing(OsFileSystem()) as files:
        return [(key, list(values)) for place in places for key, values in read_groups(files, place, INTS)]


def checksums(path: Path, places: list[Slice]) -> list[int]:
    """Of the bytes that reduces would fetch."""
    content = path.read_bytes()
    return [int(google_crc32c.value(content[each.offset : each.offset + each.length])) for each in places]


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_a_replaced_value_is_told_by_the_committed_checksum_alone(
    tmp_path: Path, compression: str, seed: int
) -> None:
    path = tmp_path / "map.run"
    rows, places, committed = written(path, compression)
    size = path.stat().st_size
    assert read(places) == rows and checksums(path, places) == committed
    assert replace_value(path, Random(seed))
    found = read(places)
    wrong = [at for at, (one, other) in enumerate(zip(found, rows, strict=True)) if one != other]
    assert len(wrong) == 1 and found[wrong[0]][0] == rows[wrong[0]][0], "one value of a known key"
    assert sum(one != other for one, other in zip(checksums(path, places), committed, strict=True)) == 1
    assert path.stat().st_size == size
    with closing(OsFileSystem()) as files:
        assert [each.crc32c for each in read_index(files, str(path))] == committed, "as its map has told it"


@pytest.mark.parametrize("seed", range(5))
def test_a_turned_bit_is_no_part_of_a_sound_run(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "map.run"
    _, places, committed = written(path, "zstd")
    assert flip_bit(path, Random(seed))
    assert checksums(path, places) != committed
    with pytest.raises(CorruptData):
        read(places)


def test_a_run_that_is_being_written_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "map.run"
    assert not is_finished(path)
    written(path, "zstd")
    assert is_finished(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_finished(path)


def test_outputs_are_equal_byte_by_byte_or_the_parts_that_differ_are_named(tmp_path: Path) -> None:
    reference, output = tmp_path / "reference", tmp_path / "out"
    reference.mkdir()
    (reference / "_SUCCESS").write_text("{}")
    (reference / "part-00000").write_text("a\t1\n")
    (reference / "part-00001").write_text("b\t1\n")
    assert differing(reference, output) == "its parts are others than those of one process"
    output.mkdir()
    (output / "_SUCCESS").write_text("{}")
    (output / "part-00000").write_text("a\t1\n")
    assert differing(reference, output) == "its parts are others than those of one process"
    (output / "part-00001").write_text("b\t2\n")
    assert differing(reference, output) == "part-00001 differ from those of one process"
    (output / "part-00001").write_text("b\t1\n")
    assert differing(reference, output) == ""
    (output / "_SUCCESS").write_text("{ }")
    assert differing(reference, output) == "_SUCCESS differ from those of one process"
    (output / "_SUCCESS").unlink()
    (output / ".part-00001.tmp").write_text("b\t1\n")
    assert differing(reference, output) == "only one of both has .part-00001.tmp, _SUCCESS"


def test_nothing_is_not_equal_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert differing(tmp_path / "no-such-reference", tmp_path / "out") == "one process has left no part"


def test_what_was_counted_twice_is_told() -> None:
    reference = LocalResult("/out", ("/out/part-00000",), {"map_in": 3, "map_out": 0}, {"lines": 3})
    assert differing_counts(reference, {"map_in": 3, "map_out": 0}, {"lines": 3}) == ""
    assert differing_counts(reference, {"map_in": 3}, {"lines": 6, "words": 1}) == (
        "lines is 6, in one process 3; words is 1, in one process 0"
    )


def test_a_hidden_folder_beside_an_output_is_seen(tmp_path: Path) -> None:
    output = tmp_path / "out-1"
    output.mkdir()
    for name in (".out-10.ringmill-job-1", ".out-1.old"):
        (tmp_path / name).mkdir()
    assert hidden_beside(output) == []
    (tmp_path / ".out-1.ringmill-job-1.1.1.stages").mkdir()
    assert hidden_beside(output) == [tmp_path / ".out-1.ringmill-job-1.1.1.stages"]


def test_a_series_that_breaks_off_has_no_equal_outputs_of_runs_that_never_ran(tmp_path: Path) -> None:
    runs = drawn_runs(7, 50, SHAPES, [2], list(JOB_FAULTS))
    cluster = LocalCluster("jobs", str(tmp_path / "jobs"), replicas=3, partitions=16, nodes=())
    series = JobSeries(cluster, 7, runs, {}, print)
    assert series.document()["equal"] == 0 and not series.has_held
    assert {run["violation"] for run in series.document()["jobs"]} == {"it was not run"}
    runs[0].violation = ""
    assert series.document()["equal"] == 1


def test_errors_of_the_requests_that_no_fault_excuses_are_told() -> None:
    load = JobLoad(7)
    assert not any(each.breaches for each in load.judged())
    load.tally.begin(0.0)
    for error in ("UNAVAILABLE: nobody answers", "INTERNAL: KeyError: 'row'"):
        load.tally.note(KeyStep("get", b"k", 1, 1.0, 2.0, outcome="unknown", error=error))
    told = [(each.checker, each.breaches) for each in load.judged() if each.breaches]
    assert told == [("answers", ("1 request ended with INTERNAL: KeyError: 'row'",))]


class FakeNodes:
    """The nodes of a scene, none of which is a process."""

    names = ("n1", "n2", "n3")

    def __init__(self) -> None:
        self.killed: list[str] = []

    def kill(self, name: str) -> None:
        self.killed.append(name)


@pytest.mark.parametrize("fault", ["step_in_commit", "coordinator_in_commit"])
async def test_a_step_is_stopped_before_it_or_its_node_is_killed_but_not_always_before_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A step that is stopped shows nothing while its node ends."""
    stopped = list[int]()

    def caught(task: SeenTask, inputs: object) -> bool:
        stopped.append(task.pid)
        return True

    monkeypatch.setattr(
        job_faults, "seen_tasks", lambda nodes, names, inputs: [SeenTask(name, 77, "step") for name in names]
    )
    monkeypatch.setattr(job_faults, "caught", caught)
    monkeypatch.setattr(job_faults, "killed", lambda task: True)
    (tmp_path / ".out.ringmill-job-1.1.1").mkdir()
    (tmp_path / ".out.ringmill-job-1.1.1" / "part-00000").touch()
    found = Counter[bool]()
    for seed in range(20):
        stopped.clear()
        nodes: Any = FakeNodes()
        state: Any = SimpleNamespace(node="n2")
        scene = JobScene(nodes, "job-1", tmp_path / "out", (), Random(seed), state)
        assert await JOB_FAULTS[fault].strike(scene)
        assert nodes.killed == (["n2"] if fault == "coordinator_in_commit" else [])
        found[bool(stopped)] += 1
    assert set(found) == ({True, False} if fault == "coordinator_in_commit" else {True})


def test_a_step_is_told_from_a_task_process_that_is_about_to_go_to_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are in /, as the forkserver is.  A process that has gone to its folder is nicer from then on."""
    fresh, step = (subprocess.Popen(["sleep", "60"], cwd="/") for _ in range(2))
    try:
        psutil.Process(step.pid).nice(os.nice(0) + 5)
        children = {1: [2], 2: [fresh.pid, step.pid]}
        monkeypatch.setattr(ProcessTable, "children", lambda _, pid: children[pid])
        nodes: Any = SimpleNamespace(names=["n1", "n2"], killed=["n2"], pid_of={"n1": 1}.__getitem__)
        found = seen_tasks(nodes, nodes.names, [])
        assert [(one.pid, one.doing) for one in found] == [(fresh.pid, None), (step.pid, "step")]
    finally:
        for process in (fresh, step):
            process.kill()
            process.wait()


@pytest.mark.parametrize("hard_limit", [1024, resource.RLIM_INFINITY])
def test_a_task_whose_files_cannot_be_bound_goes_on_all_the_same(hard_limit: int) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert bound_files(SeenTask("n1", process.pid, "map"), 4096) == (hard_limit != 1024)
        assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
    finally:
        process.kill()
        process.wait()


def test_a_kind_of_fault_that_comes_to_nothing_again_and_again_is_told() -> None:
    runs = [replace(run, violation="") for run in drawn_runs(7, 5, SHAPES, [2], ["node_killed"])]
    struck = replace(runs[0], fault="node_paused", struck="n2 for 3 s")
    assert idle_faults([struck, *runs]) == ["node_killed came to nothing in 5 runs of 5"]
    assert idle_faults([struck, *runs[:3]]) == [], "a job may be over first"
    assert idle_faults([struck, *runs, replace(struck, fault="node_killed")]) == []


def test_a_series_in_which_no_fault_has_struck_has_not_held() -> None:
    runs = [replace(run, violation="") for run in drawn_runs(7, 13, SHAPES, [2], list(JOB_FAULTS))]
    assert idle_faults(runs) == ["no fault has struck in 13 runs"]
    assert idle_faults(runs[:3]) == []
    assert idle_faults([replace(run, violation="it was not run") for run in runs]) == []
