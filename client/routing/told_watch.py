"""A watch for silence that also tells a balancer of each request under way."""

from __future__ import annotations

import asyncio

from ringmill.client.routing.balancing import Balancer
from ringmill.cluster.silence import Inquiring, SilenceWatch, Watched

__all__ = ["ToldWatch"]


class ToldWatch(SilenceWatch):
    """Each beginning and end is told once, whoever ends a request."""

    def __init__(self, inquiring: Inquiring, balancer: Balancer) -> None:
        super().__init__(inquiring)
        self._balancer = balancer
        self._begun: set[Watched] = set()

    def begin(self, name: str, request: Watched) -> None:
        """As there."""
        super().begin(name, request)
        self._begun.add(request)
        self._balancer.began(name)

    def end(self, name: str, request: Watched) -> None:
        """As there."""
        super().end(name, request)
        if request in self._begun:
            self._begun.discard(request)
            now = asyncio.get_running_loop().time()
            self._balancer.ended(name, now - request.begun_at, now)
