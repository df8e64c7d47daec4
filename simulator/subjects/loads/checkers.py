"""C9 of a job whose output is a keyspace: every record is there once it has succeeded, none when it has
failed before it was loading, and none that a client has replaced comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.subjects.loads.sessions import MINE, LoadHistory
from ringmill.simulator.subjects.loads.workload import LoadPlan

__all__ = ["check_load"]

_HAS_BEGUN: Final = "records are in keyspace"


def check_load(
    plan: LoadPlan, record: JobRecord, seen: LoadHistory, *, has_faults: bool
) -> Iterator[Violation]:
    if record.lost_as:
        yield _violation(b"", f"was accepted and never ended; at last {record.lost_as}")
    for story in seen.unread:
        yield _violation(b"", f"could not be read long after healing: {story}")
    if not seen.held:
        return
    ends = {told.state: told for told in record.told if told.state in ("SUCCEEDED", "FAILED", "KILLED")}
    if len(ends) > 1:
        yield _violation(b"", f"ended in two ways: {', '.join(sorted(ends))}")
    if "SUCCEEDED" in ends:
        for key, value in plan.records.items():
            yield from _kept(key, value, seen)
    elif "FAILED" in ends and not has_faults:
        yield _violation(b"", f"failed though nothing went wrong: {ends['FAILED'].error}")
    elif "FAILED" in ends and record.submits == 1 and _HAS_BEGUN not in ends["FAILED"].error:
        for key, values in seen.held.items():
            if values:
                yield _violation(key, f"is there, and the job failed before: {ends['FAILED'].error}")


def _kept(key: bytes, value: bytes, seen: LoadHistory) -> Iterator[Violation]:
    held = set(seen.held.get(key, ()))
    match seen.overwritten.get(key):
        case None:
            allowed: list[set[bytes]] = [{value}]
        case "ok":
            allowed = [{MINE}]
        case _:
            allowed = [{value}, {MINE}]
    if held not in allowed:
        story = f"the job succeeded, a client's write over it was {seen.overwritten.get(key)}"
        yield _violation(key, f"holds {sorted(held)}: {story}")


def _violation(key: bytes, story: str) -> Violation:
    return Violation("C9", key or b"job-load", story)
