"""C9: a job's committed output equals the one-process oracle, each task committed once.

At every moment an output is whole and right or invisible; once shown it stays, and over any power cut as
well when its job has succeeded; a job that failed or was killed shows nothing; each record and counter of a
success was counted once; a paused job begins nothing; every job that fails does so for a cause that the
faults of the run can have.  A job that was accepted ends, whatever becomes of its coordinators, and all who
tell of its end tell the same.  Of a job that is forgotten no owner keeps anything, and nothing comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf
from typing import Final

from ringmill.simulator.checkers.job_excuses import is_excused
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord

__all__ = ["check_jobs"]

_SLOW_NODE: Final = "slow_node"
_HELD_UP_S: Final = 60.0  # jobs beside a slow node took 26 s at most in 300 seeds
_TRIES_OF_A_SLOW_TASK: Final = 2


def check_jobs(history: History) -> Iterator[Violation]:
    for sighting in history.jobs.sightings:
        if sighting.state == "torn":
            yield _violation(sighting.output, f"torn at {sighting.at:.3f} s: {sighting.story}")
    for job in history.jobs.jobs:
        yield from _kept(history, job)
        yield from _once(history, job)
        yield from _failed_with_cause(history, job)
        yield from _ended_once(job)
        yield from _held_back(job)
        yield from _not_held_up(history, job)
    for name in history.jobs.revived:
        yield _violation(name, "an entry was written to a journal that is forgotten")
    for name in history.jobs.left:
        yield _violation(name, "a register of a journal that is forgotten is still there")
    for output in sorted({job.output for job in history.jobs.jobs}):
        yield from _invisible(history, output)
        yield from _never_taken_away(history, output)


def _kept(history: History, job: JobRecord) -> Iterator[Violation]:
    """After a success the output never disappears."""
    success = next((report for report in job.told if report.state == "SUCCEEDED"), None)
    if success is None:
        return
    mine = [sighting for sighting in history.jobs.sightings if sighting.output == job.output]
    before = [sighting for sighting in mine if sighting.at <= success.at]
    since = [*before[-1:], *(sighting for sighting in mine if sighting.at > success.at)]
    for sighting in since:
        if sighting.state != "whole":
            yield _violation(
                job.job, f"succeeded at {success.at:.3f} s, output {sighting.state} at {sighting.at:.3f} s"
            )


def _once(history: History, job: JobRecord) -> Iterator[Violation]:
    for report in job.told:
        if report.state != "SUCCEEDED":
            continue
        if dict(report.records) != dict(history.jobs.records[job.output]):
            yield _violation(job.job, f"records {report.records}, oracle {history.jobs.records[job.output]}")
        if dict(report.counters) != dict(history.jobs.counters[job.output]):
            yield _violation(
                job.job, f"counters {report.counters}, oracle {history.jobs.counters[job.output]}"
            )


def _ended_once(job: JobRecord) -> Iterator[Violation]:
    if job.lost_as:
        yield _violation(job.job, f"was accepted and never ended; at last {job.lost_as}")
    ends = {report.state: report for report in job.told if report.state in ("SUCCEEDED", "FAILED", "KILLED")}
    if len(ends) > 1:
        story = ", ".join(f"{report.state} by {report.node} at {report.at:.3f} s" for report in ends.values())
        yield _violation(job.job, f"ended in two ways: {story}")


def _held_back(job: JobRecord) -> Iterator[Violation]:
    """A paused job begins nothing."""
    for before, after in job.in_pauses:
        if after > before:
            yield _violation(job.job, f"began {after - before} attempts while it was paused")


def _not_held_up(history: History, job: JobRecord) -> Iterator[Violation]:
    """A slow node alone holds no job up for long, and costs each task one more attempt at most."""
    if frozenset(history.fired) != {_SLOW_NODE} or job.submits > 1:
        return
    ends = [report.at for report in job.told if report.state == "SUCCEEDED"]
    if ends and ends[0] - job.told[0].at > _HELD_UP_S:
        yield _violation(job.job, f"took {ends[0] - job.told[0].at:.1f} s among nodes of which one is slow")
    if job.tries > _TRIES_OF_A_SLOW_TASK:
        yield _violation(job.job, f"a task had {job.tries} attempts, though none failed")


def _failed_with_cause(history: History, job: JobRecord) -> Iterator[Violation]:
    for report in {report.cause: report for report in job.told if report.state == "FAILED"}.values():
        if not is_excused(report, history, job):
            yield _violation(job.job, f"failed on {report.node} though it need not: {report.error}")


def _invisible(history: History, output: str) -> Iterator[Violation]:
    """Nothing shows when every job for an output is known to have failed or to have been killed."""
    jobs = [job for job in history.jobs.jobs if job.output == output]
    mine = [sighting for sighting in history.jobs.sightings if sighting.output == output]
    if not mine or mine[-1].state != "whole":
        return
    if all(_is_known_to_have_failed(job) for job in jobs):
        yield _violation(output, "visible, though no job for it may have succeeded")


def _never_taken_away(history: History, output: str) -> Iterator[Violation]:
    """Only a power cut, or a job that may replace what is there, hides an output that was seen whole: two
    coordinators of one such job may be at it at once, until it is told as over."""
    mine = [sighting for sighting in history.jobs.sightings if sighting.output == output]
    replaces = any(job.replaces for job in history.jobs.jobs if job.output == output)
    if replaces:
        return
    is_cut = bool(history.fired.get("crash_all"))
    cut_at = history.first_fired_at.get("crash_all", -inf if is_cut else inf)
    for seen, later in pairwise(mine):
        if seen.state == "whole" and later.at < cut_at:
            yield _violation(output, f"whole at {seen.at:.3f} s, {later.state} at {later.at:.3f} s")


def _is_known_to_have_failed(job: JobRecord) -> bool:
    """One submit, one keeper, and its word."""
    if not job.submits:
        return True
    ended = {report.state for report in job.told if report.state in ("FAILED", "KILLED", "SUCCEEDED")}
    return job.submits == 1 and bool(ended) and "SUCCEEDED" not in ended


def _violation(what: str, story: str) -> Violation:
    return Violation("C9", what.encode(), story)
