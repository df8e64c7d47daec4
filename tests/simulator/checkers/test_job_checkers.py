"""What C9 excuses and what C17 asks of a job."""

import pytest

from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobHistory, JobRecord, Told
from ringmill.simulator.subjects.jobs.checkers import check_jobs


def told(state: str, cause: str = "", at: float = 10.0) -> Told:
    return Told(at, "n1", state, {}, {}, f"{cause}: it happened" if cause else "", cause)


def record(*said: Told, trouble: tuple[str, ...] = ()) -> JobRecord:
    return JobRecord("job-1", "/shared/out", submits=1, told=list(said), trouble=list(trouble))


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (record(told("RUNNING"), told("SUCCEEDED")), ""),
        (record(told("RUNNING")), "still runs"),
        (record(trouble=("no answer",)), "no answer"),
        (record(told("FAILED", "EngineError")), "FAILED: EngineError: it happened"),
        (record(told("KILLED")), "KILLED: "),
    ],
)
def test_c17_a_job_that_failed_has_not_succeeded(job: JobRecord, why: str) -> None:
    assert job.shortfall == why


@pytest.mark.parametrize(
    ("first_at", "is_excused"), [({"commit_error": 9.0}, True), ({"commit_error": 11.0}, False), ({}, False)]
)
@pytest.mark.parametrize("cause", ["EngineError", "DISK_FULL"])
def test_c9_a_disk_that_fails_later_does_not_excuse_a_job(
    first_at: dict[str, float], is_excused: bool, cause: str
) -> None:
    history = History(first_fired_at=first_at, jobs=JobHistory([record(told("FAILED", cause))]))
    assert [v.property for v in check_jobs(history)] == ([] if is_excused else ["C9"])


@pytest.mark.parametrize(
    ("struck", "is_excused"), [({"job-1": 3}, True), ({"job-1": 2, "job-2": 9}, False), ({}, False)]
)
def test_c9_kills_of_another_job_do_not_excuse_this_one(struck: dict[str, int], is_excused: bool) -> None:
    history = History(
        fired={"kill_tasks": 11}, jobs=JobHistory([record(told("FAILED", "Killed"))], struck=struck)
    )
    assert [v.property for v in check_jobs(history)] == ([] if is_excused else ["C9"])


@pytest.mark.parametrize(
    ("cause", "fired", "is_excused"),
    [
        ("INTERNAL", "crash", False),
        ("", "crash", False),
        ("Cancelled", "crash", False),
        ("LostNode", "crash", True),
        ("JOB_FAILED", "crash", False),
        ("JOB_FAILED", "bit_flip", True),
    ],
)
def test_c9_a_cause_that_the_faults_of_the_run_cannot_have(cause: str, fired: str, is_excused: bool) -> None:
    history = History(fired={fired: 1}, jobs=JobHistory([record(told("FAILED", cause))]))
    assert (not list(check_jobs(history))) is is_excused


def test_c9_nothing_is_lost_where_nothing_goes_wrong() -> None:
    assert list(check_jobs(History(jobs=JobHistory([record(told("FAILED", "LostNode"))]))))
