"""What attempts print is kept within a bound, failures longest."""

from typing import Any

import pytest

from ringmill.cluster.ids import NodeId
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
