"""How fast partitions move, and how long a list of moves takes at that rate.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.ids import NodeId

__all__ = ["AT_ONCE", "Copying", "MovingRate", "MeasuredMoves", "measured_rate", "projected_s"]

AT_ONCE: Final = 8
"""Partitions of one joiner that change hands in one epoch."""
_CONTENTION: Final = 1.7
"""How much longer an epoch takes when several joiners propose theirs (scripts/bench/rebalance.py)."""
_AROUND_S: Final = 0.5
"""To decide on the plan, and to see that it is over."""
_OPENING_EPOCHS: Final = 2  # that a joiner needs beyond those in which a part of its partitions changes hands


@dataclass(frozen=True, slots=True)
class MovingRate:
    """Bytes per second that the joiners of one host fill, and seconds that an epoch of moves takes.

    The defaults are what two cores did that ran all nodes (scripts/bench/rebalance.py).
    """

    bytes_per_s: float = 20 * 1024 * 1024
    epoch_s: float = 0.1


class MeasuredMoves(NamedTuple):
    """What a node measured in the moves to it while no other node had any.

    Bytes and the seconds that it took to fill them; epochs and the seconds that they took beside that.
    """

    size_bytes: int = 0
    fill_s: float = 0.0
    epochs: int = 0
    epochs_s: float = 0.0

    def plus(self, other: MeasuredMoves) -> MeasuredMoves:
        return MeasuredMoves(
            self.size_bytes + other.size_bytes,
            self.fill_s + other.fill_s,
            self.epochs + other.epochs,
            self.epochs_s + other.epochs_s,
        )


class Copying(NamedTuple):
    """One move, as far as time is concerned; a seat that is only given up has no joiner."""

    joiner: NodeId | None
    host: str
    size_bytes: int


def measured_rate(paces: Iterable[MeasuredMoves], usual: MovingRate) -> MovingRate:
    """What nodes have measured, and `usual` for what none has."""
    total = MeasuredMoves()
    for pace in paces:
        total = total.plus(pace)
    has_filled = total.size_bytes and total.fill_s
    return MovingRate(
        total.size_bytes / total.fill_s if has_filled else usual.bytes_per_s,
        total.epochs_s / total.epochs if total.epochs else usual.epoch_s,
    )


def projected_s(moves: Iterable[Copying], rate: MovingRate) -> float:
    """Seconds until the last is done.

    A joiner fills some partitions and then has an epoch decided for them.  Joiners work beside each other,
    but epochs follow one another, and the joiners of one host share its processors.  0 without any move.
    """
    copies: Counter[NodeId | None] = Counter()
    joined: Counter[NodeId | None] = Counter()
    hosts: Counter[str] = Counter()
    for move in moves:
        copies[move.joiner] += 1
        joined[move.joiner] += move.size_bytes
        hosts[move.host] += move.size_bytes
    epochs = {joiner: -(-count // AT_ONCE) + _OPENING_EPOCHS for joiner, count in copies.items()}
    ends = [each * rate.epoch_s + joined[joiner] / rate.bytes_per_s for joiner, each in epochs.items()]
    if not epochs:
        return 0.0
    filled = [size_bytes / rate.bytes_per_s for size_bytes in hosts.values()]
    in_turn = sum(epochs.values()) * rate.epoch_s * (_CONTENTION if len(epochs) > 1 else 1)
    return _AROUND_S + max(in_turn, *ends, *filled)
