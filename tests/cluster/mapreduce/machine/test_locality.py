"""Tasks wait a moment for a node that has their input."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import LinkRounds, StagePlace
from ringmill.cluster.mapreduce.files.splits import InputFile, PartitionSpan, Piece, Split
from ringmill.cluster.mapreduce.machine import locality
from ringmill.cluster.mapreduce.machine.event_codec import event_row, read_event
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptStarted,
    CommitDone,
    MapDone,
    ReduceDone,
    StagePlanned,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.locality import SHORTEST_S, WORTH_WAITING_BYTES
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice
from tests.cluster.mapreduce.job_world import RECORDS, World, plan

N1, N2 = NodeId("n1"), NodeId("n2")


def of_a_keyspace(splits: int, size: int = WORTH_WAITING_BYTES) -> JobPlan:
    """Of each split all is on n2."""
    spans = (PartitionSpan(n, n, size, (1, 1)) for n in range(splits))
    return JobPlan("job", tuple(Split(n, (), splits, span=span) for n, span in enumerate(spans)), 1)


def world(plan: JobPlan, nodes: int = 2) -> World:
    machine = JobMachine(plan)
    machine.locality.owners_of = lambda span: {N2}
    return World(machine, nodes)


def test_a_task_waits_a_moment_for_an_owner_of_its_keys() -> None:
    w = world(of_a_keyspace(4))
    assert w.offer(N1) is None
    assert len([w.offer(N2), w.offer(N2)]) == 2
    assert w.offer(N1) is None
    assert w.machine.next_wakeup(w.now) == pytest.approx(SHORTEST_S)
    w.now = SHORTEST_S
    assert w.offer(N1) is not None
    w.run_to_the_end()
    w.judge()


def test_the_wait_is_twice_what_is_usual_and_3_s_at_most() -> None:
    for took_s, patience_s in ((0.5, 1.0), (10.0, 3.0)):
        w = world(of_a_keyspace(6))
        start = w.offer(N2)
        assert start is not None
        w.now = took_s
        w.finish(start)
        assert w.offer(N1) is None
        assert w.machine.next_wakeup(w.now) == pytest.approx(took_s + patience_s)


def test_nobody_waits_for_a_node_that_is_down_or_for_little() -> None:
    w = world(of_a_keyspace(4))
    w.crash(N2)
    w.notice(N2)
    assert w.offer(N1) is not None
    assert world(of_a_keyspace(4, size=1000)).offer(N1) is not None
    assert World(JobMachine(plan(4, 1)), 2).offer(N1) is not None, "files lie nowhere"


def test_a_node_gets_what_it_owns_before_what_others_own() -> None:
    w = world(of_a_keyspace(3, size=1000))
    w.machine.locality.owners_of = lambda span: {N1, N2} if span.first == 2 else {N2}
    start = w.offer(N1)
    assert start is not None
    assert start.attempt.task == 2


def test_a_reduce_waits_for_the_node_that_has_most_of_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locality, "WORTH_WAITING_BYTES", 1)
    w = World(JobMachine(replace(plan(2, 2))), 2)
    for _ in range(2):
        start = w.offer(N2)
        assert start is not None
        w.finish(start)
    assert w.offer(N1) is None
    assert w.offer(N2) is not None
    w.now = 1.0
    assert w.offer(N1) is not None
    w.run_to_the_end()
    w.judge()


def test_the_next_stage_of_a_chain_reads_parts_where_they_were_written() -> None:
    w = World(JobMachine(plan(2, 3, (LinkRounds(2, ""), LinkRounds(1, "")))), 2)
    for each in (N2, N2):
        start = w.offer(each)
        assert start is not None
        w.finish(start)
    wrote: dict[int, NodeId] = {}
    for node in (N1, N2, N2):
        start = w.offer(node)
        assert isinstance(start, StartReduce)
        wrote[start.partition] = node
        w.finish(start)
    w.say(CommitDone())
    names = [f"part.{task.winner.id}" for task in w.machine.reduces if task.winner is not None]
    parts = [Piece(InputFile(f"/x.stages/stage-1/{name}", 9000, 1), 0, 9000) for name in names]
    other = Piece(InputFile(f"/elsewhere/{names[0]}", 9000, 1), 0, 9000)
    splits = (*(Split(n, (part,), 4) for n, part in enumerate(parts)), Split(3, (other,), 4))
    w.say(StagePlanned(StagePlace(0, 1, 1), splits, 3))
    ran = {}
    for node in (N2, N1):
        while (start := w.machine.offer(node, w.now)) is not None and start.attempt.task < 3:
            ran[start.attempt.task] = node
            if list(wrote.values()).count(node) == list(ran.values()).count(node):
                break
    assert ran == wrote


@pytest.mark.parametrize("keeps_states", [True, False])
def test_a_reduce_waits_for_the_node_that_has_written_the_states_of_its_part(keeps_states: bool) -> None:
    """What maps send is little, and the states are much: they count where reduces read them."""
    links = (LinkRounds(1, ""), LinkRounds(2, "", keeps_states), LinkRounds(1, ""))
    w = World(JobMachine(plan(1, 2, links)), 2)
    start = w.offer(N1)
    assert start is not None
    w.finish(start)
    for node in (N1, N2):
        start = w.offer(node)
        assert isinstance(start, StartReduce)
        done = w.result_of(start)
        assert isinstance(done, ReduceDone)
        output = replace(done.output, file=f"/x/reduce-{start.partition}/part-0000{start.partition}")
        w.nodes[node].running.pop(start.attempt)
        w.say(ReduceDone(start.attempt, output))
    w.say(CommitDone())
    size = WORTH_WAITING_BYTES
    files = [InputFile(f"/x.stages/stage-1/part-0000{n}", size * (n + 1), 1) for n in range(2)]
    split = Split(0, tuple(Piece(file, 0, file.size) for file in files))
    w.say(StagePlanned(StagePlace(1, 0, 1), (split,), 2))
    w.machine = w.replayed()  # as somebody goes on who knows the journal
    start = w.offer(N2)
    assert start is not None
    w.finish(start)
    sizes = [task.size for task in w.machine.reduces]
    assert sizes == ([50 + size, 50 + 2 * size] if keeps_states else [50, 50])
    start = w.offer(N2)
    assert isinstance(start, StartReduce)
    assert start.partition == (1 if keeps_states else 0)


def test_each_map_tells_whether_it_ran_where_its_input_lies() -> None:
    w = world(of_a_keyspace(3))
    assert w.offer(N1) is None, "it is passed over first"
    w.now = SHORTEST_S
    assert [w.offer(N2), w.offer(N1)].count(None) == 0
    told = {a.id.task: a.is_near for task in w.machine.maps for a in task.attempts}
    assert told == {0: True, 1: False}
    for machine in (w.replayed(), restored(snapshot(w.machine))):
        again = {a.id.task: a.is_near for task in machine.maps for a in task.attempts}
        assert again == told, "whoever takes the job over knows it, too"
    w.run_to_the_end()
    w.judge()


def test_files_lie_nowhere_and_their_starts_are_noted_as_before() -> None:
    w = World(JobMachine(plan(1, 1)), 1)
    start = w.offer(N1)
    assert start is not None
    [attempt] = w.machine.maps[0].attempts
    assert attempt.is_near is None
    row = event_row(AttemptStarted(attempt.id, N1, None))
    assert len(row) == 3, "as earlier releases read it"
    assert read_event(row) == AttemptStarted(attempt.id, N1)


def test_the_input_of_the_reduces_is_not_summed_in_one_turn() -> None:
    looked_at = 0

    class Counted(PartitionSlice):
        @property
        def length(self) -> int:
            nonlocal looked_at
            looked_at += 1
            return 50

    w = World(JobMachine(plan(200, 100)), 2)

    def finish(start: StartMap | StartReduce) -> None:
        w.nodes[start.node].running.pop(start.attempt)
        rows = tuple(Counted(0, 0, 100, RECORDS, each) for each in range(100))
        w.say(MapDone(start.attempt, MapOutput("run", rows, {}, 1000, RECORDS, RECORDS)))

    while not w.machine.maps_done:
        w.offer_all()
        for start in w.running():
            before = looked_at
            finish(start)
            assert looked_at - before <= 200, "of 20,000 slices"
    assert [each.size for each in w.machine.reduces] == [200 * 50] * 100
    w.crash(N2)
    w.notice(N2)
    while not w.machine.maps_done:
        w.offer_all()
        for start in w.running():
            finish(start)
    assert [each.size for each in w.machine.reduces] == [200 * 50] * 100
    inputs = w.machine.chain.inputs_of(w.machine.reduces, w.machine.maps, ())
    assert [dict(held) for _, held, _ in inputs] == [{N1: 200 * 50, N2: 0}] * 100
