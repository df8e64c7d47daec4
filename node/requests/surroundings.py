"""What a request coordinator sees of the node around it: narrow protocols, so that rooms stay strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from ringmill.cluster.ids import NodeId

__all__ = ["DOWN", "Liveness", "TimeKeeper"]

DOWN: Final = "down"


class Liveness(Protocol):
    """An opinion about who can be reached; it re-routes, and decides nothing."""

    def state(self, node: NodeId) -> str:
        """One of "up", "suspect", "down", "slow"."""
        ...

    def order(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        """The same nodes, those to ask first in front."""
        ...


class TimeKeeper(Protocol):
    """Whoever judges this node's wall clock."""

    async def settled(self, within_s: float) -> None:
        """Return once a jump of the clock was judged, or there is none, or time is up."""
        ...

    async def compared(self, within_s: float) -> None:
        """Return once expiry goes by the cluster's clocks, or they were asked in vain, or time is up."""
        ...
