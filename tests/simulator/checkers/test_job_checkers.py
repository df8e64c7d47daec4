"""What C9 excuses and what C17 asks of a job."""

from random import Random

import pytest

from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobHistory, JobRecord, JobReport, Sighting
from ringmill.simulator.subjects.jobs.checkers import check_jobs
from ringmill.simulator.subjects.loads.checkers import check_load
from ringmill.simulator.subjects.loads.sessions import LoadHistory
from ringmill.simulator.subjects.loads.workload import draw_load

PLAN = draw_load(Random(1), "", reads_snapshot=True)
HELD = LoadHistory(held={b"absent": ()})


def report(state: str, cause: str = "", at: float = 10.0) -> JobReport:
    return JobReport(at, "n1", state, {}, {}, f"{cause}: it happened" if cause else "", cause)


def record(*said: JobReport, trouble: tuple[str, ...] = ()) -> JobRecord:
    return JobRecord("job-1", "/shared/out", submits=1, told=list(said), trouble=list(trouble))


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (record(report("RUNNING"), report("SUCCEEDED")), ""),
        (record(report("RUNNING")), "still runs"),
        (record(trouble=("no answer",)), "no answer"),
        (record(report("FAILED", "EngineError")), "FAILED: EngineError: it happened"),
        (record(report("KILLED")), "KILLED: "),
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
    history = History(first_fired_at=first_at, jobs=JobHistory([record(report("FAILED", cause))]))
    assert [v.property for v in check_jobs(history)] == ([] if is_excused else ["C9"])


@pytest.mark.parametrize("what", ["revived", "left"])
def test_c9_of_a_journal_that_is_forgotten_nothing_is_left_and_nothing_comes_back(what: str) -> None:
    jobs = JobHistory(**{what: ["ringmill/job/job-1.1.1/0"]})  # type: ignore[arg-type]
    assert [v.property for v in check_jobs(History(jobs=jobs))] == ["C9"]


@pytest.mark.parametrize(
    ("fired_at", "is_excused"), [({}, False), ({"crash_all": 5.0}, True), ({"crash_all": 8.0}, False)]
)
def test_c9_an_output_is_taken_away_by_a_power_cut_before_and_not_by_a_later_one(
    fired_at: dict[str, float], is_excused: bool
) -> None:
    seen = [Sighting(4.0, "/shared/out", "whole"), Sighting(6.0, "/shared/out", "absent")]
    jobs = JobHistory([record(report("RUNNING"))], seen)
    history = History(first_fired_at=fired_at, fired=dict.fromkeys(fired_at, 1), jobs=jobs)
    assert [v.property for v in check_jobs(history)] == ([] if is_excused else ["C9"])


@pytest.mark.parametrize(
    ("struck", "is_excused"), [({"job-1": 3}, True), ({"job-1": 2, "job-2": 9}, False), ({}, False)]
)
def test_c9_kills_of_another_job_do_not_excuse_this_one(struck: dict[str, int], is_excused: bool) -> None:
    history = History(
        fired={"kill_tasks": 11}, jobs=JobHistory([record(report("FAILED", "Killed"))], struck=struck)
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
        ("JOB_FAILED", "bit_flip_found", True),
        ("JOB_FAILED", "bad_sector", True),
        ("JOB_FAILED", "disk_replaced", True),
        ("JOB_FAILED", "log_rot", True),
        ("UNAVAILABLE", "split_one", True),
        ("UNAVAILABLE", "clock_drift", False),
        ("LostNode", "late_work", False),
        ("FetchFailed", "disk_slow", False),
        ("FetchFailed", "shuffle_damage", True),
        ("InputChanged", "split_one", False),
        ("InputChanged", "clock_jump", False),
        ("InputChanged", "restart", True),
        ("InputChanged", "bit_flip", True),
        ("InputChanged", "split_leaver", True),
    ],
)
def test_c9_a_cause_that_the_faults_of_the_run_cannot_have(cause: str, fired: str, is_excused: bool) -> None:
    failed_at_ten = record(report("FAILED", cause))
    history = History(fired={fired: 1}, first_fired_at={fired: 9.0}, jobs=JobHistory([failed_at_ten]))
    assert (not list(check_jobs(history))) is is_excused
    assert (not list(check_load(PLAN, failed_at_ten, HELD, history))) is is_excused
    history = History(fired={fired: 1}, first_fired_at={fired: 10.5}, jobs=JobHistory([failed_at_ten]))
    assert list(check_jobs(history)) and list(check_load(PLAN, failed_at_ten, HELD, history)), "it came later"


def test_c9_a_fault_of_the_coordinator_is_never_excused() -> None:
    story = "JOB_FAILED: job j hit a fault of its coordinator: X"
    bug = JobReport(10.0, "n1", "FAILED", {}, {}, story, "JOB_FAILED")
    history = History(fired={"bit_rot": 1}, first_fired_at={"bit_rot": 1.0}, jobs=JobHistory([record(bug)]))
    assert [v.property for v in check_jobs(history)] == ["C9"]


def test_c9_nothing_is_lost_where_nothing_goes_wrong() -> None:
    assert list(check_jobs(History(jobs=JobHistory([record(report("FAILED", "LostNode"))]))))
