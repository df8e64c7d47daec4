"""Attempts that nodes end, or do not begin, for want of their own memory count against nothing else."""

from __future__ import annotations

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, as_lost
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from tests.cluster.mapreduce.job_world import World, plan

N1, N2 = NodeId("n1"), NodeId("n2")
OWN_BUDGET = 32


def failed(w: World, cause: Cause, times: int) -> int:
    """How many times an attempt of a lone task has failed so; all pauses have passed."""
    for done in range(times):
        if w.machine.is_over:
            return done
        [start] = w.offer_all()
        assert start.memory_factor == 1
        w.fail(start, cause)
        w.now += 20.0
    return times


def test_they_leave_all_other_budgets_and_the_memory_as_they_are() -> None:
    w = World(JobMachine(plan(1, 2)), 1)
    assert failed(w, Cause.NODE_MEMORY, OWN_BUDGET - 1) == OWN_BUDGET - 1
    assert failed(w, Cause.DISK_FULL, 7) == 7
    assert failed(w, Cause.KILLED, 3) == 3
    assert not w.machine.is_over
    assert restored(snapshot(w.machine)).maps[0].charged == w.machine.maps[0].charged


def test_a_task_that_takes_the_memory_of_its_nodes_itself_ends() -> None:
    w = World(JobMachine(plan(1, 2)), 1)
    assert failed(w, Cause.NODE_MEMORY, 100) == OWN_BUDGET
    assert w.machine.error is not None
    assert w.machine.error.detail["cause"] == "NodeMemory"


def test_the_task_runs_on_another_node_first_and_the_node_is_left_out_of_nothing() -> None:
    w = World(JobMachine(plan(6, 2)), 3)
    for _ in range(3):
        start = w.offer(N1)
        assert start is not None
        w.fail(start, Cause.NODE_MEMORY)
        w.now += 0.3
        if again := w.offer(N1):
            assert again.attempt.task != start.attempt.task
            w.fail(again, Cause.NODE_MEMORY)
        w.now += 0.3
    assert N1 in w.machine.workers.usable()
    elsewhere = w.offer(N2)
    assert elsewhere is not None
    assert elsewhere.attempt.number == 2, "a task that has begun goes first"


def test_there_is_a_pause_before_the_next_attempt() -> None:
    """Else a lone node that has no memory would be asked without end."""
    w = World(JobMachine(plan(1, 2)), 1)
    [start] = w.offer_all()
    w.fail(start, Cause.NODE_MEMORY)
    assert w.offer_all() == []
    assert not w.machine.wants_a_slot(w.now)
    wakeup = w.machine.next_wakeup(w.now)
    assert wakeup is not None
    assert 0.125 <= wakeup <= 0.25


def test_an_earlier_release_is_told_that_the_attempt_is_lost() -> None:
    told = TaskFailed(Cause.NODE_MEMORY, "ended by n1", (), "a.txt offset 7").to_wire()
    read = TaskFailed.from_wire(as_lost(told) or [])
    assert (read.cause, read.message, read.position) == (Cause.LOST_NODE, "ended by n1", "a.txt offset 7")
    other = TaskFailed(Cause.KILLED, "ended by SIGKILL").to_wire()
    assert (as_lost(other), as_lost(None)) == (other, None)
