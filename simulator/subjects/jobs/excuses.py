"""Which failures of a job the faults of its run can have: a table of causes, for jobs of any output.

A fault excuses only what is told after it has begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord, Told

__all__ = ["is_excused"]

_OF_A_LOSS: Final = frozenset(
    {"LostNode", "FetchFailed", "UNAVAILABLE", "QUORUM_NOT_REACHED", "DEADLINE_EXCEEDED"}
)
_TAKES_NOTHING: Final = frozenset(
    (
        "child_cut", "child_kill", "clock_drift", "commit_error", "disk_slow", "duplicate", "kill_tasks",
        "late_work", "part_lost", "reorder", "slow_node", "task_kill",
    )
)  # fmt: skip
"""All other kinds can take a node, its files or the network from a job for a while."""
_OF_A_JOURNAL: Final = "JOB_FAILED"
_BUG: Final = "hit a fault of its coordinator"
_DAMAGE: Final = (
    "bad_sector", "bit_flip", "bit_flip_found", "bit_rot", "disk_lies", "disk_lost", "disk_replaced",
    "folder_restored", "log_rot", "store_lost",
)  # fmt: skip
_OF_THE_DISK: Final = frozenset({"EngineError", "DiskFull", "DISK_FULL"})
_BY_THE_DISK: Final = ("commit_error", "crash_all", "disk_error", "disk_full")
_OF_A_SNAPSHOT: Final = "InputChanged"
_ENDS_A_SNAPSHOT: Final = (
    *_DAMAGE, "crash", "crash_all", "crash_child", "crash_keeper", "crash_loader", "crash_mapper",
    "disk_error", "disk_full", "folder_copied", "full_beside_silence", "restart", "split_joint",
    "split_leaver", "stop_beside_silence", "strand_owner",
)  # fmt: skip
"""The node is started again, what it holds is damaged, or its copies move."""
_TASK_TRIES: Final = 3


def is_excused(told: Told, history: History, job: JobRecord) -> bool:
    """Can the faults that had fired by then have had this cause?"""

    def fired(kinds: Iterable[str]) -> bool:
        return any(history.first_fired_at.get(kind, told.at + 1) <= told.at for kind in kinds)

    others = sum(other.output == job.output for other in history.jobs.jobs if other is not job)
    if _BUG in told.error:
        return False
    if told.cause in _OF_THE_DISK:
        return fired(_BY_THE_DISK)
    if told.cause == "Killed":
        return history.jobs.struck.get(job.job, 0) >= _TASK_TRIES
    if told.cause == "INVALID_ARGUMENT":  # the output exists: another submit of the same work was faster
        return job.submits + others > 1
    if told.cause == "CORRUPT_DATA":  # a part is gone: another run of the same job has made its folder anew
        return job.submits > 1 or fired(["part_lost"])
    if told.cause == _OF_A_JOURNAL:  # it cannot be read or gone on with
        return fired(_DAMAGE)
    if told.cause == _OF_A_SNAPSHOT:
        return fired(_ENDS_A_SNAPSHOT)
    return told.cause in _OF_A_LOSS and fired(history.first_fired_at.keys() - _TAKES_NOTHING)
