"""Which failures of a job the faults of its run can have: a table of causes, for jobs of any output.

A fault excuses only what is told after it has begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord, JobReport

__all__ = ["is_excused"]

_OF_A_LOSS: Final = frozenset(
    {"LostNode", "FetchFailed", "UNAVAILABLE", "QUORUM_NOT_REACHED", "DEADLINE_EXCEEDED"}
)
_TAKES_NOTHING: Final = frozenset(
    (
        "child_cut", "child_kill", "clock_drift", "commit_error", "disk_slow", "duplicate", "kill_tasks",
        "late_work", "left_slow_disk", "memory_taken", "part_lost", "reorder", "slow_node", "states_lost",
        "task_kill",
    )
)  # fmt: skip
"""All other kinds can take a node, its files or the network from a job for a while."""
_BUG: Final = "hit a fault of its coordinator"
_DAMAGE: Final = (
    "bad_sector", "bit_flip", "bit_flip_found", "bit_rot", "disk_lies", "disk_lost", "disk_replaced",
    "folder_restored", "log_rot", "machine_put_back", "store_lost",
)  # fmt: skip
_BY_THE_DISK: Final = ("commit_error", "crash_all", "disk_error", "disk_full")
_ENDS_A_SNAPSHOT: Final = (
    *_DAMAGE, "crash", "crash_all", "crash_child", "crash_keeper", "crash_loader", "crash_mapper",
    "disk_error", "disk_full", "folder_copied", "full_beside_silence", "left_dead", "restart", "split_joint",
    "split_leaver", "stop_beside_silence", "strand_owner",
)  # fmt: skip
"""The node is started again, what it holds is damaged, or its copies move."""
_BY_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "EngineError": _BY_THE_DISK,
    "DiskFull": _BY_THE_DISK,
    "DISK_FULL": _BY_THE_DISK,
    "JOB_FAILED": _DAMAGE,  # its journal cannot be read or gone on with
    "InputChanged": (*_ENDS_A_SNAPSHOT, "states_lost"),
}
_TASK_TRIES: Final = 3


def is_excused(report: JobReport, history: History, job: JobRecord) -> bool:
    """Can the faults that had fired by then have had this cause?"""
    fired = {kind for kind, at in history.first_fired_at.items() if at <= report.at}
    others = sum(other.output == job.output for other in history.jobs.jobs if other is not job)
    if _BUG in report.error:
        return False
    match report.cause:
        case "Killed":
            excuse = history.jobs.struck.get(job.job, 0) >= _TASK_TRIES
        case "INVALID_ARGUMENT":  # the output exists: another submit of the same work was faster
            excuse = job.submits + others > 1
        case "CORRUPT_DATA":  # a part is gone: another run of the same job has made its folder anew
            excuse = job.submits > 1 or "part_lost" in fired
        case cause if cause in _OF_A_LOSS:
            excuse = bool(fired - _TAKES_NOTHING)
        case cause:
            excuse = not fired.isdisjoint(_BY_KINDS.get(cause, ()))
    return excuse
