"""How fast partitions move, and how long a list of moves takes at that rate.

Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapreplace
from typing import NamedTuple

from ringmill.cluster.ids import NodeId, PartitionId

__all__ = ["Copying", "MovingRate", "projected_s"]


@dataclass(frozen=True, slots=True)
class MovingRate:
    """The limits of moves.

    Bytes per second that a node sends or takes, partitions that a joiner fills at once, and the seconds that
    a move takes however small it is: its epochs, and a pass over the keys.
    """

    bytes_per_s: float = 24 * 1024 * 1024
    at_once: int = 2
    move_s: float = 0.2  # 38 to 48 empty copies took 3 to 8 s on two cores, idle and busy


class Copying(NamedTuple):
    """One move, as far as time is concerned; a seat that is only given up has no joiner."""

    partition: PartitionId
    joiner: NodeId | None
    source: NodeId | None
    size_bytes: int


def projected_s(moves: Iterable[Copying], rate: MovingRate) -> float:
    """Seconds until the last is done, if they begin in this order as soon as the limits let them.

    The moves that a joiner makes at once share its rate.  A source may have more to send than its rate allows
    in that time; then that is how long it takes.
    """
    lanes: dict[NodeId | None, list[float]] = {}
    partitions: dict[PartitionId, float] = defaultdict(float)
    sent: dict[NodeId | None, int] = defaultdict(int)
    ends = 0.0
    for move in moves:
        free = lanes.setdefault(move.joiner, [0.0] * rate.at_once)
        takes_s = rate.move_s + move.size_bytes * rate.at_once / rate.bytes_per_s
        done = max(free[0], partitions[move.partition]) + takes_s
        heapreplace(free, done)
        partitions[move.partition] = done
        sent[move.source] += move.size_bytes
        ends = max(ends, done)
    sent.pop(None, None)
    return max(ends, max(sent.values(), default=0) / rate.bytes_per_s)
