"""The counters that are told of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ringmill.cluster.mapreduce.machine import stage_totals
from ringmill.cluster.mapreduce.machine.job_events import MapDone
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.machine.stage_totals import first_names
from ringmill.cluster.mapreduce.summary.job_summary import summarize
from tests.cluster.mapreduce.job_world import World, plan


def test_the_counters_of_a_job_follow_its_winners() -> None:
    w = World(JobMachine(plan(2, 2)), 2)
    first, second = w.offer_all()[:2]
    w.finish(first)
    assert summarize(w.machine).counters == {"lines": 1}
    w.finish(second)
    assert summarize(w.machine).counters == {"lines": 2}
    w.crash(first.node)
    w.notice(first.node)
    lost = sum(each.node == first.node for each in (first, second))
    assert summarize(w.machine).counters == ({"lines": 2 - lost} if lost < 2 else {})
    assert summarize(restored(snapshot(w.machine))).counters == summarize(w.machine).counters
    w.run_to_the_end()
    assert summarize(w.machine).counters == {"lines": 2}


def test_a_look_sorts_names_once_however_many_tasks_have_won(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_names = []

    def counted(counters: Mapping[str, int]) -> dict[str, int]:
        sorted_names.append(len(counters))
        return first_names(counters)

    monkeypatch.setattr(stage_totals, "first_names", counted)
    w = World(JobMachine(plan(8, 2)), 8)
    starts = w.offer_all()
    for start in starts:
        w.finish(start)
    assert summarize(w.machine).counters == {"lines": len(starts)}
    assert (len(starts), len(sorted_names)) == (8, 1)


def test_of_a_job_that_counts_by_too_many_names_the_first_are_reported() -> None:
    w = World(JobMachine(plan(2, 2)), 3)
    starts = w.offer_all()
    for start, names in zip(starts, (range(500, 1500), range(1000)), strict=True):
        done = w.result_of(start)
        counters = {f"host {name:04}": 1 for name in names}
        w.say(MapDone(start.attempt, replace(done.output, counters=counters)))  # type: ignore[arg-type]
    summary = summarize(w.machine)
    assert list(summary.counters) == [f"host {name:04}" for name in range(1000)]
    assert [summary.counters[f"host {name:04}"] for name in (499, 500, 999)] == [1, 2, 2]
    assert summary.story[-1].startswith("the job counts 1,000 names or more")
