"""Draws what a run asks of counters, sets and maps: few keys and entries, so that changes meet."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.simulator.merging_history import MergingKind

__all__ = ["KEYS", "PlannedChange", "draw_changes", "keyspaces_for"]

KEYS: Final = {"counter": b"hits", "set": b"tags", "map": b"cart"}
_ENTRIES: Final = (b"a", b"b", b"c")
_KINDS: Final[dict[bool, tuple[tuple[MergingKind, ...], tuple[int, ...]]]] = {
    True: (("count", "get"), (7, 3)),
    False: (("put", "remove", "get"), (5, 3, 4)),
}


@dataclass(frozen=True, slots=True)
class PlannedChange:
    index: int
    session: str
    policy: str
    kind: MergingKind
    key: bytes
    pause_s: float
    entry: bytes
    amount: int


def keyspaces_for(n: int) -> tuple[KeyspaceEntry, ...]:
    """One of each policy, `counters`, `sets` and `maps`, read and written at majorities of `n`."""
    majority = n // 2 + 1
    return tuple(
        KeyspaceEntry(KeyspaceId(1, ordinal), f"{policy}s", policy=policy, r=majority, w=majority)
        for ordinal, policy in enumerate(KEYS, 2)
    )


def draw_changes(draws: Random, *, changes: int, sessions: int, pause_s: float) -> list[PlannedChange]:
    """In the order in which each session makes them."""
    plans = []
    for index in range(changes):
        policy = draws.choice(list(KEYS))
        kinds, weights = _KINDS[policy == "counter"]
        plans.append(
            PlannedChange(
                index,
                f"m{draws.randrange(sessions)}",
                policy,
                draws.choices(kinds, weights)[0],
                KEYS[policy],
                2 * pause_s * draws.random(),
                draws.choice(_ENTRIES),
                draws.choice((1, 1, 2, -1, 5)),
            )
        )
    return plans
