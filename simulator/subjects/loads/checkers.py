"""C9 of a job whose output is a keyspace: every record is there once it has succeeded, none when it has
failed before it was loading, and none that a client has replaced comes back.  One that replaces the keyspace
does it in one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.simulator.checkers.job_excuses import is_excused
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.subjects.loads.sessions import MINE, LoadHistory
from ringmill.simulator.subjects.loads.workload import ONLY_BEFORE, LoadPlan

__all__ = ["check_load"]

_HAS_BEGUN: Final = "records are in keyspace"


def check_load(plan: LoadPlan, record: JobRecord, seen: LoadHistory, history: History) -> Iterator[Violation]:
    if record.lost_as:
        yield _violation(b"", f"was accepted and never ended; at last {record.lost_as}")
    for story in seen.unread:
        yield _violation(b"", f"could not be read long after healing: {story}")
    if not seen.held:
        return
    ends = {
        report.state: report for report in record.told if report.state in ("SUCCEEDED", "FAILED", "KILLED")
    }
    if len(ends) > 1:
        yield _violation(b"", f"ended in two ways: {', '.join(sorted(ends))}")
    yield from _in_one_step(seen)
    if "SUCCEEDED" in ends:
        for key, value in plan.records.items():
            yield from _kept(key, value, seen)
        if seen.held.get(ONLY_BEFORE):
            yield _violation(ONLY_BEFORE, "is there, and the job has replaced the keyspace")
    elif "FAILED" in ends and not is_excused(ends["FAILED"], history, record):
        yield _violation(b"", f"failed though it need not: {ends['FAILED'].error}")
    elif "FAILED" in ends and record.submits == 1:
        yield from _untouched(plan, seen, ends["FAILED"].error)


def _untouched(plan: LoadPlan, seen: LoadHistory, error: str) -> Iterator[Violation]:
    """Nothing shows of a job that failed before it was loading, or was to replace the keyspace."""
    if not plan.replaces and _HAS_BEGUN in error:
        return
    for key, values in seen.held.items():
        wanted = {plan.former[key]} if key in plan.former else set[bytes]()
        if set(values) != wanted:
            yield _violation(key, f"holds {sorted(values)}, and the job failed before: {error}")


def _in_one_step(seen: LoadHistory) -> Iterator[Violation]:
    """A client that has read a record of the job in a keyspace that it replaces reads no former one later."""
    new_at = next((at for at, (_, is_new) in enumerate(seen.generations) if is_new), None)
    for key, is_new in seen.generations[new_at:] if new_at is not None else ():
        if not is_new:
            first = seen.generations[new_at][0] if new_at is not None else b""
            yield _violation(key, f"was read as before the job, after {first!r} was read as it left it")


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
