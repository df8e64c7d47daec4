"""Which keys and partitions a node works on most at present, and which keys are so hot that reads are spread.

Counted is the work that requests make on this node: a request of a client counts at the node that coordinates
it, and what another coordinator asks of this node's copy counts here as well.  So the requests of clients are
the sum over all nodes, and the work of one node shows whether an owner has more of it than the others.

Operations are sampled (cluster/hot/sampling.py), keys are held in a Space-Saving sketch
(cluster/hot/space_saving.py), and counts fade with a half-life (cluster/hot/decay.py).  Memory is bounded:
64 keys of at most 1,024 bytes, and five numbers a partition.  Values are never looked at.

Rule G7: docs/protocol/reads.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from ringmill.cluster.hot.decay import ForwardDecay
from ringmill.cluster.hot.sampling import Sampler
from ringmill.cluster.hot.space_saving import Counted, SpaceSaving
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.ports import Clock

__all__ = ["HeatOptions", "HeatReport", "KeyHeat", "KeyRates", "Rates", "Work"]

_PARTS: Final = 5
_BYTES: Final = 4
_JUDGE_EVERY_S: Final = 0.25
_STAYS: Final = 0.25
"""A key stays hot until it is below this share of what made it hot: spreading takes work from a node."""

_Name: TypeAlias = tuple[KeyspaceId, bytes]


class Work(IntEnum):
    """What a node does about a key."""

    READ = 0
    """A read of a client, coordinated."""
    WRITE = 1
    COPY_READ = 2
    """This node's copy, shown to another coordinator."""
    COPY_WRITE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatOptions:
    """Times in seconds, rates a second."""

    keys: int = 64
    half_life_s: float = 5.0
    samples_s: float = 128.0  # taken of all operations of a node, about
    hot_reads_s: float = 200.0  # of a key on one node, from which its reads are spread
    hot_share: float = 0.05  # and that share of all reads of this node
    spreads_reads: bool = True


class Rates(NamedTuple):
    """Operations a second of each kind of work, and bytes a second."""

    reads_s: float
    writes_s: float
    copy_reads_s: float
    copy_writes_s: float
    bytes_s: float


class KeyRates(NamedTuple):
    """Nothing more was counted of the key than `rates` say, up to `error_s` operations a second: it may have
    been counted for others before, and samples vary (two standard deviations)."""

    keyspace: KeyspaceId
    key: bytes
    rates: Rates
    error_s: float
    is_spread: bool


class HeatReport(NamedTuple):
    """`keys` are hottest first.  A key that is not among them has at most `floor_s` operations a second."""

    keys: Sequence[KeyRates]
    partitions: Mapping[PartitionId, Rates]
    floor_s: float
    every: int


class KeyHeat:
    def __init__(self, clock: Clock, options: HeatOptions) -> None:
        self._clock = clock
        self._options = options
        now = clock.monotonic()
        self._decay = ForwardDecay(options.half_life_s, now)
        self._sampler = Sampler(options.samples_s, now)
        self._keys: SpaceSaving[_Name] = SpaceSaving(options.keys, parts=_PARTS)
        self._partitions: dict[PartitionId, list[float]] = {}
        self.turns: dict[_Name, int] = {}
        """The turn of each hot key.  Nearly always empty: callers look at that first, which saves a call."""
        self._judged_at = now
        self.passes = self._sampler.passes
        """Count one operation; True when it is to be noted."""

    def note(
        self, work: Work, keyspace: KeyspaceId, key: bytes, partition: PartitionId, size_bytes: int
    ) -> None:
        """Take an operation that `passes` has chosen.  `size_bytes` are those of the whole object."""
        now = self._clock.monotonic()
        self._fade(now)
        weight = self._sampler.take(now) * self._decay.weight(now)
        of_partition = self._partitions.get(partition)
        if of_partition is None:
            of_partition = self._partitions[partition] = [0.0] * _PARTS
        for parts in (of_partition, self._keys.add((keyspace, key), weight)):
            parts[work] += weight
            parts[_BYTES] += weight * size_bytes
        if now - self._judged_at >= _JUDGE_EVERY_S:
            self._judge(now)

    def is_hot(self, keyspace: KeyspaceId, key: bytes) -> bool:
        """Whether reads of a key are to be spread over its owners (rule G7)."""
        return (keyspace, key) in self.turns

    def next_turn(self, keyspace: KeyspaceId, key: bytes) -> int:
        """A number that grows with each read of a hot key; 0 for any other."""
        turn = self.turns.get((keyspace, key))
        if turn is None:
            return 0
        self.turns[keyspace, key] = turn + 1
        return turn

    def report(self) -> HeatReport:
        """What is hot now."""
        now = self._clock.monotonic()
        self._fade(now)
        self._sampler.settle(now)
        self._judge(now)
        per_second = self._decay.per_second / self._decay.weight(now)
        return HeatReport(
            [self._rates_of(name, entry, per_second) for name, entry in self._keys.items()],
            {at: _rates(parts, per_second) for at, parts in self._partitions.items()},
            self._keys.floor * per_second,
            self._sampler.every,
        )

    def _rates_of(self, name: _Name, entry: Counted, per_second: float) -> KeyRates:
        deviation = math.sqrt((self._sampler.every - 1) * entry.count * per_second * self._decay.per_second)
        error_s = entry.surplus * per_second + 2 * deviation
        return KeyRates(*name, _rates(entry.parts, per_second), error_s, name in self.turns)

    def _fade(self, now: float) -> None:
        factor = self._decay.moved(now)
        if factor != 1.0:
            self._keys.scale(factor)
            for parts in self._partitions.values():
                parts[:] = [part * factor for part in parts]

    def _judge(self, now: float) -> None:
        self._judged_at = now
        options = self._options
        if not options.spreads_reads:
            return
        per_second = self._decay.per_second / self._decay.weight(now)
        reads = sum(_reads(parts) for parts in self._partitions.values()) * per_second
        least = max(options.hot_reads_s, options.hot_share * reads)
        turns: dict[_Name, int] = {}
        for name, entry in self._keys.items():
            turn = self.turns.get(name)
            if _reads(entry.parts) * per_second >= (least if turn is None else least * _STAYS):
                turns[name] = turn or 1
        self.turns = turns


def _reads(parts: Sequence[float]) -> float:
    return parts[Work.READ] + parts[Work.COPY_READ]


def _rates(parts: Sequence[float], per_second: float) -> Rates:
    return Rates(*(part * per_second for part in parts))
