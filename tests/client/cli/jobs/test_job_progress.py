"""What is told of a job while it runs, in a pipe."""

from __future__ import annotations

import pytest

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.jobs.job_document import stage_counts
from ringmill.client.cli.jobs.job_progress import bar_text, shown_progress
from ringmill.client.jobs.job_values import JobState, job_state
from ringmill.cluster.wire.stubs import jobs_pb2


def with_failures(count: int, state: str) -> JobState:
    events = [f"map-{number}.1 on n1 failed, UserError: {'much ' * 100}" for number in range(count)]
    return job_state(jobs_pb2.JobStatus(job="count-1", state=state, events=events))


def test_a_job_that_fails_everywhere_tells_five_failures_and_how_many_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with shown_progress(Settings()) as show:
        for told in (with_failures(2, "RUNNING"), with_failures(30, "RUNNING"), with_failures(32, "FAILED")):
            show(told)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines if " on n1 failed" in line] == [f"map-{n}.1" for n in range(5)]
    assert "  and 27 more: ringmill job status count-1" in lines
    assert max(map(len, lines)) <= 202


def test_an_event_before_one_that_is_always_the_last_is_reported_and_no_event_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = "the job counts 1,000 names or more"
    events = (["a", many], ["a", "b", many], ["a", "b", "b", many], ["a", "b", "b", "c", "d", many])
    with shown_progress(Settings()) as show:
        for number, each in enumerate(events, 1):
            state = "RUNNING" if number < len(events) else "SUCCEEDED"
            show(job_state(jobs_pb2.JobStatus(job="j-1", state=state, events=each)))
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.startswith("  ")]
    assert lines == ["a", many, "b", "b", "c", "and 1 more: ringmill job status j-1"]


def test_tasks_that_nobody_tells_of_are_not_told_as_none() -> None:
    over = jobs_pb2.JobStatus(job="count-1", state="SUCCEEDED")
    assert stage_counts(job_state(over)) == ["-", "-"]
    over.stages.add(name="map", total=0)
    over.stages.add(name="reduce", total=4, done=3)
    assert stage_counts(job_state(over)) == ["0/0", "3/4"]


def test_a_bar_tells_what_its_stage_has_read_and_no_rate_of_other_stages() -> None:
    told = jobs_pb2.JobStatus(job="count-1", state="RUNNING", seconds=100)
    told.stages.add(name="map", total=4, done=4, bytes_total=8_000_000, bytes_done=8_000_000)
    told.stages.add(name="reduce", total=4, done=1, bytes_total=9_000_000, bytes_done=3_000_000)
    told.stages.add(name="next", total=4)
    state = job_state(told)
    bars = [bar_text(state, stage).strip() for stage in state.stages]
    assert bars == ["4/4  8.0 MB", "1/4  3.0 of 9.0 MB", "0/4"]
