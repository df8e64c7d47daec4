"""Which tasks of a stage may start, without a look at all of them."""

from __future__ import annotations

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.open_tasks import OpenTasks
from ringmill.cluster.mapreduce.machine.task_state import AttemptState, Task
from tests.cluster.mapreduce.job_world import World, plan

N1 = NodeId("n1")


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
    assert (ready(stage), stage.pauses(0.0), ready(stage, 3.0)) == ([5], [2.0, 12.0], [1, 5])
    tasks[0].winner = tasks[0].attempts[0]
    tasks[0].attempts[0].state = AttemptState.DONE
    assert ready(stage, 3.0) == [1, 5]
    tasks[0].winner = None
    stage.opens_again(tasks[0])
    assert ready(stage, 3.0) == [0, 1, 5]


@pytest.mark.parametrize(("cause", "goes_back"), [(Cause.LOST_NODE, True), (Cause.ENGINE_ERROR, False)])
def test_a_task_goes_back_to_a_node_that_lost_it_when_others_leave_it_waiting(
    cause: Cause, goes_back: bool
) -> None:
    w = World(JobMachine(plan(1, 2)), 2)
    first = w.offer(N1)
    assert first is not None
    w.fail(first, cause)
    w.now = 9.0
    assert w.offer(N1) is None, "n2 has its turn, and is busy with another job"
    wakeup = w.machine.next_wakeup(w.now)
    assert wakeup is not None
    w.now = wakeup
    assert (w.offer(N1) is not None) == goes_back
