"""A watch for silence that also tells a balancer of each request under way."""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.client.routing.balancing import Balancer
from ringmill.cluster.errors import DeadlineExceeded, DiskFull, Overloaded, QuorumNotReached, Unavailable
from ringmill.cluster.silence import Inquiring, SilenceWatch, Watched

__all__ = ["BalancedWatch"]

_NOT_DONE: Final = (DeadlineExceeded, DiskFull, Overloaded, QuorumNotReached, Unavailable)
"""Another node may do better.  Other errors, such as Conflict, are answers."""


class BalancedWatch(SilenceWatch):
    """Tells a balancer of each beginning and each end once, whoever ends a request."""

    def __init__(self, inquiring: Inquiring, balancer: Balancer) -> None:
        super().__init__(inquiring)
        self._balancer = balancer
        self._begun: set[Watched] = set()

    def begin(self, name: str, request: Watched) -> None:
        """Note that a request is being sent; the balancer hears of it."""
        super().begin(name, request)
        self._begun.add(request)
        self._balancer.began(name)

    def end(self, name: str, request: Watched, told: object = None) -> None:
        """Note that it has ended; the balancer hears how long it took, and whether it was done."""
        super().end(name, request, told)
        if request in self._begun:
            self._begun.discard(request)
            now = asyncio.get_running_loop().time()
            is_done = not isinstance(told, _NOT_DONE)
            self._balancer.ended(name, now - request.begun_at, now, is_done=is_done)
