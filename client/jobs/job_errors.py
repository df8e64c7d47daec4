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

__all__ = ["is_silence", "job_lost", "perhaps_accepted", "refusal"]


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
    return JobFailed(
        f"job {state.job} is lost: its coordinator {state.node} is gone and no other one is found ({error}); "
        f"its output {state.output} is complete or does not exist",
        detail={"job": state.job, "node": state.node, "output": state.output, "cause": "LostNode"},
        hint=f"the job goes on as soon as most nodes are up again: `ringmill job status {state.job}`",
        outcome="unknown",
    )
