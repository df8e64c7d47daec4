"""Workers tell of heavy keys to coordinators that read them, and a job names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, Poll, PollAnswer
from ringmill.node.jobs.workers.worker_polls import WorkerPolls

RARE = " ".join(f"w{n}" for n in range(3000))


def skewed(cluster: Any) -> Any:
    """A job of two maps that combines nothing, with 24,000 of 30,000 records under one key."""
    cluster.write_input(*[f"{'the ' * 12_000}{RARE}\n"] * 2)
    return replace(cluster.spec(), name="uncombined")


def fields_of_maps(reports: list[AttemptReport]) -> set[int]:
    return {len(report.body) for report in reports if report.attempt.stage == "map"}


async def test_a_job_names_the_key_by_which_one_reduce_has_more_to_do_than_others(cluster: Any) -> None:
    view = await cluster.run(skewed(cluster))
    assert (view.state, view.summary.retried) == ("SUCCEEDED", 0)
    [key] = view.summary.heavy_keys
    assert (key.key, key.records) == ("'the'", 24_000)
    assert key.share == pytest.approx(0.8)
    [line] = [each for each in view.summary.story if each.startswith("key ")]
    told = "key 'the' has 80% of the records that reduces read, 24,000"
    assert line == f"{told}: {key.task} has all of them to do"
    assert fields_of_maps(cluster.reports) == {9}
    elsewhere = await cluster.nodes["n2"].coordinator.view("job-1")
    assert elsewhere.summary.heavy_keys == (key,), "any node tells it, from the journal"


@pytest.mark.parametrize("asks_machine", [False, True])
async def test_a_coordinator_of_an_earlier_release_gets_what_it_reads(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, asks_machine: bool
) -> None:
    async def ask_as_formerly(self: WorkerPolls, node: Any, job: str, term: int) -> PollAnswer:
        return await self._answered(node, Poll(job, term, asks_machine=asks_machine))

    monkeypatch.setattr(WorkerPolls, "poll", ask_as_formerly)
    view = await cluster.run(skewed(cluster))
    assert (view.state, view.summary.heavy_keys) == ("SUCCEEDED", ())
    assert fields_of_maps(cluster.reports) == {8}
