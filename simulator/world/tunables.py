"""Sizes of a run, drawn from its seed: mostly as in production, now and then so small that every edge is met.

A memtable of a few entries makes the engine flush and compact all the time, tiny blocks make every read cross
one, and a hint batch of one makes delivery slow (FoundationDB calls this "buggify").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from ringmill.node.node_options import CompareOptions, HintOptions, NodeOptions, RequestOptions
from ringmill.node.storage.engine_options import EngineOptions

__all__ = ["Tunables", "draw_tunables"]

_A_FEW_WRITES_BYTES: Final = 600
_VISITS_OF_A_FLUSH: Final = 12
"""More than the longest that was seen took, in longest visits to the disk: 10.1."""


@dataclass(frozen=True, slots=True)
class Tunables:
    """What a run is sized by.  Times in seconds."""

    node: NodeOptions
    profile: str  # of membership
    disk_s: float  # the longest visit to a healthy disk
    gather_s: float  # how long a call waits for company in its frame
    drain_s: float  # how long a stopping node waits for requests in progress

    @property
    def stall_s(self) -> float:
        """How long a call may wait for a flush, where a few writes fill a memtable; 0.0 where it takes many,
        so that hardly any call waits for one."""
        is_filled_soon = self.node.storage.memtable_bytes <= _A_FEW_WRITES_BYTES
        return _VISITS_OF_A_FLUSH * self.disk_s if is_filled_soon else 0.0


def draw_tunables(draws: Random) -> Tunables:
    is_small = draws.random() < 0.5
    storage = EngineOptions(
        memtable_bytes=draws.choice((600, 2_000, 8_000)) if is_small else 1 << 20,
        block_bytes=draws.choice((64, 512)) if is_small else 4096,
        block_cache_bytes=draws.choice((0, 1_000)) if is_small else 1 << 20,
        table_bytes=draws.choice((1_000, 4_000)) if is_small else 1 << 20,
        level0_tables=draws.choice((1, 2, 4)),
        level1_bytes=4_000 if is_small else 1 << 20,
        compression=draws.choice(("none", "none", "lz4", "zstd")),
        reserve_bytes=4096,
    )
    drawn = Tunables(
        node=NodeOptions(storage=storage, hints=HintOptions(batch_items=draws.choice((1, 2, 64)))),
        profile=draws.choice(("fast", "default")),
        disk_s=draws.choice((0.0005, 0.004, 0.02, 0.1)),
        gather_s=0.0,
        drain_s=draws.choice((5.0, 5.0, 5.0, 0.0)),
    )
    late_acks = RequestOptions(drain_s=draws.choice((0.0, 0.5, RequestOptions().drain_s)))
    gather_s = draws.choice(
        (0.0, 0.0, 0.001, 0.01)
    )  # drawn last: the other draws stay as they were without it
    compare = CompareOptions(
        every_s=draws.choice((2.0, 8.0, 30.0)),
        settle_s=draws.choice((0.05, 1.0)),
        looks=draws.choice((1, 3)),
        at_once=draws.choice((1, 4)),
    )
    hints = replace(
        drawn.node.hints,
        most_bytes=draws.choice((HintOptions().most_bytes, HintOptions().most_bytes, 300)),
        longest_s=draws.choice((HintOptions().longest_s, HintOptions().longest_s, 1.0)),
    )
    replica = replace(drawn.node.replica, most_whole_bytes=draws.choice((1024, 60, 0, 0)))
    membership = replace(drawn.node.membership, voter_down_s=draws.choice((600.0, 2.0)), voter_turn_s=1.0)
    storage = replace(storage, sync_turns=draws.choice((0, 6)))
    requests = replace(late_acks, together_least=draws.choice((2, 2, 1)))  # a client's frame has one request
    storage = replace(storage, sorted_at_once=draws.choice((EngineOptions().sorted_at_once, 1, 3)))
    requests = replace(requests, hedges_saved=draws.choice((10.0, 10.0, 1.0)))
    node = replace(
        drawn.node,
        storage=storage,
        requests=requests,
        compare=compare,
        hints=hints,
        replica=replica,
        membership=membership,
    )
    return replace(drawn, node=node, gather_s=gather_s)
