"""How fast partitions move, and how long a list of moves takes at that rate.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.ids import NodeId

__all__ = [
    "AT_FIRST",
    "LEAST_BYTES",
    "Beside",
    "Copying",
    "MeasuredMoves",
    "MovingRate",
    "copies_at_once",
    "measured_rate",
    "projected_s",
]

AT_FIRST: Final = 32
"""Partitions of one joiner that move together until it is known how long a copy takes here."""
TOGETHER_S: Final = 15.0
"""How long it is to take to fill those that move together.  An epoch is some work for every node, and while a
partition is joint its writes need one ack more."""
_LEAST_TOGETHER: Final = 8
_MOST_TOGETHER: Final = 128
LEAST_BYTES: Final = 1 << 20
"""With fewer bytes the number of copies takes the time, and no bytes per second are told."""
_AROUND_S: Final = 0.6
"""To decide on the plan, and to see that it is over."""
_OPENING_EPOCHS: Final = 2  # that a joiner needs beyond those in which a part of its partitions changes hands
_FILLS_SHARE: Final = 1.4
_EPOCHS_SHARE: Final = 0.6
"""How much longer a step takes for each further joiner: 0 if they worked beside each other, 1 if in turn,
more if they pause for each other (rule O8).  Fills share the processors of a host, epochs follow one another
(scripts/bench/rebalance.py)."""


@dataclass(frozen=True, slots=True)
class MovingRate:
    """What a joiner takes that is the only one: for each copy, for its bytes, and for an epoch of moves.

    The defaults are what two cores did that ran all nodes and little else (scripts/bench/rebalance.py).
    """

    bytes_per_s: float = 16 * 1024 * 1024
    epoch_s: float = 0.1
    copy_s: float = 0.015

    def fill_s(self, copies: int, size_bytes: float) -> float:
        return copies * self.copy_s + size_bytes / self.bytes_per_s


def copies_at_once(copy_s: float) -> int:
    """How many partitions of one joiner move together, each with as many epochs as one alone.

    `copy_s`: how long it takes to fill a copy here, 0 when that is not known.
    """
    if copy_s <= 0:
        return AT_FIRST
    return max(_LEAST_TOGETHER, min(_MOST_TOGETHER, int(TOGETHER_S / copy_s)))


class Beside(NamedTuple):
    """How many joiners there are, on the host of one of them and in all, that one included."""

    on_host: int = 1
    in_all: int = 1

    @property
    def fills_longer(self) -> float:
        return 1 + _FILLS_SHARE * (self.on_host - 1)

    @property
    def epochs_longer(self) -> float:
        return 1 + _EPOCHS_SHARE * (self.in_all - 1)


class MeasuredMoves(NamedTuple):
    """What the moves to a node took, or would have taken if no other node had had any.

    Bytes, copies, and the seconds that it took to fill them; epochs, and the seconds that they took beside
    that.
    """

    size_bytes: int = 0
    copies: int = 0
    fill_s: float = 0.0
    epochs: int = 0
    epochs_s: float = 0.0

    def plus(self, other: MeasuredMoves) -> MeasuredMoves:
        return MeasuredMoves(
            self.size_bytes + other.size_bytes,
            self.copies + other.copies,
            self.fill_s + other.fill_s,
            self.epochs + other.epochs,
            self.epochs_s + other.epochs_s,
        )

    def without(self, beside: Beside) -> MeasuredMoves:
        """As it would have been without other joiners."""
        return self._replace(
            fill_s=self.fill_s / beside.fills_longer, epochs_s=self.epochs_s / beside.epochs_longer
        )


class Copying(NamedTuple):
    """One move, as far as time is concerned; a seat that is only given up has no joiner."""

    joiner: NodeId | None
    host: str
    size_bytes: int


def measured_rate(paces: Iterable[MeasuredMoves], usual: MovingRate) -> MovingRate:
    """What nodes have measured, and `usual` for what none has.

    Of a fill only the whole is measured: bytes and copies each take as many times longer than usual.
    """
    total = MeasuredMoves()
    for pace in paces:
        total = total.plus(pace)
    usual_s = usual.fill_s(total.copies, total.size_bytes)
    slower = total.fill_s / usual_s if total.copies and total.fill_s else 1.0
    return MovingRate(
        usual.bytes_per_s / slower,
        total.epochs_s / total.epochs if total.epochs else usual.epoch_s,
        usual.copy_s * slower,
    )


def projected_s(moves: Iterable[Copying], rate: MovingRate) -> float:
    """Seconds until the last is done; 0 without any move.

    A joiner fills some partitions and then has an epoch decided for them.  Joiners work beside each other, as
    far as the processors of their host and the order of epochs allow.
    """
    copies: Counter[NodeId | None] = Counter()
    size_bytes: Counter[NodeId | None] = Counter()
    hosts: dict[NodeId | None, str] = {}
    for move in moves:
        copies[move.joiner] += 1
        size_bytes[move.joiner] += move.size_bytes
        hosts[move.joiner] = move.host
    ends = []
    for joiner, count in copies.items():
        beside = Beside(sum(host == hosts[joiner] for host in hosts.values()), len(hosts))
        fill_s = rate.fill_s(count, size_bytes[joiner]) if joiner is not None else 0.0
        fill_s *= beside.fills_longer
        further = max(0, count - AT_FIRST)  # than those that move first
        epochs = 1 + -(-further // copies_at_once(fill_s / count)) + _OPENING_EPOCHS
        ends.append(fill_s + epochs * rate.epoch_s * beside.epochs_longer)
    return _AROUND_S + max(ends) if ends else 0.0
