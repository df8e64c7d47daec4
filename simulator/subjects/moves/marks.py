"""What runs of moves have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["MOVE_MARKS"]

MOVE_MARKS: Final = (
    "a joiner's copy is filled",
    "a joiner waits for its sources",
    "a new copy gets a table",
    "a joiner's copy is healed before it counts",
    "a former owner drops its copy",
    "a former owner keeps a copy of which others may lack something",
    "a former owner brings what others may lack before it drops its copy",
    "a source of a move is read whole as what differs is not known",
    "a source of a move tells only what differs",
    "a copy that is being filled takes no hint",
    "a joiner waits until enough owners know of it",
    "a plan is given up as its joiner stays away",
    "a register is brought over by a round",
    "a request of a register goes on with the owners that have changed",
    "a leaving node delivers its hints first",
    "hints for a former owner that is away go to the present ones",
)
