"""Moves: an operator has partitions change their owners, again and again, under whatever else a run asks for.

It asks for nothing else and judges nothing but that each plan comes to its end: that no write is lost and no
read goes back on the way the checkers of the other subjects say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.moves import aborted, with_plan
from ringmill.cluster.ring.topology import Topology
from ringmill.node.assembly import Node
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.moves.ablations import MOVE_ABLATIONS
from ringmill.simulator.subjects.moves.marks import MOVE_MARKS
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.world import World

__all__ = ["MOVES", "MoveWorkload"]

_PLANS: Final = 3
_CHANGE_S: Final = 3.0
_LOOK_EVERY_S: Final = 0.25


class _Plan(NamedTuple):
    """At `at_s` each partition draws new owners with this chance; now and then the plan is given up."""

    at_s: float
    share: float
    is_aborted: bool


class MoveWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._draws = stream(seed, "moves")
        self._load_s = options.load_s
        self.plans = [
            _Plan(
                self._draws.uniform(0, options.load_s * 0.8),
                self._draws.choice((0.2, 0.6, 1.0)),
                self._draws.random() < 0.2,
            )
            for _ in range(_PLANS)
        ]
        self.plans.sort()
        self._planned = self._moved = self._aborted = 0
        self._newest: Topology | None = None

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [f"at {each.at_s:.2f} s {each.share:.0%} of the partitions move" for each in self.plans]

    def join(self, world: World) -> None:
        self._world = world
        world.on_up.append(self._watch)

    def _watch(self, name: str, node: Node) -> None:
        node.membership.topology.on_change(self._note)

    def _note(self, topology: Topology) -> None:
        former = self._newest
        if former is None or topology.epoch > former.epoch:
            self._newest = topology
            if former is not None:
                self._moved += sum(
                    a.whole != b.whole for a, b in zip(former.rows, topology.rows, strict=True)
                )

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._work()]

    def rests_on(self) -> Sequence[Collection[str]]:
        return [[name] for name in self._world.nodes]  # all: who is asked changes while a core is looked for

    async def progress(self) -> None:
        """Nothing: every run with moves is healed whole."""

    async def wait_idle(self) -> None:
        if self._world.history.lost:
            await self._until_made(lambda topology, _: aborted(topology))
        while self._world.topology.is_moving or len(set(self._epochs())) > 1:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Nothing is to be read."""

    def unrest(self) -> list[Violation]:
        topology = self._world.topology
        if not topology.is_moving:
            return []
        rows = [
            f"{number} {row.phase}" for number, row in enumerate(topology.rows) if row.is_joint or row.wanted
        ]
        why = {
            node.name: dict(node.node.moves.mover.held_back)
            for node in self._world.living()
            if node.node and node.node.moves.mover.held_back
        }
        return [Violation("M7", b"", f"partitions still move long after healing: {', '.join(rows)}; {why}")]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        return []

    def figures(self, history: History) -> Figures:
        return {"plans": self._planned, "moved": self._moved, "aborted": self._aborted}

    def _epochs(self) -> list[int]:
        return [node.node.membership.topology.epoch for node in self._world.living() if node.node]

    async def _work(self) -> None:
        began = self._world.loop.time()
        for plan in self.plans:
            await asyncio.sleep(max(0.0, began + plan.at_s - self._world.loop.time()))
            self._planned += await self._is_made(self._drawing(plan))
            if plan.is_aborted:
                await asyncio.sleep(self._draws.uniform(0, 2))
                self._aborted += await self._is_made(lambda topology, _: aborted(topology))

    def _drawing(self, plan: _Plan) -> TopologyChange:
        return lambda topology, may_be_made: self._drawn(topology, plan)

    def _drawn(self, topology: Topology, plan: _Plan) -> Topology | None:
        if topology.is_moving:
            return None
        names = sorted(topology.addresses())
        wanted: list[Sequence[NodeId]] = [
            self._draws.sample(names, row.size) if self._draws.random() < plan.share else row.whole
            for row in topology.rows
        ]
        return with_plan(topology, topology.members, wanted)

    async def _is_made(self, change: TopologyChange) -> bool:
        """Whether a node that is up has made the change."""
        up = [node for node in self._world.nodes.values() if node.serves]
        if not up:
            return False
        process = self._draws.choice(up)
        assert process.node is not None
        asked = asyncio.ensure_future(
            process.inside(process.node.membership.epochs.change(change, _CHANGE_S))
        )
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait([asked], timeout=2 * _CHANGE_S)
        if not done:  # a node that was killed or stopped does not tell, nor does it let go
            return False
        return not asked.cancelled() and asked.exception() is None and asked.result().was_made

    async def _until_made(self, change: TopologyChange) -> None:
        while self._world.topology.is_moving:
            await self._is_made(change)
            await asyncio.sleep(_LOOK_EVERY_S)


def _told(figures: Figures) -> str:
    return (
        f"{figures.get('plans', 0):,} plans moved {figures.get('moved', 0):,} seats, "
        f"{figures.get('aborted', 0):,} plans were given up"
    )


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"moves": dict(sorted(figures.items()))}


MOVES: Final = Subject(
    name="moves",
    title="Moves of partitions",
    draw=MoveWorkload,
    told=_told,
    fields=_fields,
    ablations=MOVE_ABLATIONS,
    marks=MOVE_MARKS,
)
