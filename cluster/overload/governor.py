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
from ringmill.cluster.ports import CoreTime

__all__ = ["core_pause_s", "stretch", "stretch_towards"]

BUSY: Final = 10.0
CROWDED: Final = 100.0
CROWDED_SHARE: Final = 0.5
"""The share of its time that a loop waits for a core while the processors are crowded."""
PAUSED: Final = 8.0
"""How much longer work takes then, pauses included.  Two copies are filled at once, so a joiner is at work a
quarter of the time.  Chosen by scripts/bench/rebalance.py."""
FULL_QUARTERS: Final = 3
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


def stretch_towards(own: float, quarters: int) -> float:
    """The factor for work that another node has as much of: `own` is that of this node.

    The other one has said that this number of quarters of what it lets in is under way (told_loads.py).  From
    three on it is as busy as a node can be before requests wait.
    """
    return max(own, BUSY) if quarters >= FULL_QUARTERS else own


def core_pause_s(took_s: float, used: CoreTime, beside: int) -> float:
    """How long background work pauses after a part of it that took `took_s`.

    `used` is what the loop had of the processors meanwhile.  A loop that waited for them half of the time
    that it needed shares them with others that want them all: then the work pauses for seven times what it
    took.  `beside` is how many nodes of this host do such work, each of which takes that much longer.
    With processors to spare nothing pauses.
    """
    needed_s = used.ran_s + used.waited_s
    crowded = min(1.0, used.waited_s / needed_s / CROWDED_SHARE) if needed_s > 0 else 0.0
    return took_s * crowded * (PAUSED * beside - 1.0)
