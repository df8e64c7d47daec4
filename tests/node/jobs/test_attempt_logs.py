"""What attempts print is kept within a bound, failures longest."""

from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.jobs import attempt_logs
from ringmill.node.jobs.attempt_logs import MAX_BYTES, AttemptLogs
from ringmill.node.jobs.views import AttemptLog


def ended(task: int, output: bytes) -> AttemptReport:
    return AttemptReport("j", AttemptId("map", task, 1), NodeId("n1"), "1", "done", output=output)


def test_logs_are_found_by_task_with_what_the_code_logged_at_their_end() -> None:
    logs = AttemptLogs()
    logs.keep(ended(0, b"printed\n"), lines=["logged", "\udcff", "half \ud83d"])
    logs.keep(ended(1, b""), cause="Killed")
    assert [log.output for log in logs.of("map-0")] == [b"printed\nlogged\n\xff\nhalf \\ud83d\n"]
    assert [(log.task, log.cause) for log in logs.of("")] == [("map-0", ""), ("map-1", "Killed")]


def test_too_much_output_drops_the_oldest_success_first() -> None:
    logs, piece = AttemptLogs(), bytes(MAX_BYTES // 4)
    logs.keep(ended(0, piece), cause="UserError")
    for task in range(1, 6):
        logs.keep(ended(task, piece))
    assert [log.task for log in logs.of("")] == ["map-0", "map-3", "map-4", "map-5"]


def fail_alike(logs: AttemptLogs, task: int, message: str = "no such thing", printed: int = 64 << 10) -> None:
    failure = TaskFailed(Cause.USER_ERROR, message, ("trials.py:7 in words()", "trials.py:9 in pick()"))
    logs.keep_failure(ended(task, b"." * printed), failure, None)


def in_full(logs: AttemptLogs) -> list[str]:
    return [log.task for log in logs.of("") if b"trials.py:9" in log.output]


@pytest.mark.parametrize("failures", [32, 33, 200])
def test_a_failure_that_many_share_is_told_in_full_however_much_they_print(failures: int) -> None:
    logs = AttemptLogs()
    for task in range(failures):
        fail_alike(logs, task)
    assert in_full(logs) == ["map-0"]
    assert sum(len(log.output) for log in logs.of("")) <= MAX_BYTES
    assert logs.of("")[-1].task == f"map-{failures - 1}"


def test_a_failure_whose_full_text_had_to_go_is_told_in_full_again() -> None:
    logs = AttemptLogs()
    fail_alike(logs, 0)
    for task in range(1, 4000):
        fail_alike(logs, task, f"{task} " * 200, printed=1000)
    assert "map-0" not in in_full(logs)
    fail_alike(logs, 4000)
    assert in_full(logs)[-1] == "map-4000"
    assert len(logs._in_full) == len(logs._first) <= len(logs.of(""))


def test_a_failure_that_is_reported_twice_can_be_dropped_twice() -> None:
    logs = AttemptLogs()
    fail_alike(logs, 0)
    fail_alike(logs, 0)
    for task in range(1, 4000):
        fail_alike(logs, task, f"{task} " * 200, printed=1000)
    assert "map-0" not in in_full(logs)
    assert len(logs._in_full) == len(logs._first) <= len(logs.of(""))


def test_a_report_looks_at_no_log_but_those_that_it_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = [0]

    class Counted(AttemptLog):
        def __getattribute__(self, name: str) -> Any:
            looked_at[0] += 1
            return super().__getattribute__(name)

    monkeypatch.setattr(attempt_logs, "AttemptLog", Counted)
    logs = AttemptLogs()
    for task in range(300):
        logs.keep(ended(task, b""))
        logs.keep(ended(task, bytes(MAX_BYTES // 200)))
    looked_at[0] = 0
    logs.keep(ended(300, bytes(MAX_BYTES // 200)))
    assert looked_at[0] <= 2
    assert [log.task for log in logs.of("")] == [f"map-{task}" for task in range(101, 301)]
