"""What C9 excuses and what C17 asks of a job."""

import pytest

from ringmill.simulator.job_history import JobRecord, Told


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
