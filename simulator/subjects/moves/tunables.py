"""How much of a source a joiner reads before it makes a table of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringmill.node.node_options import MoveOptions
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import Tunables

__all__ = ["LEAST_BYTES", "TABLE_BYTES", "tuned"]

TABLE_BYTES: Final = (100, MoveOptions().table_bytes)
"""The first makes a table of nearly each object."""

LEAST_BYTES: Final = (1, 200, MoveOptions().least_table_bytes)
"""Copies of a run hold some hundred bytes: the last makes no table of any."""


def tuned(seed: int, tunables: Tunables) -> Tunables:
    draws = stream(seed, "moves/tunables")
    table_bytes = draws.choice(TABLE_BYTES)
    moves = MoveOptions(table_bytes=table_bytes, least_table_bytes=draws.choice(LEAST_BYTES))
    return replace(tunables, node=replace(tunables.node, moves=moves))
