"""Draws the faults of a run and their times: a list drawn once from the seed, so that it can be shrunk.

Swarm testing (Groce et al., 2012): each kind is off in about half of the runs, so that no fault hides
another.  The budget: what is synced is never destroyed on more disks than the promise allows, so that any
loss is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind
from ringmill.simulator.world.seeds import stream

__all__ = ["draw_faults", "lost_for_good"]

_MOST: Final = 8  # usual faults a run; more of them only hide one another


def draw_faults(seed: int, kinds: Sequence[FaultKind], nodes: Sequence[str], horizon_s: float) -> list[Fault]:
    """Up to 8 of the usual kinds, in the order of their start; then at most one of each rare kind.

    A rare kind has a stream of its own, so that one more of them changes nothing else of a seed.
    """
    destructive = {kind.name for kind in kinds if kind.spoils or kind.loses}
    usual = _usual(stream(seed, "faults"), [kind for kind in kinds if kind.chance is None], nodes, horizon_s)
    usual = _within_budget(usual, destructive)
    rare = []
    often = 1 / (2 * len(kinds)) if kinds else 0.0  # of a few kinds each is met
    for kind in kinds:
        draws = stream(seed, f"faults/{kind.name}")
        if kind.chance is not None and draws.random() < max(kind.chance, often):
            rare.append(kind.draw(draws, kind.name, nodes, horizon_s))
    return [*usual, *_at_the_victim(rare, usual, destructive)]


def lost_for_good(faults: Sequence[Fault], kinds: Sequence[FaultKind]) -> list[str]:
    """Nodes whose disk does not come back: they are left broken when all else is healed.

    One on which bits have turned is not: it heals from the others.  One whose folder was copied may be: a
    member that is cut off from it can take the copy for its next start, and refuses the original then.
    """
    losing = {kind.name for kind in kinds if kind.loses}
    return sorted({fault.nodes[0] for fault in faults if fault.kind in losing})


def _usual(draws: Random, kinds: Sequence[FaultKind], nodes: Sequence[str], horizon_s: float) -> list[Fault]:
    """Half of the runs dwell on three kinds at most, so that what only their company shows is met often."""
    allowed = [kind for kind in kinds if draws.random() < 0.5]
    if draws.random() < 0.5:
        allowed = draws.sample(kinds, min(len(kinds), draws.randint(1, 3)))
    if not allowed:
        return []
    faults = []
    for _ in range(draws.randint(1, _MOST)):
        kind = draws.choice(allowed)
        faults.append(kind.draw(draws, kind.name, nodes, horizon_s))
    return sorted(faults, key=lambda fault: (fault.at_s, fault.kind, fault.nodes))


def _within_budget(faults: Sequence[Fault], destructive: set[str]) -> list[Fault]:
    """Damage on one node only: what it destroys must be readable on enough other owners."""
    victim = next((fault.nodes[0] for fault in faults if fault.kind in destructive), None)
    return [fault for fault in faults if fault.kind not in destructive or fault.nodes[0] == victim]


def _at_the_victim(rare: Sequence[Fault], usual: Sequence[Fault], destructive: set[str]) -> list[Fault]:
    """Rare destruction strikes the node on which something is destroyed already."""
    victims = [fault.nodes for fault in (*usual, *rare) if fault.kind in destructive]
    return [replace(fault, nodes=victims[0]) if fault.kind in destructive else fault for fault in rare]
