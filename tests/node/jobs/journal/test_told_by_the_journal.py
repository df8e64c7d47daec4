"""Of a job whose coordinator does not answer any other node tells what its journal has."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import NotFound, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs import job_driver, job_history
from ringmill.node.jobs.journal.journal_reader import stored_job
from ringmill.node.jobs.stages.dropping import clean_up_after

N1, N2 = NodeId("n1"), NodeId("n2")


async def test_another_node_tells_what_is_done_and_what_has_begun(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four maps: three end, and one waits for a flag."""
    cluster.write_input("a b\n" * 3 + "poison\n")
    await cluster.submit(replace(cluster.spec(mode="wait"), split_bytes=7))
    keeper, other = cluster.nodes[N1].coordinator, cluster.nodes[N2].coordinator
    run = keeper._jobs["job-1"]
    await cluster.until(lambda: run.view().summary.stages[0].done >= 2 and _has_one_left(run.view()))
    await run.noted()
    with pytest.raises(Unavailable, match="goes on with another coordinator"):
        await other.view("job-1")
    with pytest.raises(NotFound):
        await other.view("job-2", noted=True)

    await asyncio.sleep(0.3)  # without an event
    here, told = run.view(), await other.view("job-1", noted=True)
    assert here.seconds <= told.seconds < here.seconds + 10, "the time of the job goes on"
    assert (told.state, told.node, told.left, told.error) == ("RUNNING", "", None, None)
    assert _tasks(told) == _tasks(here)
    assert told.summary.records["map_in"] == here.summary.records["map_in"]
    attempts = [(each.task, each.attempt, each.state) for each in await other.attempts("job-1", noted=True)]
    assert attempts == [(each.task, each.attempt, each.state) for each in await keeper.attempts("job-1")]
    assert (await keeper.view("job-1", noted=True)).node == N1, "who coordinates it tells by itself"

    await keeper.pause("job-1")
    assert (await other.view("job-1", noted=True)).state == "PAUSED"
    await keeper.resume("job-1")

    (cluster.folder / "flag").touch()
    assert (await cluster.finish()).state == "SUCCEEDED"
    told = await other.view("job-1", noted=True)
    assert (told.state, told.node) == ("SUCCEEDED", N1)


@pytest.mark.parametrize("end", ["SUCCEEDED", "KILLED", "FAILED"])
async def test_an_end_that_was_told_stays_told(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The coordinator has told it, and stops before the list of jobs has it."""
    hung = asyncio.Event()

    async def slow(*args: Any) -> None:
        await hung.wait()
        await clean_up_after(*args)

    monkeypatch.setattr(job_driver, "clean_up_after", slow)
    cluster.write_input("a b\n" * 3 + "poison\n")
    await cluster.submit(cluster.spec(mode={"KILLED": "wait", "FAILED": "raise"}.get(end, "")))
    keeper, other = cluster.nodes[N1].coordinator, cluster.nodes[N2].coordinator
    if end == "KILLED":
        assert (await keeper.kill("job-1")).state == end
    await cluster.until(lambda: keeper._jobs["job-1"].view().is_over)
    here, told = keeper._jobs["job-1"].view(), await other.view("job-1", noted=True)
    assert (here.state, told.state, told.node, told.why) == (end, end, "", here.why)
    assert (told.seconds, told.flow) == (here.seconds, here.flow)
    if end == "SUCCEEDED":
        monkeypatch.setattr(job_history, "stored_job", _failed_at_a_store)
        told = await other.view("job-1", noted=True)
        assert (told.state, told.error) == ("RUNNING", None), "its coordinator tells the end"
        monkeypatch.undo()
    hung.set()
    await cluster.finish()


def _tasks(view: Any) -> list[tuple[str, str, int, str]]:
    return [(each.task, each.state, each.attempts, each.node) for each in view.summary.tasks]


def _has_one_left(view: Any) -> bool:
    maps = view.summary.stages[0]
    return bool(maps.running == 1 and maps.done == maps.total - 1)


async def _failed_at_a_store(*journal: Any) -> Any:
    """The job as if its commit might have left copies there."""
    stored: Any = await stored_job(*journal)
    stored.machine.state, stored.machine.error = "FAILED", Unavailable("a store is away")
    return replace(stored, spec=replace(stored.spec, output_url="s3://bucket/out"))
