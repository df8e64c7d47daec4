"""Which faults a run meets, and when: a list drawn once from the seed, so that it can be shrunk.

Swarm testing (Groce et al., 2012): each kind is off in about half of the runs, so that no fault hides
another.  The budget: what is synced is never destroyed on more disks than the promise allows, so that any
loss is a bug.  Applying a fault is simulator/injector.py's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["KINDS", "Fault", "draw_faults", "draw_rare_faults", "lost_for_good"]

PROCESS: Final = ("crash", "crash_all", "restart", "pause")
CLOCK: Final = ("clock_jump", "clock_drift")
SPLIT: Final = ("split_one", "split_halves", "split_bridge", "split_ring", "one_way", "flapping")
LINK: Final = ("loss", "duplicate", "reorder", "slow_link", "stuck_link")
DISK: Final = ("disk_error", "disk_full", "disk_slow", "disk_lost", "bit_flip")
RARE: Final = {
    "crash_child": 0.35, "disk_lies": 0.08, "late_socket": 0.1, "host_clock_step": 0.1, "bit_rot": 0.1,
    "skewed_clock": 0.1,
}  # fmt: skip
"""Drawn beside the others, with these chances, from a stream of their own: seeds of former days keep their
meaning.  `crash_child` is drawn often, as it fires only if there is a flush or a merge to be met.
"""
FOLDERS: Final = {"folder_restored": 0.1, "folder_copied": 0.05, "store_lost": 0.05}
"""Drawn behind the rare ones, in the same way: data folders that are not what they seem."""
KINDS: Final = PROCESS + CLOCK + SPLIT + LINK + DISK + tuple(RARE) + tuple(FOLDERS)

_LOSE: Final = ("disk_lost", "disk_lies", "folder_restored", "folder_copied", "store_lost")
_DESTROY: Final = (*_LOSE, "bit_flip", "bit_rot")
_MOST: Final = 8  # faults a run; more of them only hide one another
_LONGEST_S: Final = 8.0
_STEPS_S: Final = {0.5: -3.0, 2.0: 2.0, _LONGEST_S: 3600.0}  # of a clock, by what was drawn as a duration


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: from `at_s` for `lasts_s` seconds of virtual time, at `nodes`."""

    at_s: float
    kind: str
    nodes: tuple[str, ...]
    lasts_s: float
    amount: float = 0.0


def draw_faults(draws: Random, kinds: tuple[str, ...], nodes: list[str], horizon_s: float) -> list[Fault]:
    """Up to 8 faults in [0, horizon_s), in the order of their start.

    Half of the runs dwell on three kinds at most, so that what only their company shows is met often.
    """
    kinds = tuple(kind for kind in kinds if kind not in RARE and kind not in FOLDERS)
    allowed = [kind for kind in kinds if draws.random() < 0.5]
    if draws.random() < 0.5:
        allowed = draws.sample(kinds, min(len(kinds), draws.randint(1, 3)))
    if not allowed:
        return []
    faults = [_draw(draws, draws.choice(allowed), nodes, horizon_s) for _ in range(draws.randint(1, _MOST))]
    return sorted(_within_budget(faults), key=lambda fault: (fault.at_s, fault.kind, fault.nodes))


def draw_rare_faults(
    draws: Random, kinds: tuple[str, ...], nodes: list[str], horizon_s: float, others: Sequence[Fault]
) -> list[Fault]:
    """At most one of each rare kind, after the `others` in a run's list.  It keeps to their budget."""
    often = 1 / (2 * len(kinds)) if kinds else 0.0
    found: list[Fault] = []
    for kind, chance in (RARE | FOLDERS).items():
        is_drawn, at_s, node = (
            draws.random() < max(chance, often),
            draws.random() * horizon_s,
            draws.choice(nodes),
        )
        lasts_s = draws.choice((0.5, 2.0, _LONGEST_S))
        if is_drawn and kind in kinds:
            hit = tuple(nodes) if kind == "host_clock_step" else (node,)
            found.append(Fault(at_s, kind, hit, lasts_s, amount=_STEPS_S[lasts_s]))
    return _within_budget([*others, *found])[len(others) :]


def _draw(draws: Random, kind: str, nodes: list[str], horizon_s: float) -> Fault:
    order = draws.sample(nodes, len(nodes))
    return Fault(
        at_s=draws.random() * horizon_s,
        kind=kind,
        nodes=tuple(
            order if kind in SPLIT or kind == "crash_all" else order[: _how_many(draws, kind, len(nodes))]
        ),
        lasts_s=draws.choice((0.05, 0.5, 2.0, _LONGEST_S)) * (0.5 + draws.random()),
        amount=_amount(draws, kind),
    )


def _how_many(draws: Random, kind: str, nodes: int) -> int:
    """Most faults hit one node, some two; link faults hit a pair or everybody."""
    if kind in LINK:
        return draws.choice((2, nodes))
    if kind in DISK:
        return 1
    return min(nodes, draws.choice((1, 1, 1, 2)))


def _amount(draws: Random, kind: str) -> float:
    match kind:
        case "clock_jump":
            return draws.choice((-3600.0, -2.0, -0.4, 0.4, 2.0, 3600.0))
        case "clock_drift":
            return draws.choice((-0.01, -0.0005, 0.0005, 0.01))
        case "loss" | "duplicate" | "reorder":
            return draws.choice((0.02, 0.1, 0.4))
        case "slow_link":
            return draws.choice((0.02, 0.2, 1.5))
        case "disk_slow":
            return draws.choice((0.005, 0.05, 0.5))
        case _:
            return 0.0


def lost_for_good(faults: Sequence[Fault]) -> list[str]:
    """Nodes whose disk does not come back: they are left broken when all else is healed.

    One on which bits have turned is not: it heals from the others.  One whose folder was copied may be: a
    member that is cut off from it can take the copy for its next start, and refuses the original then.
    """
    return sorted({fault.nodes[0] for fault in faults if fault.kind in _LOSE})


def _within_budget(faults: list[Fault]) -> list[Fault]:
    """Damage on one node only: what it destroys must be readable on enough other owners."""
    victim: str | None = None
    kept: list[Fault] = []
    for fault in faults:
        if fault.kind in ("disk_error", *_DESTROY):
            victim = victim or fault.nodes[0]
            if fault.nodes[0] != victim:
                continue
        kept.append(fault)
    return kept
