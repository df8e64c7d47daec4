"""Draws what a run asks of counters, sets and maps: few keys and entries, so that changes meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.client.checked.merging_calls import MergingKind

__all__ = ["MERGING_KEYS", "PlannedChange", "draw_changes"]

MERGING_KEYS: Final = {"counter": b"hits", "set": b"tags", "map": b"cart"}
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


def draw_changes(
    draws: Random,
    *,
    changes: int,
    sessions: int,
    pause_s: float,
    policies: Sequence[str] = tuple(MERGING_KEYS),
) -> list[PlannedChange]:
    """Draw changes, in the order in which each session makes them.  Pauses take `pause_s` seconds on
    average."""
    plans = []
    for index in range(changes):
        policy = draws.choice(policies)
        kinds, weights = _KINDS[policy == "counter"]
        plans.append(
            PlannedChange(
                index,
                f"m{draws.randrange(sessions)}",
                policy,
                draws.choices(kinds, weights)[0],
                MERGING_KEYS[policy],
                2 * pause_s * draws.random(),
                draws.choice(_ENTRIES),
                draws.choice((1, 1, 2, -1, 5)),
            )
        )
    return plans
