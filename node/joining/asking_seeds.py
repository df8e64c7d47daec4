"""A node that belongs to no cluster asks the addresses that it was given who the members of one are.

An answer that names this node tells whom to ask for the topology, as nodes ask each other: what is told to
whoever asks an address is made for clients.

Members hand the topology to a node that it names (node/membership/offering.py), at the address that it names.
A node that asks does not depend on being reached there, and its log says what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message

from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.wire.stubs.topology_pb2 import GetTopologyRequest, GetTopologyResponse
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["OpenSeed", "SeedLink", "Seeds"]

_TOPOLOGY: Final = "/ringmill.v1.Topology/Get"
_TIMEOUT_S: Final = 2.0
_AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)
AnswerT = TypeVar("AnswerT", bound=Message)


class SeedLink(Protocol):
    """Plain calls to one address, whose node has to prove that it is of this cluster (rule F6)."""

    async def unary(self, path: str, request: Message, answer: type[AnswerT], timeout_s: float) -> AnswerT:
        """Raises RingmillError."""
        ...

    async def close(self) -> None: ...


OpenSeed = Callable[[str], SeedLink]


class Seeds:
    """`run` beside the node; it returns once the node belongs to a cluster."""

    def __init__(
        self, seat: Owner, addresses: Sequence[str], *, topology: TopologyAgent, open_seed: OpenSeed
    ) -> None:
        self._seat = seat
        self._addresses = addresses
        self._topology = topology
        self._open_seed = open_seed
        self._told: dict[str, str] = {}  # by address: what it said last, as the log has it

    async def run(self) -> None:
        """Ask all seeds, again and again.  Without seeds there is nobody to ask."""
        links = {address: self._open_seed(address) for address in self._addresses}
        try:
            while links and self._topology.current is None:
                async with asyncio.TaskGroup() as group:
                    for address, link in links.items():
                        group.create_task(self._ask(address, link))
                if self._topology.current is None:
                    await next_beat(_AGAIN_S)
        finally:
            for link in links.values():
                await link.close()

    async def _ask(self, address: str, link: SeedLink) -> None:
        try:
            answer = await link.unary(_TOPOLOGY, GetTopologyRequest(), GetTopologyResponse, _TIMEOUT_S)
            if not answer.document:
                self._note(address, "belongs to no cluster yet, either")
            elif (topology := Topology.decode(answer.document)).has_seat(self._seat):
                if self._topology.current is None:
                    _log.info("%s was told of cluster %s by %s", self._seat.node, topology.name, address)
                await self._topology.ask_members(topology)
            else:
                self._note(address, self._unnamed(topology))
        except RingmillError as error:
            self._note(address, f"gave no topology: {error.message}")

    def _unnamed(self, topology: Topology) -> str:
        node, disk = self._seat
        if not topology.has_member(node):
            return f"is of cluster {topology.name}, which has no {node} yet: `ringmill cluster add` adds it"
        return (
            f"is of cluster {topology.name}, whose {node} has disk {topology.member(node).disk}, and here is "
            f"{disk}: give it its own folder, or `ringmill cluster replace {node}`"
        )

    def _note(self, address: str, why: str) -> None:
        if self._told.get(address) != why:
            self._told[address] = why
            _log.info("seed %s %s", address, why)
