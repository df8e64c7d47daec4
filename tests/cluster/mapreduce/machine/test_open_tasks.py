"""Which tasks of a stage may start, without a look at all of them."""

from __future__ import annotations

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.machine.open_tasks import OpenTasks
from ringmill.cluster.mapreduce.machine.task_state import AttemptState, Task


def ready(open_tasks: OpenTasks, now: float = 0.0) -> list[int]:
    return [task.index for task in open_tasks.ready(now)]


def begin(open_tasks: OpenTasks, index: int) -> None:
    task = open_tasks.tasks[index]
    open_tasks.begins(task)
    task.begin(AttemptId("map", index, 1), NodeId("n1"), "1", 0.0)


def test_those_that_were_passed_over_and_those_that_have_failed_are_ready_again() -> None:
    tasks = [Task("map", index, 1) for index in range(6)]
    stage = OpenTasks(tasks)
    begin(stage, 0)
    begin(stage, 1)
    assert ready(stage) == [2, 3, 4, 5], "none that has begun waits"
    begin(stage, 4)
    assert ready(stage) == [2, 3, 5], "two were passed over"
    begin(stage, 2)
    begin(stage, 3)
    assert ready(stage) == [5]
    tasks[1].attempts[0].state, tasks[1].not_before = AttemptState.FAILED, 2.0
    stage.attempt_ends()
    assert (ready(stage), stage.pauses(0.0), ready(stage, 3.0)) == ([5], [2.0], [1, 5])
    tasks[0].winner = tasks[0].attempts[0]
    tasks[0].attempts[0].state = AttemptState.DONE
    assert ready(stage, 3.0) == [1, 5]
    tasks[0].winner = None
    stage.opens_again(tasks[0])
    assert ready(stage, 3.0) == [0, 1, 5]
