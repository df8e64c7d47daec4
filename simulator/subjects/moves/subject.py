"""Moves: an operator has partitions change their owners, and members come and go, under whatever else a run
asks for.

It asks for nothing else and judges nothing but that each plan comes to its end: that no write is lost and no
read goes back on the way the checkers of the other subjects say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.moves import aborted, with_plan
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Topology
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.moves.ablations import MOVE_ABLATIONS
from ringmill.simulator.subjects.moves.faults import KINDS
from ringmill.simulator.subjects.moves.kinds import is_killed_at, kind_at
from ringmill.simulator.subjects.moves.marks import MOVE_MARKS
from ringmill.simulator.subjects.moves.tunables import tuned
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.world import World

__all__ = ["MOVES", "MoveWorkload"]

_PLANS: Final = 5
_CHANGE_S: Final = 3.0
_LOOK_EVERY_S: Final = 0.25
_CRASHES: Final = (None, None, CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN)


class _Plan(NamedTuple):
    """At `at_s` each partition draws new owners with this chance ("turn"), a new node comes, or one of those
    that came leaves or is given up; now and then the plan is given up.  The node may be killed meanwhile."""

    at_s: float
    kind: float
    share: float
    is_aborted: bool
    killed: float


class MoveWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._draws = stream(seed, "moves")
        self._load_s = options.load_s
        self._is_sloppy = "sloppy" in options.subjects  # who is given up takes writes along that counted
        self.plans = [
            _Plan(
                self._draws.uniform(0, options.load_s * 0.8),
                self._draws.random(),
                self._draws.choice((0.2, 0.6, 1.0)),
                self._draws.random() < 0.2,
                self._draws.random(),
            )
            for _ in range(_PLANS)
        ]
        self.plans.sort()
        self._planned = self._moved = self._aborted = self._come = self._gone = 0
        self._given_up = set[str]()
        self._newest: Topology | None = None

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        words = {"turn": "partitions move", "add": "a node comes", "remove": "a node leaves"}
        return [
            f"at {each.at_s:.2f} s {words.get(kind_at(each.kind), 'a node is given up')}"
            for each in self.plans
        ]

    def join(self, world: World) -> None:
        self._world = world
        world.on_topology.append(self._note)

    def _note(self, _: str, topology: Topology) -> None:
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
        while self._moves() or len(set(self._epochs())) > 1:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        self._world.dismiss_strangers(self._given_up)

    def _moves(self) -> bool:
        """Whether a plan is under way, or a member on its way out."""
        topology = self._world.topology
        if topology.is_moving:
            return True
        # Hints for a node that is lost are never delivered.
        return not self._world.history.lost and any(each.state == "leaving" for each in topology.members)

    async def read_final_state(self) -> None:
        """Nothing is to be read."""

    def unrest(self) -> list[Violation]:
        topology = self._world.topology
        if not self._moves():
            return []
        rows = [
            f"{number} {row.phase}" for number, row in enumerate(topology.rows) if row.is_joint or row.wanted
        ]
        why = {
            node.name: dict(node.node.moves.held_back)
            for node in self._world.living()
            if node.node and node.node.moves.held_back
        }
        states = {each.id: each.state for each in topology.members if each.state != "up"}
        return [
            Violation(
                "M7", b"", f"partitions still move long after healing: {', '.join(rows)}; {states}; {why}"
            )
        ]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        return []

    def figures(self, history: History) -> Figures:
        return {
            "plans": self._planned,
            "moved": self._moved,
            "aborted": self._aborted,
            "come": self._come,
            "gone": self._gone,
        }

    def _epochs(self) -> list[int]:
        return [node.node.membership.topology.epoch for node in self._world.living() if node.node]

    async def _work(self) -> None:
        began = self._world.loop.time()
        for plan in self.plans:
            await asyncio.sleep(max(0.0, began + plan.at_s - self._world.loop.time()))
            await self._rest(began + self._load_s)
            match kind_at(plan.kind):
                case "turn":
                    is_made = await self._make(self._drawing(plan))
                case "add":
                    is_made = await self._add(plan)
                case kind:
                    is_made = await self._remove(plan, is_given_up=kind == "give_up" and not self._is_sloppy)
            self._planned += is_made
            if plan.is_aborted:
                await asyncio.sleep(self._draws.uniform(0, 2))
                self._aborted += await self._make(lambda topology, _: aborted(topology))

    async def _rest(self, until: float) -> None:
        """Until the plan before is over, or the load is."""
        while self._world.topology.is_moving and self._world.loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _add(self, plan: _Plan) -> bool:
        member = await self._world.admit(f"n{len(self._world.nodes) + len(self._world.guests) + 1}")
        changes = MemberChanges(add=[member])
        is_made = await self._make(lambda topology, _: with_members(topology, changes))
        self._come += is_made
        if is_killed_at(plan.killed):
            await self._kill(member.id)
        return is_made

    async def _remove(self, plan: _Plan, *, is_given_up: bool) -> bool:
        """One of those that have come leaves; as one whose disk is gone, though it may be alive."""
        topology = self._world.topology
        guests = [name for name in self._world.guests if topology.has_member(NodeId(name))]
        if not guests:
            return False
        node = NodeId(self._draws.choice(guests))
        changes, dead = MemberChanges(remove=[node]), [node] if is_given_up else []
        is_made = await self._make(lambda topology, _: with_members(topology, changes, dead))
        self._gone += is_made
        self._given_up.update(dead)
        if is_killed_at(plan.killed):
            await self._kill(node)
        return is_made

    async def _kill(self, name: NodeId) -> None:
        """And start it again on its disk."""
        await asyncio.sleep(self._draws.uniform(0, 1))
        process = self._world.nodes[name]
        process.kill(self._draws.choice(_CRASHES))
        await asyncio.sleep(self._draws.uniform(0, 1))
        if process.current is None:
            process.start()

    def _drawing(self, plan: _Plan) -> TopologyChange:
        return lambda topology, may_be_made: self._drawn(topology, plan)

    def _drawn(self, topology: Topology, plan: _Plan) -> Topology | None:
        if topology.is_moving:
            return None
        names = sorted(each.id for each in topology.members if each.state == "up")
        wanted: list[Sequence[NodeId]] = [
            self._draws.sample(names, row.size) if self._draws.random() < plan.share else row.whole
            for row in topology.rows
        ]
        if all(set(nodes) == set(row.whole) for nodes, row in zip(wanted, topology.rows, strict=True)):
            return None  # a plan that changes nothing is no epoch
        return with_plan(topology, topology.members, wanted)

    async def _make(self, change: TopologyChange) -> bool:
        """Ask a node that is up to make the change.  Returns whether it has made it."""
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
            await self._make(change)
            await asyncio.sleep(_LOOK_EVERY_S)


def _describe(figures: Figures) -> str:
    return (
        f"{figures.get('plans', 0):,} plans moved {figures.get('moved', 0):,} seats, "
        f"{figures.get('aborted', 0):,} plans were given up, {figures.get('come', 0):,} nodes came and "
        f"{figures.get('gone', 0):,} left"
    )


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"moves": dict(sorted(figures.items()))}


MOVES: Final = Subject(
    name="moves",
    title="Moves of partitions",
    draw=MoveWorkload,
    describe=_describe,
    fields=_fields,
    tuned=tuned,
    ablations=MOVE_ABLATIONS,
    marks=MOVE_MARKS,
    faults=KINDS,
)
