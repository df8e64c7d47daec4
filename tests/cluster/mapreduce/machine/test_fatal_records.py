"""A record at which processes end twice is left out of the next attempt, and is charged to nobody."""

from __future__ import annotations

import msgpack
import pytest

from ringmill.cluster.errors import JobFailed
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, at_record
from ringmill.cluster.mapreduce.files.splits import Piece, Split
from ringmill.cluster.mapreduce.machine.job_events import StartMap
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.journal_entries import JournalEntry, StoredJob, replay
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.machine.task_state import MOST_FATAL
from tests.cluster.mapreduce.job_world import World, plan

SPEC = JobSpec(
    job="j-1", module="wc", name="wc", bundle_sha256="", inputs=("/in",), output="/out",
    input_format="lines", output_format="tsv", reducers=1,
)  # fmt: skip


def again(w: World) -> StartMap:
    w.now = w.machine.next_wakeup(w.now) or w.now
    [start] = w.offer_all()
    assert isinstance(start, StartMap)
    return start


@pytest.mark.parametrize("cause", [Cause.KILLED, Cause.OUT_OF_MEMORY, Cause.USER_ERROR])
def test_after_two_ends_at_one_record_the_split_is_read_without_it(cause: Cause) -> None:
    w = World(JobMachine(plan(1, 1)), 3)
    for record in (7, 3):
        for _ in range(2):
            start = again(w)
            assert start.split.fatal == (() if record == 7 else (7,))
            w.fail(start, cause, message="ended", position=at_record(record))
            assert not w.machine.is_over
    assert again(w).split.fatal == (3, 7)
    assert w.machine.maps[0].charged == {}
    w.run_to_the_end()
    w.judge()


def test_another_coordinator_leaves_out_the_same() -> None:
    w = World(JobMachine(plan(1, 1)), 3)
    for _ in range(2):
        w.fail(again(w), Cause.KILLED, position=at_record(5))
    after = restored(snapshot(w.machine))
    split = w.machine.plan.splits[0]
    assert after.maps[0].reads(split).fatal == w.machine.maps[0].reads(split).fatal == (5,)


@pytest.mark.parametrize(
    "ends",
    [
        [(5, Cause.OUT_OF_MEMORY), (5, Cause.KILLED)],
        [(5, Cause.KILLED), (5, Cause.OUT_OF_MEMORY)],
        [(5, Cause.OUT_OF_MEMORY), (5, Cause.USER_ERROR)],
        [(record, Cause.KILLED) for record in (5, 7, 5, 7)],
        [(5, Cause.KILLED), (7, Cause.OUT_OF_MEMORY), (7, Cause.KILLED), (5, Cause.OUT_OF_MEMORY)],
    ],
)
def test_their_causes_may_differ_and_come_in_any_order(ends: list[tuple[int, Cause]]) -> None:
    w = World(JobMachine(plan(1, 1)), 3)
    before = StoredJob(SPEC, 0.0, 0.0, restored(snapshot(w.machine))).encode()
    begun = len(w.journal)
    for record, cause in ends:
        w.fail(again(w), cause, position=at_record(record))
    fatal = tuple(sorted({record for record, _ in ends}))
    assert again(w).split.fatal == fatal
    assert w.machine.maps[0].charged == {}, "also a lack of memory is forgotten"
    rows = [msgpack.unpackb(event) for event in w.journal[begun:]]
    batches = [("snapshot", before), ("events", msgpack.packb(rows))]
    told = replay([JournalEntry(1, n, 0, kind, 0, 1, data) for n, (kind, data) in enumerate(batches)])
    assert told is not None
    assert told.machine.maps[0].fatal_records == fatal, "another coordinator replays the same journal"


def test_ends_at_different_records_and_at_none_are_charged_as_ever() -> None:
    w = World(JobMachine(plan(1, 1)), 3)
    for position in (at_record(1), at_record(2), "/in offset 9", "/in offset 9"):
        w.fail(again(w), Cause.KILLED, position=position)
    assert isinstance(w.machine.error, JobFailed)


def test_a_task_whose_code_ends_everywhere_comes_to_an_end() -> None:
    w = World(JobMachine(plan(1, 1)), 3)
    ends = 0
    while not w.machine.is_over:
        w.fail(again(w), Cause.KILLED, position=at_record(1 + ends // 2))
        ends += 1
    assert ends == 2 * MOST_FATAL + 4


def test_a_split_takes_them_along_only_if_there_are_any() -> None:
    (split,) = plan(1, 1).splits
    assert isinstance(split.pieces[0], Piece)
    assert len(split.to_wire()) == 6
    left_out = Split(0, split.pieces, fatal=(1, 9))
    assert Split.from_wire(left_out.to_wire()) == left_out
