"""What went through a stage of a job: records, counters and heavy keys of committed attempts, and, of a
chain, what is left to tell of the stages that are over.

Pure.  Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import add, sub
from typing import Any, Final, NamedTuple, Self

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import START, LinkRounds, StagePlace, place_after
from ringmill.cluster.mapreduce.context import MOST_COUNTERS
from ringmill.cluster.mapreduce.files.splits import InputFile, Split
from ringmill.cluster.mapreduce.heavy_keys import KeyShare, KeyTotals
from ringmill.cluster.mapreduce.job_story import JobStory
from ringmill.cluster.mapreduce.machine.job_events import SliceSource, Winner
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.locality import Locality
from ringmill.cluster.mapreduce.machine.task_state import Attempt, Task
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput, part_name

__all__ = [
    "FinishedStage", "ReduceInputs", "RunningCounts", "StageChain", "first_names", "records_of",
    "set_aside_by", "source_of", "winners_of",
]  # fmt: skip


NUMBERS_OF_A_COORDINATOR: Final = 1000
"""Attempts that a job's second coordinator begins count from 1001, and so do those of a chain's second stage:
the first may have begun some that it could not tell, and no two attempts may have one name."""


class FinishedStage(NamedTuple):
    """A stage of a chain that is over: its link and round, its tasks, what they read, what went through."""

    link: int
    round: int
    maps: int
    reduces: int
    map_bytes: int
    reduce_bytes: int
    ended_at: float  # in seconds of the job
    records: Mapping[str, int]
    counters: Mapping[str, int]


@dataclass(slots=True)
class RunningCounts:
    """The counters of a stage's winners, summed as they win: a job is looked at several times a second, and
    has thousands of tasks with a thousand names each."""

    _seen: list[MapOutput | ReduceOutput | None] = field(default_factory=list)  # a task each
    _total: Counter[str] = field(default_factory=Counter)
    _first: dict[str, int] = field(default_factory=dict)

    def total(self, tasks: Sequence[Task]) -> Mapping[str, int]:
        """Of all together."""
        self._look(tasks)
        return self._total

    def first(self, tasks: Sequence[Task]) -> Mapping[str, int]:
        """The same, of no more names than may be told."""
        self._look(tasks)
        return self._first

    def _look(self, tasks: Sequence[Task]) -> None:
        now = [None if task.winner is None else task.winner.output for task in tasks]
        has_lost = any(had is not None and had is not new for had, new in zip(self._seen, now, strict=False))
        is_anew = has_lost or len(now) != len(self._seen)  # seldom, or another stage
        if is_anew:
            self._seen, self._total = [None] * len(now), Counter()
        names = dict.fromkeys(self._first)
        for had, new in zip(self._seen, now, strict=True):
            if new is None or new is had:
                continue
            self._total.update(new.counters)
            if not is_anew:
                names.update(dict.fromkeys(new.counters))
        self._first = first_names(self._total if is_anew else {name: self._total[name] for name in names})
        self._seen = now


@dataclass(slots=True)
class ReduceInputs:
    """How many bytes of each reduce's input lie on which node, and its heavy keys, summed as maps win: the
    slices of all together may be two million, and no turn of a coordinator has time for these."""

    keys: KeyTotals = field(default_factory=KeyTotals)
    _maps: Sequence[Task] = ()
    _counted: list[Attempt | None] = field(default_factory=list)  # a map each
    _held: dict[NodeId, list[int]] = field(default_factory=dict)  # a reduce each

    def note(self, maps: Sequence[Task], task: Task) -> None:
        """Count what the winner of a map has left, and no more what its former one had."""
        if maps is not self._maps:  # of another stage
            self._maps, self._counted, self._held = maps, [None] * len(maps), {}
            self.keys = KeyTotals()
        had, now = self._counted[task.index], task.winner
        if had is now:
            return
        if had is not None:
            self._held[had.node] = list(map(sub, self._held[had.node], _lengths(had)))
            self._add_keys(had, -1)
        if now is not None:
            self._add_keys(now, 1)
            held = self._held.get(now.node)
            self._held[now.node] = _lengths(now) if held is None else list(map(add, held, _lengths(now)))
        self._counted[task.index] = now

    def _add_keys(self, attempt: Attempt, times: int) -> None:
        assert isinstance(attempt.output, MapOutput)
        records = sum(each.records for each in attempt.output.partitions)
        self.keys.add(records, attempt.output.heavy, times=times)

    def of_each(
        self, reduces: Sequence[Task], maps: Sequence[Task], with_states: Sequence[Split]
    ) -> Iterator[tuple[Task, list[tuple[NodeId, int]], InputFile | None]]:
        """Each reduce with where its slices lie, now that all maps are done (nodes, with bytes), and the part
        of the stage before whose states it reads; its size is that of both.  `with_states` are the splits of
        such a stage."""
        for task in maps:
            self.note(maps, task)
        files = (piece.file for split in with_states for piece in split.pieces)
        parts = {posixpath.basename(file.path): file for file in files}
        for reduce in reduces:
            slices = [(node, held[reduce.index]) for node, held in self._held.items()]
            part = parts.get(part_name(reduce.index))
            reduce.size = sum(size for _, size in slices) + (part.size if part is not None else 0)
            yield reduce, slices, part


def _lengths(attempt: Attempt) -> list[int]:
    assert isinstance(attempt.output, MapOutput)
    return [each.length for each in attempt.output.partitions]


def first_names(counters: Mapping[str, int]) -> dict[str, int]:
    """Those that may be told of a job: the first in the order of their names, if it has too many."""
    if len(counters) <= MOST_COUNTERS:
        return dict(counters)
    return {name: counters[name] for name in nsmallest(MOST_COUNTERS, counters)}


@dataclass(slots=True)
class StageChain:
    """The stages of a job: those that are over, and where it is.  A job without links has one stage."""

    links: tuple[LinkRounds, ...] = ()
    place: StagePlace = START
    over: list[FinishedStage] = field(default_factory=list)
    counts: RunningCounts = field(default_factory=RunningCounts, compare=False)  # of the present stage
    inputs: ReduceInputs = field(default_factory=ReduceInputs, compare=False)  # of the present stage
    _maps: Sequence[Task] | None = field(default=None, compare=False)  # of the present stage
    _open_map: Task | None = field(default=None, compare=False)  # one that was not done

    def are_done(self, maps: Sequence[Task]) -> bool:
        """Whether all maps of the present stage are.  Most looks see one of them at most."""
        if maps is not self._maps or (self._open_map is not None and self._open_map.winner is not None):
            self._maps = maps  # the last are done last
            self._open_map = next((task for task in reversed(maps) if task.winner is None), None)
        return self._open_map is None

    def opens_again(self, task: Task) -> None:
        """A map that was done is so no more."""
        self._open_map = task

    @property
    def keeps_states(self) -> bool:
        """Whether the reduces of the present stage read states (rule J30)."""
        return bool(self.links) and self.links[self.place.link].keeps_states

    def inputs_of(
        self, reduces: Sequence[Task], maps: Sequence[Task], splits: Sequence[Split]
    ) -> Iterator[tuple[Task, list[tuple[NodeId, int]], InputFile | None]]:
        """As ReduceInputs has it, of the present stage."""
        return self.inputs.of_each(reduces, maps, splits if self.keeps_states else ())

    def maps_end(
        self,
        maps: Sequence[Task],
        reduces: Sequence[Task],
        plan: JobPlan,
        locality: Locality,
        story: JobStory,
    ) -> None:
        """All maps of the present stage are done: tell where the reduces' inputs lie, and the keys by which
        one has more to do than others."""
        for found in self.inputs_of(reduces, maps, plan.splits):
            locality.note_input(*found)
        for key in self.heavy_keys(maps, plan):
            story.tell_new(
                f"key {key.key} has {key.share:.0%} of the records that reduces read, {key.records:,}: "
                f"{key.task} has all of them to do"
            )

    def heavy_keys(self, maps: Sequence[Task], plan: JobPlan) -> tuple[KeyShare, ...]:
        """Of the present stage; none before its maps are done."""
        if not (plan.reducers and maps and self.are_done(maps)):  # of no maps: the sums are of a stage before
            return ()
        for task in maps:
            self.inputs.note(maps, task)
        return self.inputs.keys.named(plan.reducers - bool(plan.bad_records))

    def attempts_from(self, takeovers: int) -> int:
        """The number of the first attempt of a task that begins now."""
        return NUMBERS_OF_A_COORDINATOR * (takeovers + self.place.passed) + 1

    def goes_on(self, tasks: Sequence[Task]) -> bool:
        """Whether another stage follows the present one, whose tasks are done."""
        return bool(self.links) and place_after(self.links, self.place, self.counts.total(tasks)) is not None

    def finish(self, maps: Sequence[Task], reduces: Sequence[Task], now: float) -> str:
        """The present stage is over; returns a line about it."""
        map_bytes, reduce_bytes = (sum(task.size for task in tasks) for tasks in (maps, reduces))
        tasks = (*maps, *reduces)
        done = FinishedStage(
            self.place.link, self.place.round, len(maps), len(reduces), map_bytes,
            reduce_bytes, now,
            records_of(maps, reduces), dict(self.counts.total(tasks)),
        )  # fmt: skip
        self.over.append(done)
        round = f", round {done.round + 1}" if self.links[done.link].most > 1 else ""
        out = done.records["reduce_out" if reduces else "map_out"]
        return (
            f"stage {len(self.over)} (job {done.link + 1} of {len(self.links)}{round}) is over: "
            f"{done.maps} maps, {done.reduces} reduces, {out:,} records"
        )

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: [links, place, stages that are over]."""
        over = [[*row[:-2], dict(row.records), dict(row.counters)] for row in self.over]
        return [[each.to_wire() for each in self.links], list(self.place), over]

    @classmethod
    def from_wire(cls, row: Sequence[Any]) -> Self:
        """Raises ValueError or TypeError for what `to_wire` did not make."""
        links, place, over = row
        return cls(
            tuple(LinkRounds(*each) for each in links),
            StagePlace(*place),
            [FinishedStage(*each) for each in over],
        )


def _map_output_of(task: Task) -> MapOutput:
    """Of a map that is done."""
    assert task.winner is not None
    assert isinstance(task.winner.output, MapOutput)
    return task.winner.output


def set_aside_by(maps: Sequence[Task]) -> int:
    """How many records the maps that are done have set aside, of a job in which some may be."""
    return sum(_map_output_of(task).partitions[-1].records for task in maps if task.winner is not None)


def source_of(task: Task, partition: int) -> SliceSource:
    """Where a reduce fetches its part of a map that is done."""
    output, winner = _map_output_of(task), task.winner
    assert winner is not None
    return SliceSource(winner.id, winner.node, output.file, output.partitions[partition])


def winners_of(tasks: Sequence[Task]) -> tuple[Winner, ...]:
    """Whose files become the output."""
    winners = []
    for task in tasks:
        attempt = task.winner
        assert attempt is not None
        assert attempt.output is not None
        winners.append(Winner(attempt.id, attempt.node, attempt.output, attempt.sources))
    return tuple(winners)


def records_of(maps: Sequence[Task], reduces: Sequence[Task]) -> dict[str, int]:
    """map_in, map_out, reduce_in, reduce_out."""
    records = {"map_in": 0, "map_out": 0, "reduce_in": 0, "reduce_out": 0}
    for output in _outputs((*maps, *reduces)):
        stage = "map" if isinstance(output, MapOutput) else "reduce"
        records[f"{stage}_in"] += output.records_in
        records[f"{stage}_out"] += output.records_out
    return records


def _outputs(tasks: Sequence[Task]) -> list[MapOutput | ReduceOutput]:
    winners = [task.winner for task in tasks if task.winner is not None]
    return [winner.output for winner in winners if winner.output is not None]
