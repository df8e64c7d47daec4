"""Which node a task waits for a moment for, as its input lies there.

Pure.  A split of a keyspace lies where most of its partitions have an owner, a reduce's input where more than
half of its bytes are.  A split of files lies nowhere, as all nodes see them; but what a stage of a chain has
written lies where it was written, as that node still has it in memory.  So a part of an iteration whose map
keeps its keys stays on its node: the map of part p runs where reduce p has run, and so does the next reduce
p, as most of its input is there: of a step with update also the states (rule J30).  A node gets tasks that
lie there before others.  A task of 4 MiB or more begins elsewhere only when it has been passed over for twice
as long as is usual for a task of its stage, 0.1 to 3 s; less is sooner read than waited for.  It is a matter
of cost alone: no output depends on it, and what is kept here is in no journal.

Rule J23: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.files.splits import InputFile, PartitionSpan, Split
from ringmill.cluster.mapreduce.machine.task_state import Task

__all__ = ["Locality"]

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 3.0
WORTH_WAITING_BYTES: Final = 4 << 20
"""What a node reads from others in about the shortest wait.  Chosen, not measured."""
_TIMES_USUAL: Final = 2.0


def _nobody(span: PartitionSpan) -> Collection[NodeId]:
    return ()


@dataclass(slots=True)
class Locality:
    """Of one job.  `owners_of` says which nodes own most of some partitions, by the present topology."""

    owners_of: Callable[[PartitionSpan], Collection[NodeId]] = _nobody
    _writers: dict[str, NodeId] = field(default_factory=dict)  # of the files of the stage before
    _holders: dict[int, NodeId] = field(default_factory=dict)  # of a reduce, who has most of its input
    _passed_over: dict[str, float] = field(default_factory=dict)  # tasks, and since when

    def of_next_stage(self, last: Sequence[Task], number: int) -> Locality:
        """Of the stage that reads what these tasks have written, which is shown as stage `number`."""
        files: dict[str, NodeId] = {}
        for winner in (task.winner for task in last):
            if winner is not None and winner.output is not None:
                files[f"stage-{number}/{winner.output.file.rpartition('/')[2]}"] = winner.node
        return Locality(self.owners_of, files)

    def note_input(
        self, reduce: Task, nodes: Iterable[tuple[NodeId, int]], states: InputFile | None = None
    ) -> None:
        """Where the input of a reduce lies: nodes, with bytes, and the part with the states that it reads."""
        held: Counter[NodeId] = Counter()
        for node, size in nodes:
            held[node] += size
        if states is not None and (writer := self._writers.get(_end_of(states.path))) is not None:
            held[writer] += states.size
        self._holders.pop(reduce.index, None)
        for node, size in held.most_common(1):
            if 2 * size > held.total():
                self._holders[reduce.index] = node

    def pick(
        self,
        ready: Iterable[Task],
        node: NodeId,
        splits: Sequence[Split],
        stage: Sequence[Task],
        usable: Collection[NodeId],
        now: float,
    ) -> Task | None:
        """Of the tasks that may start on a node, in their order, the one that does: the first that is near;
        else the first that need not wait, or has waited."""
        other: Task | None = None
        holds_most = node in self._holders.values()
        patience_s: float | None = None  # found for the first that may wait: it looks at the whole stage
        for task in ready:
            near = self._near(task, splits)
            if node in near or (not near and task.stage == "map"):
                return task
            if other is None:
                if near.isdisjoint(usable) or task.size < WORTH_WAITING_BYTES:
                    other = task
                else:
                    patience_s = _patience_s(stage) if patience_s is None else patience_s
                    if now >= self._passed_over.setdefault(task.name, now) + patience_s:
                        other = task
            if other is not None and task.stage == "reduce" and not holds_most:
                return other  # of the reduces that follow none is near
        return other

    def is_near(self, task: Task, node: NodeId, splits: Sequence[Split]) -> bool | None:
        """Whether the input of a map lies on a node; None when it lies nowhere, as files do, and of a reduce,
        whose bytes are counted."""
        near = self._near(task, splits) if task.stage == "map" else ()
        return node in near if near else None

    def wakeups(self, stage: Sequence[Task]) -> Iterable[float]:
        """When tasks that were passed over may begin anywhere."""
        if not self._passed_over:
            return []
        since = [
            self._passed_over[each.name]
            for each in stage
            if each.name in self._passed_over and each.is_waiting
        ]
        patience_s = _patience_s(stage) if since else 0.0
        return [at + patience_s for at in since]

    def _near(self, task: Task, splits: Sequence[Split]) -> frozenset[NodeId]:
        if task.stage == "map":
            split = splits[task.index]
            if split.span is not None:
                return frozenset(self.owners_of(split.span))
            holder = self._writer_of(split) if self._writers else None
        else:
            holder = self._holders.get(task.index)
        return frozenset() if holder is None else frozenset((holder,))

    def _writer_of(self, split: Split) -> NodeId | None:
        """Who has written more than half of the bytes of a split."""
        held: Counter[NodeId] = Counter()
        for piece in split.pieces:
            if (node := self._writers.get(_end_of(piece.file.path))) is not None:
                held[node] += piece.end - piece.start
        return next((node for node, size in held.most_common(1) if 2 * size > split.size), None)


def _end_of(path: str) -> str:
    """Folder and name of a file."""
    return "/".join(path.split("/")[-2:])


def _patience_s(stage: Sequence[Task]) -> float:
    done = [task.winner.seconds for task in stage if task.winner is not None]
    return min(LONGEST_S, max(SHORTEST_S, _TIMES_USUAL * median(done))) if done else SHORTEST_S
