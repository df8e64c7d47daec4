"""Safeguards that moves of partitions rely on."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import ringmill.node.moves.filling
import ringmill.node.moves.mover
from ringmill.cluster.errors import Stale
from ringmill.cluster.ring.moves import readers_barrier, sources_for
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.node.moves.filling import Filling
from ringmill.node.replica.stored_key import Copy
from ringmill.simulator.bending import Ablation, Bends, method, use
from ringmill.simulator.options import SimulationOptions

__all__ = ["MOVE_ABLATIONS"]

_OBJECTS: Final = ("objects", "moves")
_DELETES: Final = ("deletes", "moves")
_REGISTERS: Final = ("registers", "moves")


def _of(subjects: tuple[str, ...], *faults: str) -> SimulationOptions:
    return SimulationOptions(subjects, faults=faults or None)


def _both_sets_ack() -> Bends:
    return (method(Row.writers_for, lambda row, level: level),)


def _both_sets_read() -> Bends:
    return (method(Row.readers_for, lambda row, level: level),)


def _enough_sources() -> Bends:
    return (use(ringmill.node.moves.filling, sources_for, lambda topology, row: 1),)


def _filled_first() -> Bends:
    async def fill_nothing(filling: Filling, partition: int) -> None:
        await filling.learn_marks(partition)  # type: ignore[arg-type]
        filling._watermarks.end_filling(partition)  # type: ignore[arg-type]

    return (method(Filling.fill, fill_nothing),)


def _owners_know() -> Bends:
    return (use(ringmill.node.moves.mover, readers_barrier, lambda topology, row: 0),)


def _old_values_brought() -> Bends:
    """A joiner judges what its owners bring by a watermark of theirs that it has not reached yet."""
    learn = Filling.learn_marks

    async def learn_and_judge(filling: Filling, partition: int) -> None:
        await learn(filling, partition)  # type: ignore[arg-type]
        filling._watermarks.end_filling(partition)  # type: ignore[arg-type]

    async def leave_out_what_is_refused(
        filling: Filling, copy: Copy, items: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        for item in items:
            with suppress(Stale):
                await merge(filling, copy, (item,))

    merge = Filling._merge
    return (
        method(Filling.learn_marks, learn_and_judge),
        method(Filling._merge, leave_out_what_is_refused),
    )


def _registers_brought() -> Bends:
    async def bring_nothing(filling: Filling, topology: Topology, row: Row, copy: Copy) -> None:
        return

    return (method(Filling._bring_registers, bring_nothing),)


MOVE_ABLATIONS: Final = (
    Ablation(
        "joint-acks",
        "a write of a joint needs its level in both sets of owners",
        _both_sets_ack(),
        _of(_OBJECTS),
        rules=("M1",),
    ),
    Ablation(
        "joint-reads",
        "a read of a joint asks both sets of owners",
        _both_sets_read(),
        _of(_OBJECTS),
        rules=("M1",),
    ),
    Ablation(
        "owners-know-the-joint",
        "no read asks the old owners alone once others write",
        _owners_know(),
        _of(_OBJECTS),
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
        _of(_OBJECTS),
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
        "registers-brought",
        "registers are brought over by rounds",
        _registers_brought(),
        _of(_REGISTERS),
        rules=("M5",),
    ),
)
