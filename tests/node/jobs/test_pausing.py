"""Jobs that are paused, jobs that share slots, and what is left of those that have ended."""

from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.node.jobs import views


async def test_a_paused_job_stays_paused_with_another_coordinator_and_goes_on_when_told(
    cluster: Any,
) -> None:
    cluster.write_input("one poison two\n", "three four\n")
    await cluster.submit(cluster.spec(mode="wait"))
    first = cluster.nodes[NodeId("n1")].coordinator
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    assert (await first.pause("job-1")).state == "PAUSED"
    now = await first.hand_over()
    second = cluster.nodes[now.node].coordinator
    await cluster.until(lambda: bool(second.views()))
    (cluster.folder / "flag").touch()
    await cluster.until(lambda: second.views()[0].summary.stages[0].done == 1)
    view = second.views()[0]
    assert (view.state, view.summary.stages[1].running, view.summary.stages[1].done) == ("PAUSED", 0, 0)
    assert (await second.pause("job-1")).state == "PAUSED"
    assert (await second.resume("job-1")).state == "RUNNING"
    view = await cluster.finish(at=now.node)
    assert (view.state, view.summary.retried) == ("SUCCEEDED", 0)
    assert cluster.parts() == cluster.expected()
    assert (await second.pause("job-1")).state == "SUCCEEDED", "a job that is over does not change"


async def test_a_job_that_comes_later_gets_the_first_slot_that_is_free(cluster: Any) -> None:
    """Three slots, all of a job with eight maps that wait for a flag."""
    cluster.write_input("poison\n" * 8)
    await cluster.submit(replace(cluster.spec("long", mode="wait"), split_bytes=7))
    keeper = cluster.nodes[NodeId("n1")].coordinator
    await cluster.until(lambda: keeper.views()[0].summary.stages[0].running == 3)
    await cluster.submit(replace(cluster.spec("short", out="short"), weight=2))
    await cluster.until(lambda: "short" in keeper._jobs and len(keeper._jobs["short"]._reachable) == 3)
    (cluster.folder / "flag").touch()
    assert (await cluster.finish("short")).weight == 2
    assert (await cluster.finish("long")).state == "SUCCEEDED"
    long, short = [
        [each.began_s for each in await keeper.attempts(job) if each.stage == "map"]
        for job in ("long", "short")
    ]
    late_s = keeper._jobs["short"]._began - keeper._jobs["long"]._began  # by the clock of the attempts
    assert len(long) >= 8
    assert sorted(long)[3] >= short[0] + late_s, "the other one has as many slots as it may have"


async def test_of_a_job_that_has_ended_no_output_of_an_attempt_is_kept_and_nothing_is_summed_up_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator keeps the last hundred jobs, and the list of them is asked for each second."""
    cluster.write_input("one two\n", "three four\n")
    view = await cluster.run(cluster.spec())
    keeper = cluster.nodes[NodeId("n1")].coordinator
    run = keeper._jobs["job-1"]
    assert len(view.summary.tasks) == 4
    await cluster.until(lambda: run.attempts() is None)
    assert run._machine.maps == run._machine.reduces == []
    monkeypatch.setattr(views, "summarize", None)
    assert keeper.views() == [await keeper.view("job-1")] == [view]
    assert [each async for each in keeper.watch("job-1")] == [view]
    assert await keeper.kill("job-1") == view
    monkeypatch.undo()
    attempts = [*await keeper.attempts("job-1")]
    assert sorted(each.task for each in attempts if each.counts) == sorted(
        task.task for task in view.summary.tasks
    )
    assert keeper.views() == [view]
