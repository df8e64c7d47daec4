"""What is told by a job's journal, as its coordinator does not answer, says so: to people and to programs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ringmill.client.administration.status import ClusterStatus, Ranges
from ringmill.client.cli.jobs import job_follow, job_read
from ringmill.client.cli.jobs.explain import job_explain
from ringmill.client.cli.main import main
from ringmill.client.gateway.page.live_view import live_view
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.job_values import JobList, JobState
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary

JOURNAL = JobState(
    job="job-1", name="m:job", state="RUNNING", node="", output="/out", seconds=7.0, submitted_at=0.0,
    stages=(), tasks=(), retried=0, records={}, counters={}, events=(), error=None,
)  # fmt: skip
STATES = {
    "by its journal": JOURNAL,
    "by its coordinator": replace(JOURNAL, node="n1"),
    "over": replace(JOURNAL, state="SUCCEEDED"),
    "in a list": replace(JOURNAL, state="OPEN"),
}
NOTE = "the coordinator of job-1 does not answer: this is what the journal of the job has"


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> JobState:
    told = STATES[request.param]

    async def status(job: str) -> JobState:
        return told

    async def state_and_attempts(job: str) -> tuple[JobState, tuple[AttemptSummary, ...]]:
        return told, ()

    async def watch(job: str) -> AsyncIterator[JobState]:
        for state in (
            told,
            told,
            replace(JOURNAL, node="n2"),
            replace(JOURNAL, node="n2", state="SUCCEEDED"),
        ):
            yield state

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(
            jobs=SimpleNamespace(status=status, state_and_attempts=state_and_attempts, watch=watch)
        )

    monkeypatch.setattr(job_read, "open_client", opened)
    monkeypatch.setattr(job_explain, "open_client", opened)
    monkeypatch.setattr(job_follow, "open_client", opened)
    return told


@pytest.mark.parametrize("verb", ["status", "explain", "counters"])
def test_it_is_said_to_people_and_to_programs(
    state: JobState, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ([], ["-o", "json"]):
        assert main(["job", verb, "job-1", *flags]) == 0
        told = capsys.readouterr()
        assert (NOTE in told.err) == (state is JOURNAL)
    assert json.loads(told.out)["of_journal"] == (state is JOURNAL)


def test_who_keeps_the_job_is_never_empty(state: JobState, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "status", "job-1"]) == 0
    assert f"kept by\t{state.node or 'its journal'}\n" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [(), ("-o", "json")])
def test_whoever_follows_the_job_is_told_once(
    state: JobState, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "follow", "job-1", *flags]) == 0
    assert capsys.readouterr().err.count(NOTE) == (state is JOURNAL)


def test_it_is_said_in_python_over_http_and_on_the_page(state: JobState) -> None:
    assert state.is_of_journal == JobExplanation.of(state, ()).is_of_journal == (state is JOURNAL)
    assert state.to_dict()["of_journal"] == (state is JOURNAL)
    cluster = ClusterStatus("c", 1, 3, "ok", (), "n1", Ranges(1, 0, 0), ())
    [shown] = live_view(1.0, cluster, None, None, JobList((state,)), None)["jobs"]
    assert shown["of_journal"] == (state is JOURNAL)
