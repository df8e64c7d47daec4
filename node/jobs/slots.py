"""Which slots of which workers the jobs of this coordinator hold, and which job gets the next free one.

A worker reports how many slots it has; until then it has none.  A free slot goes to the job that holds the
fewest for its weight; of those with equally many, to the one whose last turn was first.  A job that takes
none leaves it to the next.  No attempt is stopped for it.  While one job alone wants slots, some of its
attempts may wait at a node for those before them.

Nodes of one machine share its processors: together they have no more slots in use than they tell of it.  A
node that does not answer uses none meanwhile, so that one that hangs takes nothing from its neighbours.

Rule J22: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import Machine
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.sometimes import sometimes

__all__ = ["Slots", "Taker"]

_LATELY_S: Final = 300.0  # a node that is restarted, or cannot start processes, offers slots again sooner


class Taker(Protocol):
    """A job that may use slots."""

    def wants_a_slot(self) -> bool:
        """Whether it would take one, on one node or another."""
        ...

    def orders_ahead(self, node: NodeId, slots: int) -> int:
        """How many attempts may wait at a node, beside those that have one of its slots."""
        ...

    def take_slot(self, node: NodeId) -> AttemptId | None:
        """Begin an attempt on a node with a free slot; None when there is none for this node."""
        ...


@dataclass(slots=True)
class _Job:
    taker: Taker
    weight: int
    held: int = 0
    given: int = 0  # when it was given its last slot, as a count of slots given


@dataclass(slots=True)
class Slots:
    """`now` tells the time in seconds that never go back."""

    now: Callable[[], float]
    _capacity: dict[NodeId, int] = field(default_factory=dict)
    _machines: dict[NodeId, Machine] = field(default_factory=dict)  # of those that answer
    _held: dict[NodeId, dict[tuple[str, AttemptId], None]] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)  # in the order in which they came
    _lacks: dict[NodeId, str] = field(default_factory=dict)  # why they offer none
    _given: int = 0
    _offered_at: dict[NodeId, float] = field(default_factory=dict)  # when nodes last offered any

    def learn(self, node: NodeId, slots: int, machine: Machine | None = None, why: str | None = None) -> None:
        """A worker has answered: what it offers, and what it runs on and lacks where it tells that."""
        if slots:
            self._offered_at[node] = self.now()
        elif node not in self._capacity:  # its first word
            self._offered_at[node] = float("-inf")
        self._capacity[node] = slots
        if machine is not None:
            self._machines[node] = machine
        if why is not None or slots:
            self._lacks[node] = why or ""

    def lose(self, node: NodeId) -> None:
        """A worker does not answer: until it does, it takes nothing from others of its machine."""
        self._machines.pop(node, None)
        self._lacks.pop(node, None)

    def lacking(self, nodes: Iterable[NodeId]) -> tuple[NodeLack, ...]:
        """Those of these nodes that offer no slots and say why."""
        return tuple(NodeLack(node, why) for node in nodes if (why := self._lacks.get(node)))

    def are_at(self, node: NodeId) -> bool:
        """Whether a node offers slots, free or not, by its last word; who has said nothing yet may."""
        return self._capacity.get(node) != 0

    def were_at(self, node: NodeId) -> bool:
        """Whether a node has offered slots lately; who has said nothing may have, when first asked for."""
        now = self.now()
        return now - self._offered_at.setdefault(node, now) < _LATELY_S

    def join(self, job: str, taker: Taker, weight: int) -> None:
        """A job may have slots from now on."""
        self._jobs[job] = _Job(taker, weight)

    def leave(self, job: str) -> None:
        """A job is over: it holds no slot any more."""
        for node, attempt in self.held_by(job):
            self.release(node, job, attempt)
        self._jobs.pop(job, None)

    def deal(self, nodes: Iterable[NodeId]) -> None:
        """Give away the free slots of these nodes, and of their neighbours, who take what is left to them."""
        wanting = [(name, job) for name, job in self._jobs.items() if job.taker.wants_a_slot()]
        for node in self._with_neighbours(nodes) if wanting else ():
            while self._is_free(node) and self._give(node, wanting):
                pass
            if len(wanting) == 1:  # else a free slot would be spoken for, whoever wants it by then
                most = wanting[0][1].taker.orders_ahead(node, self._capacity.get(node, 0))
                while most and self._is_free(node, most) and self._give(node, wanting):
                    sometimes("a worker has an order ahead")

    def _give(self, node: NodeId, wanting: list[tuple[str, _Job]]) -> bool:
        for name, job in sorted(wanting, key=lambda each: (each[1].held / each[1].weight, each[1].given)):
            attempt = job.taker.take_slot(node)
            if attempt is not None:
                self._given += 1
                job.given = self._given
                self.hold(node, name, attempt)
                return True
        return False

    def _is_free(self, node: NodeId, ahead: int = 0) -> bool:
        """Whether a node has a free slot, or fewer than `ahead` attempts wait there for one."""
        slots, held = self._capacity.get(node, 0), len(self._held.get(node, ()))
        if held < slots:
            return self._machine_has_room(node)
        return slots > 0 and held < slots + ahead

    def _machine_has_room(self, node: NodeId) -> bool:
        """Whether fewer slots are in use on a node's machine than its nodes may use together."""
        neighbours = self._nodes_of(self._machine_of(node))
        most = max((self._machines[each].slots for each in neighbours), default=0)
        used = (min(len(self._held.get(each, ())), self._capacity.get(each, 0)) for each in neighbours)
        return not most or sum(used) < most

    def _machine_of(self, node: NodeId) -> str:
        """Its name; "" where nothing is known of it, or it is no other node's."""
        return self._machines[node].name if node in self._machines else ""

    def _nodes_of(self, machine: str) -> list[NodeId]:
        """Those that tell this name; none for a machine without."""
        return [node for node, its in self._machines.items() if its.name == machine] if machine else []

    def _with_neighbours(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        first = list(nodes)
        machines = dict.fromkeys(map(self._machine_of, first))
        return list(dict.fromkeys([*first, *(node for each in machines for node in self._nodes_of(each))]))

    def hold(self, node: NodeId, job: str, attempt: AttemptId) -> None:
        """A job that has joined holds a slot, maybe of an attempt that a former coordinator has begun."""
        self._held.setdefault(node, {})[job, attempt] = None
        self._jobs[job].held += 1

    def release(self, node: NodeId, job: str, attempt: AttemptId) -> None:
        del self._held[node][job, attempt]
        self._jobs[job].held -= 1

    def held_by(self, job: str) -> list[tuple[NodeId, AttemptId]]:
        return [
            (node, attempt) for node, held in self._held.items() for holder, attempt in held if holder == job
        ]
