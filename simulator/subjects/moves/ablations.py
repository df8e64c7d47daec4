"""Safeguards that moves of partitions rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import ringmill.cluster.ring.moves
import ringmill.cluster.ring.succession
import ringmill.node.moves.adopting
import ringmill.node.moves.filling
import ringmill.node.moves.mover
import ringmill.node.repair.hint_delivery
import ringmill.simulator.subjects.deletes.tunables
import ringmill.simulator.subjects.moves.faults
import ringmill.simulator.subjects.moves.kinds
import ringmill.simulator.subjects.moves.tunables
from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import RingmillError, Stale, Unavailable
from ringmill.cluster.ids import FIRST_EPOCH, Epoch, NodeId, PartitionId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.quorum.tally import ReadTally, WriteTally
from ringmill.cluster.ring.moves import check_arrow, readers_barrier, sources_for
from ringmill.cluster.ring.topology import Owner, Row, Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.moves.brought_table import TableOfCopy
from ringmill.node.moves.filling import Filling
from ringmill.node.moves.former_copies import FormerCopies
from ringmill.node.moves.mover import Mover
from ringmill.node.moves.owed_copies import OwedCopies
from ringmill.node.node_options import MoveOptions
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.exchange import Exchange
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import Copy
from ringmill.node.requests.write_dispatcher import WriteDispatcher
from ringmill.node.storage.ingest import Ingest
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import Ablation, Patches, constant, function, method
from ringmill.simulator.subjects.objects.ablations.healing import without_comparing

__all__ = ["MOVE_ABLATIONS"]

_STEP_S: Final = 0.6
_TABLE_S: Final = 1.0
_MOVED_S: Final = 30.0
"""In a run whose load ends before that."""
_OBJECTS: Final = ("objects", "moves")
_DELETES: Final = ("deletes", "moves")
_REGISTERS: Final = ("registers", "moves")
_ONCE: Final = ("cold", "writes", "slow")
"""A key is written so seldom that its next write does not bring what an owner lacks."""


def _of(subjects: tuple[str, ...], *faults: str) -> SimulationOptions:
    return SimulationOptions(subjects, faults=faults or None)


def _crowded(*faults: str) -> SimulationOptions:
    """Many who read and write few keys while joints last."""
    return SimulationOptions(
        _OBJECTS, operations=800, sessions=48, keys=8, faults=faults, core=0.0, load_s=10.0
    )


def _long_steps() -> Patches:
    advance = Mover._advance

    async def advance_late(mover: Mover, topology: Topology) -> bool:
        await asyncio.sleep(1.0)
        return await advance(mover, topology)

    return (method(Mover._advance, advance_late),)


def _long_joints() -> Patches:
    """Each step of a move takes a while, hints take longer, and owners are not compared: what an owner has
    missed it lacks when the next step is made.  Partitions turn, and nothing else."""
    return (
        *_long_steps(),
        constant(ringmill.node.repair.hint_delivery, "ROUND_S", 5.0),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
        *without_comparing(),
    )


# Half of the clients see an old document for a while.
_BEHIND: Final = replace(_crowded("split_joint"), sessions=32)


def _late_steps() -> Patches:
    """A while lies between what a joiner has found out and the step that it takes then; who cannot be reached
    is not waited for as long."""
    return (
        constant(ringmill.node.moves.adopting, "CALL_TIMEOUT_S", _STEP_S / 2),
        constant(ringmill.node.moves.filling, "CALL_TIMEOUT_S", _STEP_S / 2),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
        *without_comparing(),
    )


def _split_in(phase: str) -> Patches:
    """Old owners are cut off as soon as the joiner can leave this phase."""
    faults = ringmill.simulator.subjects.moves.faults
    return constant(faults, "PHASES", (phase,)), constant(faults, "DELAYS_S", (0.0,))


def _late_when_filled() -> Patches:
    fill = Mover._fill

    async def fill_and_wait(mover: Mover, *given: Any) -> None:
        await fill(mover, *given)
        await asyncio.sleep(_STEP_S)

    return (method(Mover._fill, fill_and_wait), *_late_steps())


def _late_when_known() -> Patches:
    ask = Mover._ask_adopted

    async def ask_and_wait(mover: Mover, topology: Topology) -> Mapping[PartitionId, Epoch]:
        known = await ask(mover, topology)
        await asyncio.sleep(_STEP_S if known else 0)
        return known

    return (method(Mover._ask_adopted, ask_and_wait), *_late_steps())


def _rows_compared() -> Patches:
    """Whoever is asked answers by the row that it knows, and every answer counts.  Gossip takes long, and so
    does a joint."""
    answered, acked = ReadTally.record_answer, WriteTally.record_ack
    heard, fill = TopologyAgent.heard_of, Mover._fill

    async def route_at(routes: Routes, epoch: Epoch, ask: NodeId | None) -> Topology:
        return routes._view.serving_topology()

    def row_of(agent: TopologyAgent, partition: PartitionId, epoch: Epoch) -> Row:
        return agent.serving_topology().row(partition)

    def count_answer(tally: ReadTally, node: NodeId, row_epoch: Epoch) -> bool:
        return answered(tally, node, tally.row_epoch)

    def count_ack(tally: WriteTally, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        acked(tally, node, durability, tally.row_epoch)

    def hear_late(agent: TopologyAgent, epoch: Epoch, node: NodeId) -> None:
        if epoch > agent.epoch:
            asyncio.get_running_loop().call_later(9.0, heard, agent, epoch, node)

    async def fill_and_wait(mover: Mover, *given: Any) -> None:
        await fill(mover, *given)
        await asyncio.sleep(5.0)

    return (
        method(Mover._fill, fill_and_wait),
        method(TopologyAgent.heard_of, hear_late),
        method(TopologyAgent.check_row, row_of),
        method(Routes._at, route_at),
        method(ReadTally.record_answer, count_answer),
        method(WriteTally.record_ack, count_ack),
        constant(ringmill.node.repair.hint_delivery, "ROUND_S", 5.0),
        *_late_steps(),
    )


def _both_sets_ack() -> Patches:
    return (method(Row.writers_for, lambda row, level: level), *_long_joints())


def _both_sets_hold() -> Patches:
    """What a read of a joint shows is held by enough of the old owners."""
    return (method(Row.sets, property(lambda row: (row.whole,))),)


def _both_sets_read() -> Patches:
    """And nothing has to be held in both sets, which would make such a read fail."""
    return (
        method(Row.readers_for, lambda row, level: level),
        *_both_sets_hold(),
        *_split_in(JOINT_2),
        *_late_when_known(),
    )


def _enough_sources() -> Patches:
    """And a copy is filled from the first that answers."""
    return (function(ringmill.node.moves.filling, sources_for, lambda topology, row: 1), *_long_joints())


def _turn(number: int) -> int:
    """Another one each 50 us, and no pattern in `number` of them."""
    return int(asyncio.get_running_loop().time() * 20_000) * 2_654_435_761 // 65_536 % number


def _late_merged() -> Patches:
    """What a write of the joint has brought while a table was made hides what the table holds of its key.
    Each table takes a while.  Owners coordinate in turn, and each write is left to a hint for one of them,
    which waits until the moves are over: so the next one may come from an owner that lacks what the source
    has.  Partitions turn, and nothing else."""
    make, addresses = Ingest.make, Directory.addresses_of

    def in_turn(directory: Directory, partition: PartitionId, turn: int = 0) -> list[str]:
        return addresses(directory, partition, _turn(3))

    def one_left_out(
        dispatcher: WriteDispatcher, owners: Sequence[NodeId], w: int, *, is_sloppy: bool
    ) -> tuple[NodeId, ...]:
        others = [node for node in owners if node != dispatcher._node]
        return (others[_turn(len(others))],) if len(others) >= w else ()

    async def make_long(ingest: Ingest, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        made = await make(ingest, function, *args, **kwargs)
        await asyncio.sleep(_TABLE_S)
        return made

    return (
        method(TableOfCopy._written_meanwhile, lambda table: []),
        method(Ingest.make, make_long),
        method(Directory.addresses_of, in_turn),
        method(WriteDispatcher._deferred, one_left_out),
        constant(ringmill.simulator.subjects.moves.tunables, "LEAST_BYTES", (1,)),
        constant(ringmill.simulator.subjects.moves.tunables, "TABLE_BYTES", (MoveOptions().table_bytes,)),
        constant(ringmill.node.repair.hint_delivery, "ROUND_S", 15.0),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
        *without_comparing(),
    )


def _empty_start() -> Patches:
    """A copy is named by its partition alone, and what an earlier one has left stays."""
    opened = ringmill.cluster.ring.moves._opened

    def opened_again(row: Row, seat: Owner, epoch: Epoch, zones: Mapping[NodeId, str]) -> Row:
        after = opened(row, seat, epoch, zones)
        return replace(after, copy_epochs=(*after.copy_epochs[:-1], FIRST_EPOCH))

    async def keep_all(copies: FormerCopies, topology: Topology) -> None:
        return

    return (
        constant(ringmill.cluster.ring.moves, "_opened", opened_again),
        function(ringmill.cluster.ring.succession, check_arrow, lambda *rows: None),
        method(FormerCopies.sweep, keep_all),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
        constant(ringmill.simulator.subjects.deletes.tunables, "AGES_S", (1.0, 2.0)),
    )


def _leaver_waits() -> Patches:
    """A node leaves with the hints that it keeps, which take long, and owners are not compared.  None is
    given up or killed, which would excuse what it forgets."""
    return (
        method(Mover.hints, property(lambda mover: 0)),
        constant(ringmill.node.repair.hint_delivery, "ROUND_S", 30.0),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("add", "remove")),
        constant(ringmill.simulator.subjects.moves.kinds, "KILLED", 0.0),
        *_long_steps(),
        *without_comparing(),
    )


def _owed_kept() -> Patches:
    """A former owner drops its copy at once.  All hints are over the bound, and owners compare only what is
    owed until the moves are over.  Partitions turn, and nothing else."""
    one_round = AntiEntropy._round

    async def late_round(anti_entropy: AntiEntropy, *, is_due: bool) -> None:
        is_late = asyncio.get_running_loop().time() > _MOVED_S
        if not is_late:
            anti_entropy._returned.clear()
        await one_round(anti_entropy, is_due=is_due and is_late)

    return (
        method(OwedCopies._keep, lambda owed, copies: None),
        method(HintStore._is_within_bounds, lambda hints, target, key, size: False),
        method(AntiEntropy._round, late_round),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
    )


def _filled_first() -> Patches:
    """Nor are owners compared, which would bring what a copy lacks.  Partitions turn, and nothing else."""

    async def fill_nothing(filling: Filling, partition: int) -> None:
        filling._watermarks.end_filling(partition)  # type: ignore[arg-type]

    return (
        method(Filling.fill, fill_nothing),
        constant(ringmill.simulator.subjects.moves.kinds, "KINDS", ("turn",)),
        *without_comparing(),
    )


def _owners_know() -> Patches:
    """And nothing has to be held in both sets."""
    return (
        function(ringmill.node.moves.mover, readers_barrier, lambda topology, row: 0),
        *_both_sets_hold(),
        *_split_in(JOINT_1),
        *_late_when_filled(),
    )


def _old_values_brought() -> Patches:
    """A joiner judges what its owners bring by a watermark of theirs that it has not reached yet."""
    learn = Filling.learn_marks

    async def learn_and_judge(
        filling: Filling, topology: Topology, rows: Mapping[PartitionId, Row]
    ) -> dict[PartitionId, RingmillError]:
        refused = await learn(filling, topology, rows)
        for partition in rows.keys() - refused.keys():
            filling._watermarks.end_filling(partition)
        return refused

    async def leave_out_what_is_refused(
        filling: Filling, copy: Copy, items: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        for item in items:
            with suppress(Stale):
                await merge(filling, copy, (item,))

    async def cannot_tell(exchange: Exchange, *which: Any) -> int:
        raise Unavailable("each source is read whole, so that all that is refused is left out")

    merge = Filling._merge
    return (
        method(Filling.learn_marks, learn_and_judge),
        method(Filling._merge, leave_out_what_is_refused),
        method(Exchange.pull, cannot_tell),
    )


def _registers_brought() -> Patches:
    async def bring_nothing(filling: Filling, topology: Topology, row: Row, copy: Copy) -> None:
        return

    return (method(Filling._bring_registers, bring_nothing),)


MOVE_ABLATIONS: Final = (
    Ablation(
        "rows-compared",
        "a request is checked against the row, and answers of one row alone are counted",
        _rows_compared(),
        SimulationOptions(
            _OBJECTS,
            operations=600,
            sessions=48,
            keys=64,
            mix=_ONCE,
            faults=("strand_owner",),
            core=0.0,
            load_s=10.0,
        ),
        rules=("T5",),
    ),
    Ablation(
        "joint-acks",
        "a write of a joint needs its level in both sets of owners",
        _both_sets_ack(),
        _crowded("loss", "split_one", "pause"),
        rules=("M1",),
    ),
    Ablation(
        "joint-reads",
        "a read of a joint asks both sets of owners",
        _both_sets_read(),
        _BEHIND,
        rules=("M1",),
    ),
    Ablation(
        "both-sets-hold",
        "what a read of a joint shows is held by enough owners of each set",
        (*_both_sets_hold(), *_late_when_known()),
        _BEHIND,
        rules=("M1",),
    ),
    Ablation(
        "owners-know-the-joint",
        "no read asks the old owners alone once others write",
        _owners_know(),
        replace(_BEHIND, operations=600, keys=4, mix=("slow",)),
        rules=("M2",),
    ),
    Ablation(
        "filled-first",
        "a copy is filled before it is read",
        _filled_first(),
        _of(_OBJECTS),
        rules=("M4",),
    ),
    Ablation(
        "filled-from-enough",
        "a copy is filled from enough old owners",
        _enough_sources(),
        _crowded("loss", "split_one", "pause"),
        rules=("M4",),
    ),
    Ablation(
        "late-merged",
        "what is written while a table is made is merged with what the table holds",
        _late_merged(),
        SimulationOptions(
            _OBJECTS,
            operations=800,
            sessions=24,
            keys=64,
            mix=("cold", "writes"),
            faults=(),
            core=0.0,
            load_s=10.0,
            quiet_s=600.0,
        ),
        rules=("M4",),
    ),
    Ablation(
        "old-values-brought",
        "a copy that is being filled takes what is older than the watermark",
        _old_values_brought(),
        SimulationOptions(_DELETES, operations=200, keys=64, faults=("pause",), core=0.0, load_s=20.0),
        rules=("M3",),
    ),
    Ablation(
        "empty-start-epoch",
        "a copy begins empty, whatever an earlier one of the node has left",
        _empty_start(),
        SimulationOptions(_DELETES, operations=200, keys=24, faults=("pause",), core=0.0, load_s=20.0),
        rules=("M3",),
    ),
    Ablation(
        "leaver-waits",
        "a member leaves once its last hint is delivered",
        _leaver_waits(),
        SimulationOptions(
            _OBJECTS,
            operations=500,
            sessions=24,
            keys=256,
            mix=_ONCE,
            faults=("split_leaver",),
            core=0.0,
            load_s=12.0,
        ),
        rules=("M6",),
    ),
    Ablation(
        "owed-kept",
        "a former owner keeps its copy until others have what it owes them",
        _owed_kept(),
        SimulationOptions(
            _OBJECTS,
            operations=500,
            sessions=24,
            keys=64,
            mix=("cold", "weak", "writes"),
            faults=("loss", "split_one", "one_way"),
            core=0.0,
            load_s=10.0,
        ),
        rules=("M6", "H2"),
    ),
    Ablation(
        "registers-brought",
        "registers are brought over by rounds",
        _registers_brought(),
        _of(_REGISTERS),
        rules=("M5",),
    ),
)
