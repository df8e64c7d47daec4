"""What attempts print is kept within a bound, failures longest."""

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport
from ringmill.node.jobs.attempt_logs import MAX_BYTES, AttemptLogs


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
