"""Draws what a run asks of registers: a few keys that are counted, a few that are set by cas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.client.checked.register_calls import RegisterKind

__all__ = ["DELETE_SHARE", "REGISTER_KEYS", "PlannedCall", "draw_calls", "is_counter"]

REGISTER_KEYS: Final = (b"count 0", b"count 1", b"set 0", b"set 1", b"set 2")
DELETE_SHARE: Final = 0.1
_BY_VERSION: Final = 0.5
_LULLS: Final = 0.3
_KINDS: Final[dict[bool, tuple[tuple[RegisterKind, ...], tuple[int, ...]]]] = {
    True: (("incr", "get"), (7, 3)),
    False: (("cas", "get"), (6, 4)),
}


def is_counter(key: bytes) -> bool:
    return key.startswith(b"count ")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """What a cas expects is what its client saw last, by value or by version."""

    index: int
    session: str
    kind: RegisterKind
    key: bytes
    pause_s: float
    by: int
    by_version: bool
    deletes: bool


def draw_calls(
    draws: Random,
    keys: Sequence[bytes],
    *,
    calls: int,
    sessions: int,
    pause_s: float,
    deletes: float = DELETE_SHARE,
    lull_s: float = 0.0,
) -> list[PlannedCall]:
    """Draw calls, in the order in which each session makes them.

    `deletes` is their share of the sets; with a `lull_s` some calls come after a pause of about as long.
    """
    plans = []
    for index in range(calls):
        key = draws.choice(keys)
        kinds, weights = _KINDS[is_counter(key)]
        plans.append(
            PlannedCall(
                index,
                f"r{draws.randrange(sessions)}",
                draws.choices(kinds, weights)[0],
                key,
                2 * (lull_s if lull_s and draws.random() < _LULLS else pause_s) * draws.random(),
                draws.choice((1, 1, 2, -1, 5)),
                draws.random() < _BY_VERSION,
                draws.random() < deletes,
            )
        )
    return plans
