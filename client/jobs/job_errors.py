"""The errors of requests about jobs: of several members at once, and of a coordinator that is gone."""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.client.jobs.job_values import JobState
from ringmill.client.routing.directory import none_reachable
from ringmill.cluster.errors import (
    DeadlineExceeded,
    JobFailed,
    NotFound,
    RingmillError,
    Unavailable,
)

__all__ = ["is_open", "is_silence", "job_lost", "not_told", "perhaps_accepted", "refusal"]


def is_open(error: RingmillError) -> bool:
    """Whether a member says that the job is not over, and that another node coordinates it, or none does."""
    return "open_job" in error.detail


def is_silence(error: RingmillError) -> bool:
    return isinstance(error, Unavailable | DeadlineExceeded)


def refusal(refused: Mapping[str, RingmillError], what: str = "") -> RingmillError:
    """The error when no member knew the job: the first refusal, else the list of silent members."""
    for error in refused.values():
        if not is_silence(error) and not isinstance(error, NotFound):
            return error
    silent = {address: str(error) for address, error in refused.items() if is_silence(error)}
    if len(silent) == len(refused):
        return none_reachable(list(silent), silent)
    return Unavailable(
        f"{what}, and {', '.join(silent)} did not answer and may know it",
        detail={"failed": silent},
        hint="`ringmill cluster status` shows the state of each node; a paused node continues its jobs when "
        "it is resumed",
    )


def not_told(job: str, refused: Mapping[str, RingmillError]) -> RingmillError:
    """The error when no member tells of a job."""
    if all(isinstance(error, NotFound) for error in refused.values()):
        return NotFound(f"no node knows job {job!r}", hint="`ringmill job list` shows the known jobs")
    if any(map(is_open, refused.values())):
        return Unavailable(
            f"job {job} has no coordinator at the moment: it goes on with the next one",
            detail={"open_job": job},
            hint="ask again in a few seconds",
            outcome="failed",
        )
    return refusal(refused, f"no node that answers knows job {job!r}")


def perhaps_accepted(job: str, error: RingmillError) -> RingmillError:
    """The error with outcome unknown: the job was, or may have been, accepted."""
    twin = error.with_outcome("unknown")
    twin.message = f"job {job} may have been accepted: {error.message}"
    twin.detail["job"] = job
    twin.hint = f"`ringmill job status {job}` shows whether it runs"
    return twin


def job_lost(state: JobState, error: RingmillError) -> JobFailed:
    """The error of a lost coordinator.

    It may have ended before or after the rename that makes the output visible, so only the folder shows
    which.
    """
    who = f"its coordinator {state.node}" if state.node else "its coordinator"
    return JobFailed(
        f"job {state.job} is lost: {who} is gone and no other one is found ({error}); "
        f"its output {state.output} is complete or does not exist",
        detail={"job": state.job, "node": state.node, "output": state.output, "cause": "LostNode"},
        hint=f"the job goes on as soon as most nodes are up again: `ringmill job status {state.job}`",
        outcome="unknown",
    )
