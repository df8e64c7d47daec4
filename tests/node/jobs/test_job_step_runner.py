"""A job step that ends without an answer says whether it can have begun."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.messages.task_messages import Said
from ringmill.cluster.ports import TaskProcess
from ringmill.node.jobs import job_step_runner
from ringmill.node.jobs.job_step_runner import JobStepRunner

SPEC = JobSpec(
    job="job-1", module="m", name="n", bundle_sha256="", inputs=("/in",), output="/out",
    input_format="lines", output_format="tsv", reducers=1, overwrite=False, params={},
)  # fmt: skip


class Mute:
    """A task process that never answers, or ends at once."""

    def __init__(self, *, ends: bool = False) -> None:
        self.ends = ends

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes:
        if self.ends:
            raise EOFError("it ended")
        await asyncio.Event().wait()
        return b""

    def kill(self) -> None: ...

    async def wait(self) -> None: ...


class Spawner:
    """Each start gives the next of these, or raises it."""

    def __init__(self, *starts: Mute | OSError) -> None:
        self.starts = list(starts)

    async def start_task(self, **options: Any) -> TaskProcess:
        start = self.starts.pop(0)
        if isinstance(start, OSError):
            raise start
        return cast("TaskProcess", start)


def runner(*starts: Mute | OSError) -> JobStepRunner:
    return JobStepRunner(cast("Any", Spawner(*starts)))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_PAUSE_S", 0.0)


class GettingOn(Mute):
    """It tells a few times that it gets on, and is done then."""

    def __init__(self, *, times: int, every_s: float) -> None:
        super().__init__()
        self.left, self.every_s = times, every_s

    async def receive(self) -> bytes:
        await asyncio.sleep(self.every_s)
        self.left -= 1
        return Said("progress", [0, 0, "", ""]).encode() if self.left else Said("done", []).encode()


async def test_a_commit_that_gets_on_has_the_time_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_PUBLISH_TIMEOUT_S", 0.3)
    process = GettingOn(times=10, every_s=0.04)
    await runner(process).publish(SPEC, [])
    assert process.left == 0


async def test_a_removal_that_gets_on_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_WITHDRAW_TIMEOUT_S", 0.1)
    with pytest.raises(RingmillError, match=r"withdraw of the job took longer than 0.1 s"):
        await runner(GettingOn(times=1000, every_s=0.01)).withdraw(SPEC, [])


async def test_a_commit_with_a_large_part_may_do_nothing_for_longer_as_a_store_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_step_runner, "_PUBLISH_TIMEOUT_S", 0.05)
    parts = [
        StagedPart(number, f"/staged/{number}", 1_000_000 * number, 0, 1, f"part-{number}")
        for number in range(6)
    ]
    with pytest.raises(RingmillError, match=r"longer than 0.15 s") as late:
        await runner(Mute()).publish(SPEC, parts)
    assert late.value.outcome == "unknown"


async def test_many_copies_in_a_store_have_more_time_to_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_WITHDRAW_TIMEOUT_S", 0.01)
    monkeypatch.setattr(job_step_runner, "_REMOVED_WITHIN_S", 0.02)
    parts = [StagedPart(number, f"/staged/{number}", 1, 0, 1, f"part-{number}") for number in range(3)]
    with pytest.raises(RingmillError, match=r"withdraw of the job took longer than 0.07 s"):
        await runner(Mute()).withdraw(SPEC, parts)


@pytest.mark.parametrize(
    ("first", "again", "outcome"),
    [
        (OSError(11, "no more processes"), False, "failed"),
        (OSError(11, "no more processes"), True, "unknown"),
        (Mute(ends=True), False, "unknown"),
    ],
)
async def test_an_output_does_not_show_while_no_process_of_its_commit_could_be_started(
    first: Mute | OSError, again: bool, outcome: str
) -> None:
    refused = OSError(11, "no more processes")
    with pytest.raises(Unavailable) as lost:
        await runner(first, refused, refused).publish(SPEC, [], again=again)
    assert lost.value.outcome == outcome


class Undying(Mute):
    """It hangs in the kernel: a kill does not end it."""

    async def wait(self) -> None:
        await asyncio.Event().wait()


async def test_a_process_that_no_kill_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_PLAN_TIMEOUT_S", 0.01)
    monkeypatch.setattr(job_step_runner, "_END_TIMEOUT_S", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(RingmillError, match=r"longer than 0.01 s"):
            await runner(Undying()).plan(SPEC)


async def test_a_stop_waits_for_it_no_longer_than_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_step_runner, "_PLAN_TIMEOUT_S", 0.01)
    monkeypatch.setattr(job_step_runner, "_END_TIMEOUT_S", 600)
    stopping = JobStepRunner(cast("Any", Spawner(Undying())), within=lambda most_s: min(most_s, 0.01))
    async with asyncio.timeout(20):
        with pytest.raises(RingmillError, match=r"longer than 0.01 s"):
            await stopping.plan(SPEC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a file that is given to those alone who bring a key."""
    (file := tmp_path / "in.txt").write_bytes(b"a line\n")

    async def answer(request: web.Request) -> web.StreamResponse:
        is_right = request.headers.get("X-Key") == "mine"
        return web.FileResponse(file) if is_right else web.Response(status=403)

    application = web.Application()
    application.router.add_get("/in.txt", answer)
    serving = web.AppRunner(application)
    await serving.setup()
    site = web.TCPSite(serving, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{serving.addresses[0][1]}/in.txt"
    await serving.cleanup()


async def test_the_nodes_settings_for_stores_count_when_a_job_is_planned(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """Where it is planned nothing else of the node's environment is known."""
    spec, processes = replace(SPEC, inputs=(store,)), TaskProcesses()
    try:
        with pytest.raises(RingmillError, match="names no file"):
            await JobStepRunner(processes).plan(spec)
        settings = {"FSSPEC_HTTP": '{"client_kwargs": {"headers": {"X-Key": "mine"}}}'}
        monkeypatch.setattr(job_step_runner, "STORE_SETTINGS", settings)
        plan = await JobStepRunner(processes).plan(spec)
        assert [split.size for split in plan.splits] == [7]
    finally:
        await processes.close()


async def test_every_step_without_a_jobs_code_gets_the_settings_for_stores_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"FSSPEC_SHELF_KEY": "mine"}
    monkeypatch.setattr(job_step_runner, "STORE_SETTINGS", settings)
    given: list[Any] = []

    class Noting(Spawner):
        async def start_task(self, **options: Any) -> TaskProcess:
            given.append(options["environment"])
            return await super().start_task(**options)

    steps = JobStepRunner(cast("Any", Noting(*(Mute(ends=True) for _ in range(99)))))
    publish, withdraw = steps.publish(SPEC, []), steps.withdraw(SPEC, [])
    for step in (steps.plan(SPEC), steps.plan_stage(SPEC, None), publish, withdraw):
        with pytest.raises(RingmillError):
            await step
    assert len(given) >= 4 and all(each == settings for each in given)
