"""Draws what happens to the nodes of a local cluster, and when, from a seed.

    kill      SIGKILL; started again on its data after a while
    pause     SIGSTOP, then SIGCONT
    restart   SIGTERM, and started again at once

One step is over before the next begins, so no more nodes are away at once than one step has.  Times are real:
a seed fixes the schedule and not what comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

__all__ = ["FAULT_KINDS", "FaultStep", "NodeFault", "draw_schedule"]

NodeFault = Literal["kill", "pause", "restart"]
FAULT_KINDS: Final[tuple[NodeFault, ...]] = ("kill", "pause", "restart")
_SHARES_OF_A_STEP: Final = (0.1, 0.7)  # for how much of the time until the next step nodes are away


@dataclass(frozen=True, slots=True)
class FaultStep:
    """One kind of fault at some nodes, `at_s` seconds after the start and for `lasts_s` seconds.

    A restart lasts as long as it takes.
    """

    at_s: float
    kind: NodeFault
    nodes: tuple[str, ...]
    lasts_s: float

    def __str__(self) -> str:
        lasts = "" if self.kind == "restart" else f" for {self.lasts_s:.1f} s"
        return f"{self.kind} {' '.join(self.nodes)}{lasts}"


def draw_schedule(
    draws: Random,
    nodes: Sequence[str],
    *,
    kinds: Sequence[NodeFault],
    at_once: int,
    every_s: float,
    for_s: float,
) -> list[FaultStep]:
    """Steps that begin within `for_s` seconds, one every `every_s`, each at 1 to `at_once` of the nodes.

    Kinds are dealt from a shuffled pack, so that each of them comes in a run of a few steps.
    """
    steps: list[FaultStep] = []
    pack: list[NodeFault] = []
    at_s = every_s / 2
    while at_s < for_s:
        pack = pack or draws.sample(kinds, len(kinds))
        hit = draws.sample(nodes, draws.randint(1, min(at_once, len(nodes))))
        lasts_s = every_s * draws.uniform(*_SHARES_OF_A_STEP)
        steps.append(FaultStep(at_s, pack.pop(), tuple(sorted(hit)), lasts_s))
        at_s += every_s
    return steps
