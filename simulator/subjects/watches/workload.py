"""Draws what is written on watched keys: few of them, often at level one, which quorums may miss."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from ringmill.simulator.subjects.objects.mix import Mix
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload

__all__ = ["TAG", "draw_watched"]

TAG: Final = "w-"
"""Before every watched key."""
_MIX: Final = Mix(
    contexts=(2, 4, 2), levels={"": 2, "one": 3}, durabilities={"": 1}, pauses_s=(0.0, 0.2, 1.0)
)
_KEYS: Final = 4


def draw_watched(draws: Random, *, operations: int, sessions: int) -> list[PlannedOperation]:
    """By sessions `ws0`, `ws1` and so on."""
    tag = TAG.encode()
    plans = draw_workload(draws, operations=operations, sessions=sessions, keys=_KEYS, mix=_MIX)
    return [
        replace(plan, session=f"w{plan.session}", key=tag + plan.key, value=tag + plan.value)
        for plan in plans
    ]
