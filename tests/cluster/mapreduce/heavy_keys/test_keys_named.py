"""Keys by which one reduce has more to do than others are named before any reduce begins."""

from __future__ import annotations

from dataclasses import replace

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.heavy_keys import HeavyKey
from ringmill.cluster.mapreduce.machine.job_events import MapDone, StartMap
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice
from ringmill.cluster.mapreduce.summary.job_summary import summarize
from tests.cluster.mapreduce.job_world import World, plan

HOT = HeavyKey(7, "'the'", 1, 15_000)


def world(splits: int = 2, nodes: int = 2) -> World:
    return World(JobMachine(plan(splits, 2)), nodes)


def map_ends(w: World, start: StartMap, *keys: HeavyKey) -> None:
    """With 20,000 records in two partitions."""
    w.nodes[start.node].running.pop(start.attempt)
    rows = PartitionSlice(0, 50, 100, 1000, 0), PartitionSlice(0, 50, 100, 19_000, 1)
    w.outputs[start.attempt] = output = MapOutput("run", rows, {}, 1000, 10, 20_000, heavy=keys)
    w.say(MapDone(start.attempt, output))


def maps_of(w: World) -> list[StartMap]:
    return [start for start in w.offer_all() if isinstance(start, StartMap)]


def lines(w: World) -> list[str]:
    return [line for line in w.machine.story if line.startswith("key ")]


def test_a_heavy_key_is_told_when_the_maps_are_done_and_no_reduce_has_begun() -> None:
    w = world()
    first, last = maps_of(w)
    map_ends(w, first, HOT)
    assert (lines(w), summarize(w.machine).heavy_keys) == ([], ()), "the other map may have much more"
    map_ends(w, last, replace_records(HOT, 12_000))
    assert lines(w) == [
        "key 'the' has 68% of the records that reduces read, 27,000: reduce-1 has all of them to do"
    ]
    assert not any(task.attempts for task in w.machine.reduces)
    [named] = summarize(w.machine).heavy_keys
    assert (named.key, named.task, named.records, named.share) == ("'the'", "reduce-1", 27_000, 0.675)


def replace_records(key: HeavyKey, records: int) -> HeavyKey:
    return key._replace(records=records)


def test_who_takes_the_job_over_names_the_same_keys() -> None:
    for by_snapshot in (False, True):
        w = world()
        first, last = maps_of(w)
        map_ends(w, first, HOT)
        w.take_over(NodeId("n2"), by_snapshot=by_snapshot, lost=0)
        map_ends(w, last, HOT)
        assert len(lines(w)) == 1
        [named] = summarize(w.machine).heavy_keys
        assert named.records == 30_000
        assert summarize(restored(snapshot(w.machine))).heavy_keys == (named,), "also when the job is over"


def test_a_map_that_runs_again_counts_once() -> None:
    w = world()
    first, last = maps_of(w)
    map_ends(w, first, HOT)
    map_ends(w, last, HOT)
    w.crash(first.node)
    w.notice(first.node)
    assert summarize(w.machine).heavy_keys == ()
    for again in maps_of(w):
        map_ends(w, again, HOT)
    assert [each.records for each in summarize(w.machine).heavy_keys] == [30_000]
    assert len(lines(w)) == 1


def test_workers_of_an_earlier_release_tell_nothing_and_that_is_fine() -> None:
    w = world()
    first, last = maps_of(w)
    map_ends(w, first)
    map_ends(w, last, replace_records(HOT, 19_000))
    assert (lines(w), summarize(w.machine).heavy_keys) == ([], ()), "19,000 of 40,000 are below the mean"
    w = world()
    for start in maps_of(w):
        map_ends(w, start)
    assert summarize(w.machine).heavy_keys == ()
    w.run_to_the_end()
    w.judge()


def test_bad_records_that_were_set_aside_are_no_partition_of_keys() -> None:
    machine = JobMachine(replace(plan(1, 2), bad_records=5))  # one partition of keys, one of bad records
    w = World(machine, 1)
    [start] = maps_of(w)
    w.nodes[start.node].running.pop(start.attempt)
    rows = (PartitionSlice(0, 50, 100, 20_000, 1), PartitionSlice(50, 50, 100, 1, 1))
    w.say(MapDone(start.attempt, MapOutput("run", rows, {}, 1000, 10, 20_000, heavy=(HOT,))))
    assert (lines(w), summarize(machine).heavy_keys) == ([], ())


def test_a_stage_without_maps_names_no_key_of_the_stage_before() -> None:
    w = world()
    for start in maps_of(w):
        map_ends(w, start, HOT)
    assert summarize(w.machine).heavy_keys
    assert w.machine.chain.heavy_keys((), w.machine.plan) == ()
