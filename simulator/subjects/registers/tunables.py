"""How soon registers forget operations, and are removed, in the runs of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ringmill.node.node_options import PurgeOptions
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import Tunables

__all__ = ["AGES_S", "REMOVING", "TIMEOUTS_S", "removes", "timeouts_s", "tuned"]

AGES_S: Final = (1.5, 3.0)
TIMEOUTS_S: Final = (0.3, 1.0, 1.0)
"""Where registers are removed: no request waits for as long as they were deleted."""
REMOVING: Final = 0.2  # share of the runs


def removes(seed: int) -> bool:
    """Whether deleted registers are removed in the run."""
    return stream(seed, "registers/removing").random() < REMOVING


def timeouts_s(seed: int) -> Sequence[float]:
    """How long clients wait in the run."""
    return TIMEOUTS_S if removes(seed) else (0.3, 1.0, 5.0)


def tuned(seed: int, tunables: Tunables) -> Tunables:
    """Registers that forget soon, in most of the runs."""
    kept = stream(seed, "registers/tunables").choice((16, 4, 1, 1))
    node = tunables.node
    node = replace(node, requests=replace(node.requests, kept_operations=kept))
    if removes(seed):
        draws = stream(seed, "registers/removal")
        purge = PurgeOptions(after_s=draws.choice(AGES_S), every_s=draws.choice((0.3, 1.0)))
        node = replace(node, purge=purge)
    return replace(tunables, node=node)
