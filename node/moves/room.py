"""The room of moves: what joins this node is filled, what leaves it is dropped."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ringmill.cluster.ids import PartitionId
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.core import Core
from ringmill.node.moves.adopting import Adopting
from ringmill.node.moves.fill_steps import FillSteps, ask_steps
from ringmill.node.moves.filled_so_far import MoveProgress
from ringmill.node.moves.filling import Filling, FinishRegister, Pull
from ringmill.node.moves.former_copies import FormerCopies
from ringmill.node.moves.giving_up import GivingUp
from ringmill.node.moves.mover import Advance, Mover
from ringmill.node.moves.owed_copies import OwedCopies, Owing
from ringmill.node.replica.room import Replica

__all__ = ["Moves", "open_moves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    mover: Mover
    filling: Filling
    giving_up: GivingUp
    progress: MoveProgress
    owed_copies: OwedCopies

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self.mover.run(), self.giving_up.run(), self.owed_copies.run()]

    def take(self, topology: Topology) -> None:
        """A document is held from now on."""
        self.owed_copies.take(topology)
        self.mover.take(topology)
        self.giving_up.take(topology)

    @property
    def held_back(self) -> Mapping[PartitionId, str]:
        """Why a move to this node waits, or this node's former copy is kept."""
        return {**self.owed_copies.held_back, **self.mover.held_back}


def open_moves(
    core: Core,
    replica: Replica,
    seat: Owner,
    *,
    topology: TopologyView,
    liveness: LivenessView,
    change: Advance,
    finish_register: FinishRegister,
    pull: Pull,
    owing: Owing,
) -> Moves:
    progress, steps = MoveProgress(replica.control), FillSteps()
    filling = Filling(
        core.node,
        engine=replica.engine,
        objects=replica.objects,
        watermarks=replica.watermarks,
        remains=replica.remains,
        forgotten=replica.forgotten,
        topology=topology,
        transport=core.transport,
        finish_register=finish_register,
        pull=pull,
        progress=progress,
        steps=steps,
        gate=core.gate,
        core_time=core.doors.core_time,
        clock=core.hybrid,
        options=core.options.moves,
    )
    owed = OwedCopies(core.node, owing, topology=topology, liveness=liveness)
    mover = Mover(
        seat,
        topology=topology,
        watermarks=replica.watermarks,
        progress=progress,
        steps=steps,
        filling=filling,
        former_copies=FormerCopies(core.node, engine=replica.engine, objects=replica.objects, owed=owed),
        transport=core.transport,
        change=change,
        count_hints=lambda: sum(replica.hints.counts().values()),
    )
    owed.on_settled = mover.wake
    core.serve(Adopting(topology, replica.watermarks).handlers())
    core.serve(steps.handlers(lambda: mover.held_back))
    giving_up = GivingUp(
        core.node,
        topology=topology,
        liveness=liveness,
        ask=partial(ask_steps, core.transport),
        change=change,
        clock=core.clock,
    )
    return Moves(mover=mover, filling=filling, giving_up=giving_up, progress=progress, owed_copies=owed)
