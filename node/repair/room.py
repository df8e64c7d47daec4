"""Builds the repair of a node: hint delivery, healing, anti-entropy, forgetting of deletes, scrub."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ringmill.cluster.ids import Start
from ringmill.node.contracts import LivenessView, RegisterAccess, TopologyView
from ringmill.node.core import Core
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.clean_stop import note_clean_stop, was_clean
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.sums_check import SumsCheck
from ringmill.node.repair.dropped.keyspace_removal import KeyspaceRemoval
from ringmill.node.repair.exchange import Exchange
from ringmill.node.repair.forgetting import Forgetting
from ringmill.node.repair.healing import Healing
from ringmill.node.repair.hint_delivery import HintDelivery
from ringmill.node.repair.journals.journal_removal import JournalRemoval
from ringmill.node.repair.kept_attempts import KeptAttempts
from ringmill.node.repair.purging import Purging
from ringmill.node.repair.register_healing import RegisterHealing
from ringmill.node.repair.register_removal import FinishRegister, RegisterRemoval
from ringmill.node.repair.scrub_schedule import scrub_now_and_then
from ringmill.node.replica.room import Replica

__all__ = ["Repair", "open_repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    delivery: HintDelivery
    healing: Healing
    anti_entropy: AntiEntropy
    purging: Purging
    forgetting: Forgetting
    exchange: Exchange
    journals: JournalRemoval
    keyspaces: KeyspaceRemoval
    sums: SumsCheck
    _replica: Replica
    _start: Start
    _scrub_every_s: float

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The loops that run as long as the node."""
        return [
            self.delivery.run(),
            self.healing.run(),
            self.anti_entropy.run(),
            self.purging.run(),
            self.journals.run(),
            self.keyspaces.run(),
            self.sums.run(),
            scrub_now_and_then(self._replica.engine, self._scrub_every_s),
        ]

    async def note_stop(self) -> None:
        """Once requests have come to rest: whether the next start need not compare what it holds."""
        if self.anti_entropy.is_done and self._replica.hints.is_whole:
            await note_clean_stop(self._replica.control, self._start)


def open_repair(
    core: Core,
    replica: Replica,
    start: Start,
    *,
    topology: TopologyView,
    liveness: LivenessView,
    finish_register: FinishRegister,
    own_registers: RegisterAccess,
) -> Repair:
    delivery = HintDelivery(
        core.node,
        hints=replica.hints,
        objects=replica.objects,
        topology=topology,
        liveness=liveness,
        transport=core.transport,
        clock=core.clock,
        options=core.options.hints,
        gate=core.gate,
    )
    options = core.options.compare
    exchange = _open_exchange(core, replica, topology)
    forgetting, purging = _open_purging(
        core, replica, start, exchange, finish_register, topology=topology, liveness=liveness
    )
    anti_entropy = AntiEntropy(
        core.node,
        exchange=exchange,
        comparisons=replica.comparisons,
        hints=replica.hints,
        topology=topology,
        liveness=liveness,
        clock=core.clock,
        options=options,
    )
    replica.hints.on_dropped = anti_entropy.owe
    if not was_clean(replica.control, start):
        anti_entropy.want()
    loss = AcceptedLoss()
    healing = Healing(
        core.node,
        engine=replica.engine,
        objects=replica.objects,
        control=replica.control,
        watermarks=replica.watermarks,
        topology=topology,
        transport=core.transport,
        on_lost_hints=anti_entropy.want,
        heal_registers=_register_healing(core, replica, topology, loss).heal,
        loss=loss,
        gate=core.gate,
    )
    return Repair(
        delivery=delivery,
        healing=healing,
        anti_entropy=anti_entropy,
        purging=purging,
        forgetting=forgetting,
        exchange=exchange,
        journals=_journal_removal(core, replica, topology, own_registers),
        keyspaces=_keyspace_removal(core, replica, topology),
        sums=_sums_check(core, replica, topology),
        _replica=replica,
        _start=start,
        _scrub_every_s=core.config.scrub_every_s,
    )


def _open_exchange(core: Core, replica: Replica, topology: TopologyView) -> Exchange:
    return Exchange(
        core.node,
        engine=replica.engine,
        objects=replica.objects,
        comparisons=replica.comparisons,
        topology=topology,
        transport=core.transport,
        options=core.options.compare,
        gate=core.gate,
    )


def _register_healing(
    core: Core, replica: Replica, topology: TopologyView, loss: AcceptedLoss
) -> RegisterHealing:
    return RegisterHealing(
        core.node,
        registers=replica.registers,
        remains=replica.remains,
        forgotten=replica.forgotten,
        engine=replica.engine,
        topology=topology,
        transport=core.transport,
        loss=loss,
        gate=core.gate,
    )


def _journal_removal(
    core: Core, replica: Replica, topology: TopologyView, registers: RegisterAccess
) -> JournalRemoval:
    return JournalRemoval(
        core.node,
        engine=replica.engine,
        store=replica.registers,
        forgotten=replica.forgotten,
        registers=registers,
        topology=topology,
        gate=core.gate,
        every_s=core.options.purge.journals_every_s,
    )


def _sums_check(core: Core, replica: Replica, topology: TopologyView) -> SumsCheck:
    return SumsCheck(
        core.node,
        engine=replica.engine,
        objects=replica.objects,
        topology=topology,
        gate=core.gate,
        options=core.options.replica,
        every_s=core.options.compare.sums_every_s,
    )


def _keyspace_removal(core: Core, replica: Replica, topology: TopologyView) -> KeyspaceRemoval:
    return KeyspaceRemoval(
        engine=replica.engine,
        objects=replica.objects,
        hints=replica.hints,
        topology=topology,
        gate=core.gate,
        options=core.options.replica,
    )


def _open_purging(
    core: Core,
    replica: Replica,
    start: Start,
    exchange: Exchange,
    finish_register: FinishRegister,
    *,
    topology: TopologyView,
    liveness: LivenessView,
) -> tuple[Forgetting, Purging]:
    options = core.options.purge
    removal = RegisterRemoval(
        core.node,
        registers=replica.registers,
        engine=replica.engine,
        liveness=liveness,
        transport=core.transport,
        hybrid=core.hybrid,
        options=options,
        gate=core.gate,
        finish_register=finish_register,
    )
    forgetting = Forgetting(
        core.node,
        engine=replica.engine,
        objects=replica.objects,
        watermarks=replica.watermarks,
        topology=topology,
        options=options,
        gate=core.gate,
    )
    kept_attempts = KeptAttempts(
        core.node,
        watermarks=replica.watermarks,
        topology=topology,
        transport=core.transport,
        clock=core.clock,
        settle_s=options.settle_s,
    )
    replica.watermarks.find_out = kept_attempts.find_out
    purging = Purging(
        core.node,
        start,
        exchange=exchange,
        objects=replica.objects,
        watermarks=replica.watermarks,
        forgetting=forgetting,
        kept_attempts=kept_attempts,
        removal=removal,
        topology=topology,
        liveness=liveness,
        transport=core.transport,
        hybrid=core.hybrid,
        options=options,
        gate=core.gate,
    )
    return forgetting, purging
