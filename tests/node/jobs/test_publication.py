"""A job is told as done or failed only when that is certain, also while the disk under its output fails."""

import asyncio
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import (
    CorruptData,
    DiskFull,
    InvalidArgument,
    RingmillError,
    Unavailable,
    from_wire,
)
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob, replay
from ringmill.cluster.mapreduce.outputs import staging_folder
from ringmill.node.jobs import job_driver, publication
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.jobs.journal.cells import Cells
from ringmill.node.jobs.journal.journal_reader import read_journal
from ringmill.node.jobs.stages import dropping

BEHIND_THE_RENAME = RingmillError("Input/output error: /shared", outcome="unknown")
BEFORE_IT = DiskFull("No space left on device: /shared")


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "failure_pause_s", lambda name, failures: 0.0)


class FailingDisk:
    """Publications of all coordinators: each ends with the next of these errors, then they are carried out.

    With `shows`, the output is carried out all the same.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: RingmillError, shows: bool = False) -> None:
        self.again: list[bool] = []
        left, publish = list(errors), JobStepRunner.publish

        async def fail(
            steps: JobStepRunner, spec: JobSpec, parts: Sequence[StagedPart], *, again: bool = False
        ) -> None:
            self.again.append(again)
            if shows or not left:
                await publish(steps, spec, parts, again=again)
            if left:
                raise left.pop(0)

        monkeypatch.setattr(JobStepRunner, "publish", fail)


async def test_a_job_whose_output_may_show_is_told_as_done_once_the_disk_says_so(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk(monkeypatch, *[BEHIND_THE_RENAME] * 20, shows=True)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec())
    assert (view.state, view.error) == ("SUCCEEDED", None)
    assert disk.again == [False, *[True] * 20]
    assert cluster.parts() == cluster.expected()
    assert "the commit is repeated after INTERNAL: Input/output error: /shared" in view.summary.story
    assert cluster.leftovers() == []


async def test_without_repeated_commits_a_job_is_told_as_failed_though_its_output_shows(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ablation."""
    monkeypatch.setattr(publication, "_is_certain", lambda error, failures: True)
    FailingDisk(monkeypatch, BEHIND_THE_RENAME, shows=True)
    cluster.write_input("a b\n")
    assert (await cluster.run(cluster.spec())).state == "FAILED"
    assert (cluster.folder / "out" / "_SUCCESS").exists()


async def test_a_disk_that_is_full_before_the_output_shows_fails_the_job_after_eight_tries(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk(monkeypatch, *[BEFORE_IT] * 99)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec())
    assert (view.state, from_wire(view.error).code, len(disk.again)) == ("FAILED", "DISK_FULL", 8)
    assert not (cluster.folder / "out").exists()
    assert cluster.leftovers() == []


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_link_that_leads_nowhere_fails_the_job_whose_output_it_is(
    cluster: Any, overwrite: bool
) -> None:
    cluster.write_input("a b\n")
    (cluster.folder / "out").symlink_to(cluster.folder / "nowhere")
    view = await cluster.run(cluster.spec(overwrite=overwrite))
    assert (view.state, from_wire(view.error).outcome) == ("FAILED", "failed")
    assert "Not a directory" in from_wire(view.error).message
    assert cluster.leftovers() == []


@pytest.mark.parametrize("is_mount_point_there", [True, False])
async def test_a_file_system_that_is_away_for_a_try_does_not_fail_a_job_whose_output_shows(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, is_mount_point_there: bool
) -> None:
    """The commit has shown the output and could not sync; then the mount is gone, and comes back."""
    shared, away = cluster.folder / "shared", cluster.folder / "away"
    shared.mkdir()
    outcomes: list[str] = []
    publish = JobStepRunner.publish

    async def pass_by(
        steps: JobStepRunner, spec: JobSpec, parts: Sequence[StagedPart], *, again: bool = False
    ) -> None:
        if not again:
            await publish(steps, spec, parts, again=False)
            shared.rename(away)
            if is_mount_point_there:
                shared.mkdir()
            raise BEHIND_THE_RENAME
        try:
            await publish(steps, spec, parts, again=True)
        except RingmillError as error:
            outcomes.append(error.outcome)
            if is_mount_point_there:
                assert list(shared.iterdir()) == []
                shared.rmdir()
            away.rename(shared)
            raise

    monkeypatch.setattr(JobStepRunner, "publish", pass_by)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec(out="shared/out"))
    assert (view.state, outcomes) == ("SUCCEEDED", ["unknown"])
    assert cluster.parts("shared/out") == cluster.expected()


async def test_a_fault_of_the_coordinator_while_it_commits_is_not_told_as_if_nothing_showed(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = JobStepRunner.publish

    async def break_after(*args: Any, **kwargs: Any) -> None:
        await publish(*args, **kwargs)
        raise ZeroDivisionError

    monkeypatch.setattr(JobStepRunner, "publish", break_after)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec())
    error = from_wire(view.error)
    assert (view.state, error.outcome) == ("FAILED", "unknown")
    assert "its output may show" in error.message
    assert cluster.parts() == cluster.expected()


async def test_a_fault_behind_the_end_does_not_change_how_a_job_ended(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(dropping, "remove_every_staging", broken)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    assert (await cluster.nodes["n1"].coordinator.view("job-1")).state == "SUCCEEDED"


async def test_a_disk_that_gets_room_before_the_eighth_try_costs_nothing(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    FailingDisk(monkeypatch, *[BEFORE_IT] * 7)
    cluster.write_input("a b\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    assert cluster.parts() == cluster.expected()


@pytest.mark.parametrize("error", [InvalidArgument("out exists"), CorruptData("part 1 is gone")])
async def test_what_stays_as_it_is_fails_the_job_at_once(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, error: RingmillError
) -> None:
    disk = FailingDisk(monkeypatch, Unavailable("it broke off", outcome="unknown"), error)
    cluster.write_input("a b\n")
    view = await cluster.run(cluster.spec())
    assert (view.state, from_wire(view.error).code, disk.again) == ("FAILED", error.code, [False, True])


@pytest.mark.parametrize(("is_there", "code"), [(False, "CORRUPT_DATA"), (True, "INVALID_ARGUMENT")])
async def test_a_job_whose_hidden_folder_another_run_has_removed_says_so_and_not_what_its_attempts_met(
    cluster: Any, is_there: bool, code: str
) -> None:
    cluster.write_input("one poison two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    shutil.rmtree(staging_folder(f"{cluster.folder}/out", "job-1.1.1"))
    if is_there:
        (cluster.folder / "out").mkdir()
    (cluster.folder / "flag").touch()
    view = await cluster.finish()
    error = from_wire(view.error)
    assert (view.state, error.code) == ("FAILED", code)
    assert "another coordinator of the job" in str(error)
    assert max(task.attempts for task in view.summary.tasks) == 1


async def test_a_folder_that_cannot_be_looked_at_now_leaves_the_attempts_own_word(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*job: object, overwrite: bool) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(job_driver, "loss_of_staging", broken)
    cluster.write_input("a\n")
    seen: list[Any] = []

    def spoil(sender: Any, to: Any, method: str, body: bytes) -> None:
        folder = cluster.folder / ".out.ringmill-job-1.1.1" / "reduce-0.1"
        if method == "task.start" and not seen and not folder.exists():
            seen.append(folder.mkdir(parents=True))

    cluster.wire.answered = spoil
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    assert any("reduce-0.1 was there before the attempt" in line for line in view.summary.story)


async def test_looks_at_a_folder_that_hang_hold_up_no_job(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks of another job, say, which take all threads for outputs."""
    goes_on, hung = threading.Event(), []

    def hang(*job: object, overwrite: bool) -> None:
        hung.append(job)
        goes_on.wait(10)

    monkeypatch.setattr(job_driver, "loss_of_staging", hang)
    monkeypatch.setattr(job_driver, "_LOOK_TIMEOUT_S", 0.05)
    cluster.write_input("a\n")
    seen: list[Any] = []

    def spoil(sender: Any, to: Any, method: str, body: bytes) -> None:
        folder = cluster.folder / ".out.ringmill-job-1.1.1" / "reduce-0.1"
        if method == "task.start" and not seen and not folder.exists():
            seen.append(folder.mkdir(parents=True))

    cluster.wire.answered = spoil
    try:
        async with asyncio.timeout(8):
            view = await cluster.run(cluster.spec())
    finally:
        goes_on.set()
    assert view.state == "SUCCEEDED"
    assert hung
    assert any("reduce-0.1 was there before the attempt" in line for line in view.summary.story)


async def test_leftovers_whose_disk_hangs_keep_no_job_open(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(dropping, "remove_every_staging", lambda *job: goes_on.wait(60))
    monkeypatch.setattr(dropping, "_REMOVAL_TIMEOUT_S", 0.05)
    cluster.write_input("a\n")
    try:
        async with asyncio.timeout(30):
            assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
            while cluster.nodes["n1"].coordinator._tenure._work:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
    finally:
        goes_on.set()


async def test_what_was_copied_to_a_store_is_removed_before_the_job_is_told_as_failed(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FailingDisk(monkeypatch, CorruptData("part 1 is not at /shared"))
    plan, told = JobStepRunner.plan, []

    async def plan_a_folder(steps: JobStepRunner, spec: JobSpec) -> InputPlan:
        return await plan(steps, replace(spec, output_url=""))

    async def withdraw(steps: JobStepRunner, spec: JobSpec, parts: Sequence[StagedPart]) -> None:
        seen = await cluster.nodes["n1"].coordinator.kill("job-1")
        told.append((spec.output_url, tuple(parts), seen.state))
        raise RingmillError("the store is away")

    monkeypatch.setattr(JobStepRunner, "plan", plan_a_folder)
    monkeypatch.setattr(JobStepRunner, "withdraw", withdraw)
    cluster.write_input("a b\n")
    view = await cluster.run(replace(cluster.spec(), output_url="s3://shared/out"))
    assert (view.state, from_wire(view.error).code) == ("FAILED", "CORRUPT_DATA")
    (first,) = told
    assert (first[0], len(first[1]), first[2]) == ("s3://shared/out", 3, "RUNNING")
    assert "not all that job job-1 has copied to its output is removed: the store is away" in caplog.text
    told.clear()
    stored = await job_of(cluster)
    steps, machine = JobStepRunner(cluster.shared), stored.machine
    await publication.withdraw(steps, stored.stage, machine)
    assert told == [(*first[:2], "FAILED")], "who takes the job over before it is told does it again"
    error, machine.error = machine.error, CorruptData("part 1 is gone", detail={"former_is_gone": True})
    await publication.withdraw(steps, stored.stage, machine)
    machine.error, machine.reduces[0].winner = error, None  # its tasks have failed, and nothing was copied
    await publication.withdraw(steps, stored.stage, machine)
    assert len(told) == 1


async def job_of(cluster: Any) -> StoredJob:
    """By its journal."""
    registers = Cells(cluster.nodes["n1"].registers)
    stored = replay((await read_journal(registers, "job-1.1.1")).entries)
    assert stored is not None
    return stored
