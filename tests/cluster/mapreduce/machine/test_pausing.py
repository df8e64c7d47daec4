"""A paused job begins nothing, and loses nothing."""

from __future__ import annotations

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import (
    EndJob,
    KillRequested,
    PauseRequested,
    ResumeRequested,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.summary.job_summary import summarize
from ringmill.cluster.mapreduce.summary.time_left import time_left
from tests.cluster.mapreduce.job_world import World, plan


def test_a_paused_job_begins_nothing_and_what_runs_counts() -> None:
    w = World(JobMachine(plan(6, 1)), 2)
    assert w.machine.wants_a_slot(w.now)
    done, failed, *_ = w.offer_all()
    w.say(PauseRequested())
    w.finish(done)
    w.fail(failed, Cause.KILLED)
    assert w.offer_all() == []
    assert not w.machine.wants_a_slot(w.now)
    assert w.machine.next_wakeup(w.now) is None
    assert (summarize(w.machine).state, time_left(w.machine, w.now)) == ("PAUSED", None)
    assert w.machine.maps[done.attempt.task].winner is not None
    w.say(ResumeRequested())
    assert summarize(w.machine).state == "RUNNING"
    w.run_to_the_end()
    w.judge()


def test_a_pause_outlives_the_coordinator() -> None:
    for by_snapshot in (False, True):
        w = World(JobMachine(plan(6, 1)), 2)
        w.offer_all()
        w.say(PauseRequested())
        w.say(PauseRequested())
        w.take_over(NodeId("n2"), by_snapshot=by_snapshot, lost=0)
        assert w.machine.is_paused
        for start in w.running():
            w.finish(start)
        assert w.offer_all() == []
        assert w.machine.story.count("the job is paused: it begins no more attempts") == 1
        w.say(ResumeRequested())
        w.run_to_the_end()
        w.judge()


def test_a_paused_job_may_end_with_what_runs_and_can_be_killed() -> None:
    w = World(JobMachine(plan(1, 1)), 1)
    w.finish(*w.offer_all())
    [last] = w.offer_all()
    w.say(PauseRequested())
    w.finish(last)
    assert (w.machine.state, summarize(w.machine).state) == ("COMMITTING", "COMMITTING")

    w = World(JobMachine(plan(2, 1)), 1)
    w.say(PauseRequested())
    assert w.say(KillRequested()) == [EndJob("KILLED")]
