"""Draws what a run asks of a sloppy keyspace: few keys, whose siblings show every write that is left."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.client.arguments import Level
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.simulator.subjects.sloppy.record import SloppyKind

__all__ = ["KEYS", "SPACE", "PlannedCall", "draw_calls", "keyspaces_for"]

SPACE: Final = "loose"
KEYS: Final = (b"l0", b"l1", b"l2")
_ORDINAL: Final = 20
_KINDS: Final[tuple[SloppyKind, ...]] = ("put", "replace", "get")
_WEIGHTS: Final = (4, 2, 3)
_LEVELS: Final[tuple[Level | None, ...]] = (None, None, None, "all", "one")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    index: int
    session: str
    kind: SloppyKind
    key: bytes
    level: Level | None
    pause_s: float


def keyspaces_for(n: int) -> tuple[KeyspaceEntry, ...]:
    """One, read and written at majorities of `n`."""
    majority = n // 2 + 1
    return (KeyspaceEntry(KeyspaceId(1, _ORDINAL), SPACE, r=majority, w=majority, quorum="sloppy"),)


def draw_calls(draws: Random, *, calls: int, sessions: int, pause_s: float) -> list[PlannedCall]:
    """In the order in which each session makes them."""
    return [
        PlannedCall(
            index,
            f"l{draws.randrange(sessions)}",
            draws.choices(_KINDS, _WEIGHTS)[0],
            draws.choice(KEYS),
            draws.choice(_LEVELS),
            2 * pause_s * draws.random(),
        )
        for index in range(calls)
    ]
