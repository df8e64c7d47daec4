"""How soon the nodes of a run forget deletes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringmill.node.node_options import PurgeOptions
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import Tunables

__all__ = ["AGES_S", "tuned"]

AGES_S: Final = (7.0, 10.0)  # above 5 s, the longest that a request waits


def tuned(seed: int, tunables: Tunables) -> Tunables:
    draws = stream(seed, "deletes/tunables")
    purge = PurgeOptions(
        after_s=draws.choice(AGES_S),
        every_s=draws.choice((0.5, 2.0)),
        settle_s=draws.choice((0.5, 3.0)),
        at_once=draws.choice((1, 8)),
        garbage_share=draws.choice((0.01, 0.1)),
        least_garbage_bytes=draws.choice((1, 500)),
    )
    return replace(tunables, node=replace(tunables.node, purge=purge))
