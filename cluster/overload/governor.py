"""How much background work gives way to requests.

Pure.  Repair is paced (bytes a second); while the node is busy with requests of clients its pauses are
stretched, the more the busier: to ten times when turns of the event loop are as long as they may be, and when
requests have to wait to a hundred times.  So background work always has a hundredth of its pace, and never
ends up with none.

Rule O8: docs/protocol/overload.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.overload.ladder import Rung

__all__ = ["stretch"]

BUSY: Final = 10.0
CROWDED: Final = 100.0
IDLE_SHARE: Final = 0.1
"""Below it a node counts as idle, so a few requests slow nothing down."""


def stretch(busy_share: float, step: Rung) -> float:
    """The factor by which a pause of background work grows: 1 for a node at rest.

    `busy_share` is the length of a turn as a share of what it may be.
    """
    if step >= Rung.BACKGROUND:
        return CROWDED
    if busy_share < IDLE_SHARE:
        return 1.0
    return 1.0 + (BUSY - 1.0) * min(1.0, busy_share) ** 2
