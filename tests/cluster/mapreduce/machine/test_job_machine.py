"""Stories of one job among workers that fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.errors import DiskFull, JobFailed, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptProgressed,
    CancelAttempt,
    CommitDelayed,
    CommitDone,
    CommitFailed,
    CommitJob,
    EndJob,
    Instruction,
    KillRequested,
    NodeDown,
    NodeUp,
    ReduceDone,
    StagingLost,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.machine.task_state import Task
from ringmill.cluster.mapreduce.summary.job_summary import summarize
from tests.cluster.mapreduce.job_world import RECORDS, World, plan

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


def world(splits: int = 2, reducers: int = 2, nodes: int = 3, *, salt: bool = False) -> World:
    return World(JobMachine(plan(splits, reducers)), nodes, salt=salt)


def finish_maps(w: World) -> list[StartMap]:
    starts = [start for start in w.offer_all() if isinstance(start, StartMap)]
    for start in starts:
        w.finish(start)
    assert w.machine.maps_done
    return starts


def test_without_reducers_maps_are_committed_and_a_node_takes_no_part_with_it() -> None:
    w = world(splits=3, reducers=0, nodes=3)
    first = w.offer_all()[0]
    w.finish(first)
    w.crash(first.node)
    w.notice(first.node)
    assert w.machine.maps[first.attempt.task].winner is not None
    w.run_to_the_end()
    assert [winner.attempt for winner in w.commits[0]][first.attempt.task] == first.attempt
    w.judge()
    nothing = world(splits=0, reducers=0)
    assert nothing.commits == [()], "the first node that is there is enough"


def test_maps_then_reduces_then_one_commit() -> None:
    w = world()
    maps = w.offer_all()
    assert [str(start.attempt) for start in maps] == ["map-0.1", "map-1.1"]
    w.finish(maps[0])
    assert w.offer_all() == [], "no reduce begins before all maps are done"
    w.finish(maps[1])
    reduces = w.offer_all()
    assert all(isinstance(start, StartReduce) for start in reduces)
    assert [str(source.attempt) for source in reduces[0].sources] == ["map-0.1", "map-1.1"]  # type: ignore[union-attr]
    assert w.finish(reduces[0]) == []
    [commit] = w.finish(reduces[1])
    assert isinstance(commit, CommitJob)
    assert w.say(CommitDone()) == [EndJob("SUCCEEDED")]
    w.judge()


def test_an_empty_input_makes_empty_parts() -> None:
    w = world(splits=0)
    assert [str(start.attempt) for start in w.offer_all()] == ["reduce-0.1", "reduce-1.1"]
    w.run_to_the_end()
    assert w.machine.state == "SUCCEEDED"


def test_a_dead_nodes_attempts_and_finished_maps_run_again_elsewhere_and_nothing_else_does() -> None:
    w = world(splits=3)
    maps = finish_maps(w)
    reduces = w.offer_all()
    victim = maps[0].node
    lost = [start.attempt for start in reduces if start.node == victim]
    w.crash(victim)
    w.notice(victim)
    again = w.offer_all()
    expected = {start.attempt.task for start in maps if start.node == victim}
    assert {start.attempt.task for start in again} == expected
    for start in again:
        assert start.attempt.stage == "map"
        assert start.node != victim
        w.finish(start)
    assert {start.attempt[:2] for start in w.offer_all()} == {each[:2] for each in lost}
    w.run_to_the_end()
    w.judge()


def test_an_attempt_that_is_lost_with_its_node_ran_until_then() -> None:
    w = world(splits=1)
    [first] = w.offer_all()
    w.now = 3.0
    w.crash(first.node)
    w.notice(first.node)
    [again] = w.offer_all()
    w.now = 10.0
    w.finish(again)
    lost, counted = w.machine.maps[0].attempts
    assert [(each.state.value, each.seconds) for each in (lost, counted)] == [
        ("cancelled", 3.0),
        ("done", 7.0),
    ]


def test_a_restarted_node_has_lost_its_outputs_even_if_nobody_saw_it_down() -> None:
    w = world()
    maps = finish_maps(w)
    w.restart(maps[0].node)
    w.notice(maps[0].node)
    assert not w.machine.maps_done
    w.run_to_the_end()
    w.judge()


def test_a_finished_map_on_a_dead_node_stays_finished_once_no_reduce_needs_it() -> None:
    w = world()
    finish_maps(w)
    for start in w.offer_all():
        w.finish(start)
    assert w.machine.state == "COMMITTING"
    assert w.say(NodeDown(N1)) == []
    assert w.say(CommitDone()) == [EndJob("SUCCEEDED")]


def test_an_attempt_on_a_node_wrongly_called_dead_may_still_win() -> None:
    w = world(splits=1, reducers=1)
    [start] = w.offer_all()
    w.say(NodeDown(start.node))
    [rerun] = w.offer_all()
    w.notice(start.node)
    assert w.finish(start) == [CancelAttempt(rerun.attempt, rerun.node)]
    assert w.machine.maps[0].winner is not None
    assert w.machine.maps[0].winner.id == start.attempt


def test_the_first_commit_wins_and_a_zombie_is_told_to_forget() -> None:
    w = world(splits=1, reducers=1)
    [zombie] = w.offer_all()
    w.say(NodeDown(zombie.node))
    [rerun] = w.offer_all()
    w.say(NodeUp(zombie.node, w.nodes[zombie.node].start_name))
    w.finish(rerun)
    assert w.say(w.result_of(zombie)) == []
    assert zombie.attempt in w.cancelled
    assert w.machine.maps[0].winner is not None
    assert w.machine.maps[0].winner.id == rerun.attempt


def test_a_map_result_from_a_node_that_is_down_or_has_restarted_does_not_count() -> None:
    w = world(splits=1, reducers=1)
    [start] = w.offer_all()
    result = w.result_of(start)
    w.crash(start.node)
    w.notice(start.node)
    w.say(result)
    assert not w.machine.maps_done, "its files are on a dead node"
    w.restart(start.node)
    w.notice(start.node)
    w.say(result)
    assert not w.machine.maps_done, "its files are gone"
    w.run_to_the_end()
    w.judge()


class LastCommitWins(JobMachine):
    """The rule switched off."""

    def _close_others(self, task: Task, now: float) -> list[Instruction]:
        return []


@pytest.mark.parametrize(("machine", "last"), [(JobMachine, "map-0.2"), (LastCommitWins, "map-0.1")])
def test_without_first_commit_wins_a_zombie_replaces_what_was_committed(
    machine: type[JobMachine], last: str
) -> None:
    w = World(machine(plan(1, 1)), 2)
    [zombie] = w.offer_all()
    w.say(NodeDown(zombie.node))
    [rerun] = w.offer_all()
    w.say(NodeUp(zombie.node, w.nodes[zombie.node].start_name))
    w.finish(rerun)
    w.machine.handle(w.result_of(zombie), w.now)
    assert w.machine.maps[0].winner is not None
    assert str(w.machine.maps[0].winner.id) == last


def test_one_report_of_a_failed_fetch_is_a_hiccup_two_reducers_are_proof() -> None:
    w = world(splits=1)
    [source] = finish_maps(w)
    reduces = w.offer_all()
    w.fail(reduces[0], Cause.FETCH_FAILED, source.attempt)
    assert w.machine.maps_done
    w.fail(reduces[1], Cause.FETCH_FAILED, source.attempt)
    assert not w.machine.maps_done


def test_a_map_whose_output_cannot_be_read_runs_elsewhere_and_its_node_is_left_out_after_three() -> None:
    w = World(JobMachine(plan(3, 2)), 4)
    sources = []
    for _ in range(3):
        start = w.offer(N1)
        assert start is not None
        sources.append(start)
        w.finish(start)
    for source in sources:
        for reduce in w.offer_all()[:2]:
            w.fail(reduce, Cause.FETCH_FAILED, source.attempt)
        assert w.machine.maps[source.attempt.task].winner is None
        w.now += 20.0
        again = next(start for node in w.nodes if (start := w.offer(node)) is not None)
        assert again.node != N1, "others go first"
        w.finish(again)
        for start in w.running():
            w.fail(start, Cause.KILLED)
        w.now += 20.0
    assert N1 not in w.machine.workers.usable()
    w.run_to_the_end()
    w.judge()


@pytest.mark.parametrize(("apart_s", "is_done"), [(1.9, True), (2.0, False)])
def test_one_reducer_is_proof_when_it_says_so_twice_two_seconds_apart(apart_s: float, is_done: bool) -> None:
    w = world(splits=1, reducers=1)
    [source] = finish_maps(w)
    for offered_at, failed_at in ((0.0, 0.0), (1.0, apart_s)):
        assert w.machine.maps_done
        w.now = offered_at
        [reduce] = w.offer_all()
        w.now = failed_at
        w.fail(reduce, Cause.FETCH_FAILED, source.attempt)
    assert w.machine.maps_done is is_done


def test_one_bad_checksum_is_proof() -> None:
    w = world(splits=1, reducers=1)
    [source] = finish_maps(w)
    [reduce] = w.offer_all()
    w.fail(reduce, Cause.CORRUPT_DATA, source.attempt)
    assert not w.machine.maps_done
    w.run_to_the_end()
    assert w.machine.state == "SUCCEEDED"


def test_a_map_whose_second_run_differs_makes_finished_reduces_stale() -> None:
    w = world(splits=1, salt=True)
    [source] = finish_maps(w)
    first, second = w.offer_all()
    w.finish(first)
    w.fail(second, Cause.CORRUPT_DATA, source.attempt)
    [rerun] = w.offer_all()
    assert w.finish(rerun) == [CancelAttempt(first.attempt, first.node)]
    assert w.machine.reduces[0].winner is None
    w.run_to_the_end()
    assert w.machine.state == "SUCCEEDED"
    w.judge()


def test_the_users_error_is_tried_four_times_and_then_ends_the_job_with_its_words() -> None:
    w = world(splits=1)
    for _ in range(4):
        assert not w.machine.is_over
        [start] = w.offer_all()
        w.fail(start, Cause.USER_ERROR)
        w.now = w.machine.next_wakeup(w.now) or w.now
    assert w.machine.state == "FAILED"
    assert isinstance(w.machine.error, JobFailed)
    assert w.machine.error.detail["task"] == "map-0"
    assert w.machine.error.detail["attempt"] == 4


def test_the_same_error_at_the_same_record_ends_the_job_at_its_second_attempt() -> None:
    w = world(splits=8)
    starts = w.offer_all()
    assert len(starts) > 1
    w.fail(starts[0], Cause.USER_ERROR, message="ValueError: '-'", position="/in offset 7")
    assert not w.machine.is_over
    other = next(node for node in (N1, N2, N3) if node != starts[0].node)
    w.finish(next(start for start in starts if start.node == other))
    again = w.offer(other)
    assert again is not None
    assert again.attempt.task == starts[0].attempt.task, "before any task that was not tried"
    w.fail(again, Cause.USER_ERROR, message="ValueError: '-'", position="/in offset 7")
    assert isinstance(w.machine.error, JobFailed)
    assert w.machine.error.detail["attempt"] == 2


def test_the_same_error_at_another_record_or_of_another_kind_is_tried_again() -> None:
    w = world(splits=1)
    for attempt, (message, position) in enumerate(
        (("ValueError: '-'", "at 7"), ("ValueError: '-'", "at 9"), ("KeyError: 1", "at 9")), 1
    ):
        [start] = w.offer_all()
        assert start.attempt.number == attempt
        w.fail(start, Cause.USER_ERROR, message=message, position=position)
        w.now = w.machine.next_wakeup(w.now) or w.now
    assert not w.machine.is_over


def test_budgets_are_apart_eight_for_infrastructure_and_two_for_memory() -> None:
    for cause, budget in ((Cause.DISK_FULL, 8), (Cause.OUT_OF_MEMORY, 2), (Cause.INPUT_CHANGED, 1)):
        w = world(splits=1)
        tries = 0
        while not w.machine.is_over:
            [start] = w.offer_all()
            w.fail(start, cause)
            tries += 1
            w.now = w.machine.next_wakeup(w.now) or w.now
        assert tries == budget


def test_memory_is_doubled_after_a_failure_for_lack_of_it() -> None:
    w = world(splits=1)
    [start] = w.offer_all()
    w.fail(start, Cause.OUT_OF_MEMORY)
    w.now += 15
    [again] = w.offer_all()
    assert (start.memory_factor, again.memory_factor) == (1, 2)


def test_a_failed_task_pauses_and_then_prefers_another_node() -> None:
    w = world(splits=1)
    [start] = w.offer_all()
    w.fail(start, Cause.KILLED)
    assert w.offer_all() == []
    wakeup = w.machine.next_wakeup(w.now)
    assert wakeup is not None
    assert 0.125 <= wakeup <= 0.25
    w.now = wakeup
    assert w.offer(start.node) is None
    [again] = w.offer_all()
    assert again.node != start.node


def test_a_node_that_spoils_three_tasks_is_left_out_but_not_more_than_a_third() -> None:
    w = world(splits=8)
    while {s.attempt.task for s in w.running() if s.node == N1} or not w.machine.maps_done:
        for start in w.offer_all():
            if start.node in (N1, N2):
                w.fail(start, Cause.DISK_FULL)
            else:
                w.finish(start)
        w.now += 15
        if w.machine.maps_done:
            break
    usable = w.machine.workers.usable()
    assert len(usable) == 2
    assert N3 in usable


def test_a_task_that_failed_waits_for_no_node_that_has_no_slots() -> None:
    w = world(splits=1, nodes=2)
    w.machine.workers.has_slots = lambda node: node == N1
    first = w.offer(N1)
    assert first is not None
    w.fail(first, Cause.USER_ERROR)
    again = w.offer(N1)
    assert again is not None, "it fails there again, or does not, but the job ends"
    w.machine.workers.has_slots = lambda node: True
    w.fail(again, Cause.KILLED)
    w.now += 20.0
    assert w.offer(N1) is None, "now there is another"
    assert w.offer(N2) is not None


def test_a_node_that_spoils_tasks_goes_on_while_no_other_could_have_one() -> None:
    w = world(splits=3)
    w.machine.workers.has_slots = lambda node: node == N1
    for _ in range(3):
        start = w.offer(N1)
        assert start is not None
        w.fail(start, Cause.DISK_FULL)
    w.now += 20.0
    assert w.machine.workers.left_out() == [N1]
    assert w.offer(N1) is not None


def test_a_node_that_spoils_tasks_gets_none_while_others_are_merely_away() -> None:
    w, lately = world(splits=3), {N1, N2, N3}
    w.machine.workers.had_slots = lately.__contains__
    for _ in range(3):
        start = w.offer(N1)
        assert start is not None
        w.fail(start, Cause.DISK_FULL)
    w.now += 20.0
    w.say(NodeDown(N2))
    w.machine.workers.has_slots = lambda node: node != N3  # it cannot start processes for a moment
    assert w.offer(N1) is None, "it would use up what tries the tasks have"
    lately &= {N1, N3}
    assert w.offer(N1) is None
    lately.remove(N3)
    assert w.offer(N1) is not None, "nobody has come back: the job ends"


def test_killing_a_job_cancels_what_runs_but_a_commit_under_way_is_carried_out() -> None:
    w = world()
    starts = w.offer_all()
    instructions = w.say(KillRequested())
    assert instructions == [*(CancelAttempt(s.attempt, s.node) for s in starts), EndJob("KILLED")]
    assert w.say(KillRequested()) == []
    w = world()
    finish_maps(w)
    for start in w.offer_all():
        w.finish(start)
    assert w.say(KillRequested()) == []
    assert w.machine.state == "COMMITTING"


def test_a_commit_that_fails_fails_the_job() -> None:
    w = world()
    finish_maps(w)
    for start in w.offer_all():
        w.finish(start)
    error = JobFailed("the disk is gone")
    assert w.say(CommitFailed(error)) == [EndJob("FAILED", error)]


def test_a_commit_that_is_repeated_is_reported_once_for_each_error_and_cannot_be_killed() -> None:
    w = world()
    finish_maps(w)
    for start in w.offer_all():
        w.finish(start)
    before = len(w.machine.story)
    for error in (RingmillError("EIO"), RingmillError("EIO"), DiskFull("no room")):
        assert w.say(CommitDelayed(error)) == []
    assert w.say(KillRequested()) == []
    assert w.machine.story[before:] == [
        "the commit is repeated after INTERNAL: EIO",
        "the commit is repeated after DISK_FULL: no room",
    ]
    assert w.say(CommitDone()) == [EndJob("SUCCEEDED")]


def test_a_job_that_has_lost_the_folder_of_its_parts_ends_at_once() -> None:
    w = world()
    finish_maps(w)
    running = [start.attempt for start in w.offer_all()]
    *cancelled, end = w.say(StagingLost(error := RingmillError("gone")))
    assert [each.attempt for each in cancelled if isinstance(each, CancelAttempt)] == running
    assert end == EndJob("FAILED", error)


def test_maps_that_together_set_too_many_records_aside_fail_the_job() -> None:
    w = World(JobMachine(replace(plan(3, 2), bad_records=2 * RECORDS)), 3)
    first, second, third = w.offer_all()
    w.finish(first)
    w.finish(second)
    assert summarize(w.machine).records["bad"] == 2 * RECORDS
    assert snapshot(restored(snapshot(w.machine))) == snapshot(w.machine)
    *_, end = w.finish(third)
    assert end == EndJob("FAILED", w.machine.error)
    assert isinstance(w.machine.error, JobFailed)
    assert str(w.machine.error).startswith(f"more than {2 * RECORDS} bad records")


def test_a_reduce_that_read_fewer_records_than_maps_gave_does_not_count() -> None:
    w = world(splits=1, reducers=1)
    finish_maps(w)
    [start] = w.offer_all()
    result = w.result_of(start)
    assert isinstance(result, ReduceDone)
    short = ReduceDone(start.attempt, type(result.output)(0, "part", 5, 7, {}, 3, 9, 3))
    w.nodes[start.node].running.clear()
    w.say(short)
    assert w.machine.reduces[0].winner is None
    assert "9 records went into reduce-0.1, maps gave it 10" in w.machine.story[-1]


def test_a_summary_weighs_bytes_and_counts_committed_attempts_only() -> None:
    w = world()
    first, second = w.offer_all()
    w.finish(first)
    w.say(AttemptProgressed(second.attempt, 250))
    summary = summarize(w.machine)
    assert (summary.stages[0].bytes_done, summary.stages[0].bytes_total) == (1250, 2000)
    assert (summary.stages[0].done, summary.stages[0].running) == (1, 1)
    assert summary.counters == {"lines": 1}
    assert summary.records["map_in"] == 10
    assert [task.state for task in summary.tasks] == ["done", "running", "waiting", "waiting"]
