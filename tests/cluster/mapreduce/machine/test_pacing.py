"""Which tasks start before others have shown anything, and which are run twice as a node is slow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.backups import LEAST_S
from ringmill.cluster.mapreduce.machine.canary import FEW_TASKS, SHORTEST_S
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptProgressed,
    AttemptStarted,
    CancelAttempt,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.machine.task_state import Task
from tests.cluster.mapreduce.job_world import World, plan

N1, N2 = NodeId("n1"), NodeId("n2")
MANY = FEW_TASKS + 1


def names(starts: list[StartMap | StartReduce]) -> list[str]:
    return [str(start.attempt) for start in starts]


def with_one_left(took_s: float = 2.0) -> tuple[World, StartMap | StartReduce]:
    """Three of four maps are done, each after `took_s`, and two nodes have free slots."""
    w = World(JobMachine(plan(4, 1)), 2)
    slow, *others = w.offer_all()
    w.now = took_s
    for start in others:
        w.finish(start)
    return w, slow


def test_one_task_shows_that_the_jobs_code_runs_before_the_others_start() -> None:
    w = World(JobMachine(plan(MANY, 1)), 3)
    [canary] = w.offer_all()
    assert w.machine.next_wakeup(w.now) == SHORTEST_S
    w.finish(canary)
    assert len(w.offer_all()) == 6


def test_a_mistake_in_the_jobs_code_costs_two_attempts() -> None:
    w = World(JobMachine(plan(MANY, 1)), 3)
    for _ in range(2):
        [canary] = w.offer_all()
        w.now += SHORTEST_S / 2
        w.fail(canary, Cause.USER_ERROR, message="NameError", position="/in offset 0")
    assert w.machine.state == "FAILED"
    assert len(w.ran_in) == 2


def test_a_few_tasks_wait_for_no_canary() -> None:
    assert len(World(JobMachine(plan(FEW_TASKS, 1)), 4).offer_all()) == FEW_TASKS


@pytest.mark.parametrize("is_long", [True, False])
def test_a_canary_that_has_run_or_read_for_long_enough_holds_nobody_back(is_long: bool) -> None:
    w = World(JobMachine(plan(MANY, 1)), 3)
    [canary] = w.offer_all()
    if is_long:
        w.now = w.machine.next_wakeup(w.now) or 0.0
    else:
        w.say(AttemptProgressed(canary.attempt, 100))
    assert len(w.offer_all()) == 5


def test_a_canary_that_is_lost_is_followed_by_another_one() -> None:
    w = World(JobMachine(plan(MANY, 1)), 3)
    [canary] = w.offer_all()
    w.crash(canary.node)
    w.notice(canary.node)
    assert len(w.offer_all()) == 1
    w.run_to_the_end()
    w.judge()


def test_a_slow_task_is_run_once_more_elsewhere_and_the_first_commit_wins() -> None:
    w, slow = with_one_left()
    assert w.offer_all() == [], "it has run for no longer than usual yet"
    assert w.machine.next_wakeup(w.now) == pytest.approx(1.5 * 2.0)
    w.now = 20.0
    [backup] = w.offer_all()
    assert (str(backup.attempt), backup.node) == (f"map-{slow.attempt.task}.2", N2)
    assert w.machine.story[-1] == "map-0.2 on n2 is a backup: map-0.1 on n1 has run 20.0 s, 2.0 s is usual"
    assert w.offer_all() == [], "two at a time are enough"
    assert w.machine.retried == 0
    assert CancelAttempt(slow.attempt, N1) in w.finish(backup)
    w.run_to_the_end()
    w.judge()


def test_the_slow_attempt_may_still_win() -> None:
    w, slow = with_one_left()
    w.now = 20.0
    [backup] = w.offer_all()
    assert w.finish(slow) == [CancelAttempt(backup.attempt, backup.node)]
    w.run_to_the_end()
    w.judge()


def test_a_task_that_fails_goes_on_with_its_backup() -> None:
    w, slow = with_one_left()
    w.now = 20.0
    [backup] = w.offer_all()
    w.fail(slow, Cause.KILLED)
    assert w.offer_all() == []
    w.finish(backup)
    assert w.machine.maps_done


def test_no_backup_before_three_quarters_of_the_stage_are_done() -> None:
    w = World(JobMachine(plan(4, 1)), 2)
    first, second, *_ = w.offer_all()
    for start in (first, second):
        w.now += 1.0
        w.finish(start)
    w.now = 1000.0
    assert w.offer_all() == []
    assert w.machine.next_wakeup(w.now) is None


def test_a_task_that_reads_as_fast_as_most_bytes_were_read_has_no_backup() -> None:
    w = World(JobMachine(plan(4, 1)), 2)
    slow, *others = w.offer_all()
    for start, at in zip(others, (2.0, 2.0, 10.0), strict=True):
        w.now = at
        w.finish(start)
    w.say(AttemptProgressed(slow.attempt, 990))
    assert w.machine.next_wakeup(4.0) == pytest.approx(990 / (0.75 * 3000 / 14))
    w.now = 4.0
    w.machine.maps[0].attempts[0].bytes_done = 0
    assert len(w.offer_all()) == 1, "it has run for 1.5 x 2 s, without a byte"


def test_short_tasks_are_left_alone() -> None:
    w, _ = with_one_left(took_s=0.01)
    w.now = LEAST_S - 0.01
    assert w.offer_all() == []


def test_a_task_has_longer_for_more_bytes() -> None:
    w = World(JobMachine(plan(4, 1)), 2)
    starts = w.offer_all()
    w.machine.maps[0].size = 10_000
    w.now = 2.0
    for start in starts[1:]:
        w.finish(start)
    assert w.machine.next_wakeup(w.now) == pytest.approx(1.5 * 20.0)


def test_no_backup_on_a_node_that_is_slow_itself_or_where_the_task_has_failed() -> None:
    w = World(JobMachine(plan(8, 1)), 2)
    first, second, *others = w.offer_all()
    assert (first.node, second.node) == (N1, N1)
    w.now = 2.0
    for start in others:
        w.finish(start)
    for _ in range(2):
        for start in w.offer_all():
            w.now += 2.0
            w.finish(start)
    w.now = 100.0
    assert w.machine.offer(N1, w.now) is None
    backups = w.offer_all()
    assert [each.node for each in backups] == [N2, N2]
    w.fail(backups[0], Cause.KILLED)
    w.now += 100.0
    assert w.offer_all() == [], "it has failed on the only other node"


def test_the_number_of_backups_at_a_time_is_bounded() -> None:
    w = World(JobMachine(plan(16, 1)), 8)
    [canary] = w.offer_all()
    w.now = 1.0
    w.finish(canary)
    starts = w.offer_all()
    slow = [start for start in starts if start.node in ("n1", "n2")]
    w.now = 2.0
    for start in starts:
        if start not in slow:
            w.finish(start)
    w.now = 100.0
    assert len(slow) == 4
    assert len(w.offer_all()) == 2


def test_a_reduce_has_a_backup_too() -> None:
    w = World(JobMachine(plan(1, 4)), 3)
    w.finish(w.offer_all()[0])
    slow, *others = w.offer_all()
    w.now = 2.0
    for start in others:
        w.finish(start)
    w.now = 20.0
    [backup] = w.offer_all()
    assert isinstance(backup, StartReduce)
    assert backup.sources == slow.sources  # type: ignore[union-attr]
    w.finish(backup)
    w.run_to_the_end()
    w.judge()


def test_a_backup_is_one_for_whoever_replays_the_journal_or_reads_a_snapshot() -> None:
    w, _ = with_one_left()
    halfway = restored(snapshot(w.machine))
    w.now = 20.0
    [backup] = w.offer_all()
    halfway.handle(AttemptStarted(backup.attempt, backup.node), w.now)
    assert snapshot(halfway) == snapshot(w.machine) == snapshot(w.replayed())
    assert halfway.maps[0].attempts[-1].is_backup


def test_the_end_of_a_stage_is_not_looked_at_whole_at_each_wake() -> None:
    looked_at = 0

    class Counted(list[Task]):
        def __iter__(self) -> Iterator[Task]:
            nonlocal looked_at
            for each in super().__iter__():
                looked_at += 1
                yield each

        def __reversed__(self) -> Iterator[Task]:
            nonlocal looked_at
            for each in super().__reversed__():
                looked_at += 1
                yield each

    w = World(JobMachine(plan(1000, 1)), 2)
    w.machine.maps = Counted(w.machine.maps)
    slow = w.offer(N1)
    while not w.machine.maps_done and w.machine.not_begun:
        w.now += 0.001
        for start in w.offer_all():
            w.finish(start)
    assert slow is not None
    assert w.machine.next_wakeup(w.now) is not None, "a task is left, and slow soon"
    looked_at = 0
    for _ in range(3):
        assert w.machine.next_wakeup(w.now) is not None
        w.machine.wants_a_slot(w.now)
        w.say(AttemptProgressed(slow.attempt, 10))
    assert looked_at < 100, "of 1,000 tasks"
    w.run_to_the_end()
    w.judge()
