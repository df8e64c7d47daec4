"""How much background work gives way to requests.

Pure.  Repair is paced (bytes a second); while the node is busy with requests of clients its pauses are
stretched, the more the busier: at the limit of what may be under way to ten times, and when requests have to
wait to a hundred times.  So background work always has a hundredth of its pace, and never ends up with none.

Rule O8: docs/protocol/overload.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.overload.ladder import Rung

__all__ = ["stretch"]

BUSY: Final = 10.0
CROWDED: Final = 100.0
IDLE_SHARE: Final = 0.1
"""Of the limit: below it a node counts as idle, so a few requests slow nothing down."""


def stretch(in_use_share: float, step: Rung) -> float:
    """The factor by which a pause of background work grows: 1 for a node at rest.

    `in_use_share` is what is under way as a share of the limit.
    """
    if step >= Rung.BACKGROUND:
        return CROWDED
    if in_use_share < IDLE_SHARE:
        return 1.0
    return 1.0 + (BUSY - 1.0) * min(1.0, in_use_share) ** 2
