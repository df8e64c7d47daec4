"""How long a job will still take: tried on jobs whose end is known, as their tasks take what a shape says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import LinkRounds, StagePlace
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptId,
    AttemptProgressed,
    CommitDone,
    Instruction,
    KillRequested,
    MapDone,
    NodeUp,
    ReduceDone,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.stage_totals import FinishedStage, StageChain
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice, ReduceOutput
from ringmill.cluster.mapreduce.summary.chain_summary import chain_summary
from ringmill.cluster.mapreduce.summary.time_left import TimeLeft, time_left

MB = 1_000_000
COMMIT_S = 0.1


@dataclass
class Shape:
    """A job: the sizes of its splits, seconds a MB of map, bytes of output a byte, reduces, MB a second."""

    splits: Sequence[int]
    map_s_a_mb: float = 0.1
    output_share: float = 0.2
    reduces: Sequence[float] = (0.25, 0.25, 0.25, 0.25)  # their shares of the output
    reduce_mb_a_s: float = 40
    slots: int = 2
    noise: float = 0.1
    moves: bool = True  # the maps tell of their progress

    def machine(self) -> JobMachine:
        ends = [sum(self.splits[: n + 1]) for n in range(len(self.splits))]
        file = InputFile("/in", ends[-1], 1)
        pieces = [Piece(file, end - size, end) for end, size in zip(ends, self.splits, strict=True)]
        cut = tuple(Split(n, (piece,)) for n, piece in enumerate(pieces))
        return JobMachine(JobPlan("job", cut, len(self.reduces)))


class Run:
    """Runs a shape in steps of 50 ms and notes what was said at each."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape, self.draws = shape, Random(seed)
        self.machine = shape.machine()
        self.now = 0.0
        self.running: dict[AttemptId, tuple[StartMap | StartReduce, float, float]] = {}
        self.said: list[tuple[float, TimeLeft | None]] = []
        for number in range(shape.slots):
            self.machine.handle(NodeUp(NodeId(f"n{number}"), "1"), 0.0)
        while not self.machine.is_over:
            self.step()
        self.seconds = self.now

    def step(self) -> None:
        for start, _, ends_at in list(self.running.values()):
            if self.now >= ends_at:
                self.end(start)
        for number in range(self.shape.slots):
            node = NodeId(f"n{number}")
            if all(start.node != node for start, _, _ in self.running.values()):
                begun = self.machine.offer(node, self.now)
                if begun is not None:
                    self.running[begun.attempt] = begun, self.now, self.now + self.seconds_of(begun)
        for start, began_at, ends_at in self.running.values():
            if self.shape.moves:
                tasks = self.machine.maps if isinstance(start, StartMap) else self.machine.reduces
                share = (self.now - began_at) / (ends_at - began_at)
                done = int(tasks[start.attempt.task].size * share)
                self.machine.handle(AttemptProgressed(start.attempt, done), self.now)
        self.said.append((self.now, time_left(self.machine, self.now)))
        self.now += 0.05
        if self.machine.state == "COMMITTING" and not self.running:
            self.now += COMMIT_S
            self.machine.handle(CommitDone(), self.now)

    def seconds_of(self, start: StartMap | StartReduce) -> float:
        shape = self.shape
        jitter = 1 + shape.noise * self.draws.uniform(-1, 1)
        if isinstance(start, StartMap):
            return (start.split.size / MB * shape.map_s_a_mb + 0.02) * jitter
        size = sum(source.where.raw_bytes for source in start.sources)
        return (size / MB / shape.reduce_mb_a_s + 0.04) * jitter

    def end(self, start: StartMap | StartReduce) -> list[Instruction]:
        del self.running[start.attempt]
        if isinstance(start, StartMap):
            made = start.split.size * self.shape.output_share
            rows = tuple(
                PartitionSlice(0, int(made * s / 3), int(made * s), 1, 1) for s in self.shape.reduces
            )
            output = MapOutput("run", rows, {}, start.split.size, 1, 1)
            return self.machine.handle(MapDone(start.attempt, output), self.now)
        reduced = ReduceOutput(start.partition, "part", 5, 7, {}, 1, len(start.sources), 1)
        return self.machine.handle(ReduceDone(start.attempt, reduced), self.now)

    def at(self, share: float) -> TimeLeft:
        """What was said when this share of the time had passed."""
        left = next(left for at, left in self.said if at >= share * self.seconds)
        assert left is not None
        return left

    def true_at(self, share: float) -> float:
        return self.seconds - next(at for at, _ in self.said if at >= share * self.seconds)


SHAPES = {
    "equal splits": Shape([20 * MB] * 16),
    "few splits": Shape([40 * MB] * 4),
    "small last split": Shape([30 * MB] * 7 + [1 * MB]),
    "many small tasks": Shape([1 * MB] * 200, slots=5),
    "one slot": Shape([20 * MB] * 8, slots=1),
    "splits of many sizes": Shape([MB * (1 + 7 * n % 40) for n in range(24)], slots=4),
    "large output": Shape([20 * MB] * 16, output_share=1.0),
    "slow reduces": Shape([20 * MB] * 16, output_share=0.5, reduce_mb_a_s=25),
    "skewed reduces": Shape([20 * MB] * 16, reduces=(0.7, 0.1, 0.1, 0.1)),
    "noisy tasks": Shape([20 * MB] * 24, noise=0.5, slots=3),
}


def test_at_a_fifth_of_the_work_the_middle_is_within_a_fifth_of_the_truth_in_eight_of_ten_shapes() -> None:
    off = {}
    for name, shape in SHAPES.items():
        run = Run(shape, seed=7)
        left = run.at(0.2)
        off[name] = abs((left.least_s + left.most_s) / 2 / run.true_at(0.2) - 1)
    assert sum(each <= 0.2 for each in off.values()) >= 8, off


@pytest.mark.parametrize("name", SHAPES)
def test_the_truth_lies_between_nine_times_of_ten_and_there_is_always_something_left(name: str) -> None:
    run = Run(SHAPES[name], seed=3)
    told = [(run.seconds - at, left) for at, left in run.said if left is not None]
    right = [left.least_s * 0.9 - 0.2 <= truth <= left.most_s * 1.1 + 0.2 for truth, left in told]
    assert sum(right) >= 0.9 * len(right), [
        (round(t, 1), str(x)) for (t, x), ok in zip(told, right, strict=True) if not ok
    ]
    assert all(left.most_s > 0 and not str(left).startswith("0") for _, left in told)


def test_the_interval_narrows() -> None:
    run = Run(SHAPES["equal splits"], seed=1)
    early, late = run.at(0.1), run.at(0.7)
    assert early.most_s - early.least_s > late.most_s - late.least_s


def test_nothing_is_said_before_anything_has_moved_and_when_the_work_is_done() -> None:
    machine = Shape([MB] * 4).machine()
    assert time_left(machine, 1.0) is None
    machine.handle(NodeUp(NodeId("n0"), "1"), 1.0)
    machine.offer(NodeId("n0"), 1.0)
    assert time_left(machine, 5.0) is None
    machine.handle(KillRequested(), 6.0)
    assert time_left(machine, 6.0) is None


def test_maps_that_do_not_tell_are_judged_by_those_that_have_ended() -> None:
    run = Run(Shape([20 * MB] * 16, moves=False), seed=2)
    assert abs((run.at(0.3).least_s + run.at(0.3).most_s) / 2 / run.true_at(0.3) - 1) < 0.25


def test_a_task_that_takes_much_longer_than_it_should_still_has_something_left() -> None:
    machine = Shape([20 * MB] * 3).machine()
    machine.handle(NodeUp(NodeId("n0"), "1"), 0.0)
    rows = tuple(PartitionSlice(0, 1, 1, 1, 1) for _ in range(4))
    for number in range(2):
        start = machine.offer(NodeId("n0"), float(number))
        assert start is not None
        machine.handle(MapDone(start.attempt, MapOutput("run", rows, {}, 1, 1, 1)), number + 1.0)
    machine.offer(NodeId("n0"), 2.0)
    left = time_left(machine, 102.0)
    assert left is not None
    assert left.most_s > 5


@pytest.mark.parametrize(
    ("least_s", "most_s", "told"),
    [(0.1, 0.1, "1 s left"), (0.2, 1.2, "1-2 s left"), (12.4, 17.2, "12-18 s left"),
     (90, 100, "90-100 s left"), (100, 185.0, "1-4 min left"), (4000, 8000, "1-3 h left"),
     (7199, 7199.5, "119-120 min left"), (3, 400, "up to 7 min left")],
)  # fmt: skip
def test_people_are_told_in_round_numbers(least_s: float, most_s: float, told: str) -> None:
    assert str(TimeLeft(least_s, most_s)) == told


def chain_at(links: Sequence[LinkRounds], place: StagePlace, ends: Sequence[float]) -> JobMachine:
    """A chain of which stages of the first link ended then, and the present one is half done after 2 s."""
    machine = Shape([20 * MB] * 4).machine()
    stages = [FinishedStage(0, at, 4, 4, 80 * MB, MB, end, {}, {}) for at, end in enumerate(ends)]
    machine.chain = StageChain(tuple(links), place, stages)
    began = ends[-1] if ends else 0.0
    machine.handle(NodeUp(NodeId("n0"), "1"), began)
    rows = tuple(PartitionSlice(0, 1, 1, 1, 1) for _ in range(4))
    for number in range(2):
        start = machine.offer(NodeId("n0"), began + number)
        assert start is not None
        done = MapDone(start.attempt, MapOutput("run", rows, {}, 1, 1, 1))
        machine.handle(done, began + number + 1.0)
    machine.offer(NodeId("n0"), began + 2)
    return machine


def test_rounds_that_have_not_begun_take_what_those_before_took() -> None:
    at = StagePlace(0, 3, 3)
    machine = chain_at([LinkRounds(9, "")], at, [4.0, 8.0, 12.0])
    left = time_left(machine, 14.0)
    assert left is not None
    assert left.least_s < 2 + 5 * 4.0 < left.most_s < 40, "five more of 4 s"
    asked = time_left(machine, 14.0, asks=True)
    until = time_left(chain_at([LinkRounds(9, "moved")], at, [4.0, 8.0, 12.0]), 14.0)
    assert asked == until
    assert until is not None and until.least_s < 4 < until.most_s == left.most_s, "this one may be the last"


def test_of_jobs_of_a_chain_that_have_not_begun_an_upper_bound_is_reported() -> None:
    alone = time_left(chain_at([LinkRounds(1, "")], StagePlace(0, 0, 0), []), 2.0)
    first = time_left(chain_at([LinkRounds(1, ""), LinkRounds(1, "")], StagePlace(0, 0, 0), []), 2.0)
    assert alone is not None and first is not None
    assert first.least_s == alone.least_s
    assert first.most_s == pytest.approx(alone.most_s + 2 * (2 + alone.most_s))


def test_a_chain_is_told_stage_by_stage() -> None:
    assert chain_summary(Shape([MB]).machine(), 1.0) is None, "no chain"
    machine = chain_at([LinkRounds(30, "moved"), LinkRounds(1, "")], StagePlace(0, 1, 1), [])
    assert machine.chain.over == []
    counted = {"map_in": 5, "map_out": 4, "reduce_in": 4, "reduce_out": 3}
    machine.chain.over.append(FinishedStage(0, 0, 4, 2, 80, 20, 1.5, counted, {}))
    told = chain_summary(machine, 4.0)
    assert told is not None and str(told) == "stage 2, job 1 of 2, round 2 of at most 30"
    before, present = told.stages
    assert (before.records_in, before.records_out, before.bytes_in, before.ended_s) == (5, 3, 80, 1.5)
    assert (present.stage, present.began_s, present.ended_s, present.records_in) == (2, 1.5, None, 2)
