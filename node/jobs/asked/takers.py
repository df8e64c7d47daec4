"""Who coordinates jobs, or does so once it is asked to do something with one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from ringmill.cluster.consensus.lease import decode_lease
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.journal.cells import LeaseCell, node_of
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["Takers"]

_TIMEOUT_S: Final = 12.0
_AGAIN_S: Final = 0.2
_LOOK_TIMEOUT_S: Final = 1.0


class Takers:
    """The members of a cluster, as whoever wants one of them to coordinate sees them."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    async def holder(self) -> NodeId | None:
        """Who holds the lease by its register, or held it last and has not given it up.  Raises
        RingmillError."""
        cell = LeaseCell(self._world.cells)
        return node_of(decode_lease((await cell.get(timeout=_LOOK_TIMEOUT_S)).value).holder)

    async def have(self, method: str, body: bytes, is_here: bool) -> tuple[NodeId, bytes]:
        """Ask the coordinator; where there is none, a member that becomes it.  Returns that node, and its
        answer.

        `is_here` says that this node coordinates.  Raises what the coordinator refuses with; Unavailable when
        no member can do it.
        """
        now = self._world.clock.monotonic
        ends_at = now() + _TIMEOUT_S
        refused = Unavailable("no member of the cluster can take a job now", outcome="failed")
        while now() < ends_at:
            holder, nodes = await self._in_turn(is_here)
            formers: list[ProtocolMismatch] = []
            for node in nodes:
                try:
                    return node, await self._world.ask(node, method, body, max(_AGAIN_S, ends_at - now()))
                except Unavailable as error:
                    if error.outcome != "failed":
                        raise
                    refused = error
                except ProtocolMismatch as error:  # of an earlier release: another one may know it
                    if node == holder:
                        raise
                    formers.append(error)
            if formers and len(formers) == len(nodes):
                raise formers[0]
            await asyncio.sleep(_AGAIN_S)
        raise refused

    async def _in_turn(self, is_here: bool) -> tuple[NodeId | None, list[NodeId]]:
        """The coordinator; it first, then those that may become it, in their order."""
        holder: NodeId | None = self._world.node
        if not is_here:
            with contextlib.suppress(RingmillError):
                holder = await self.holder()
        return holder, sorted(self._world.members_up(), key=lambda node: node != holder)
