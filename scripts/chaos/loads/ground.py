"""What the loads of one run share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from chaos.real_nodes import RealNodes
from ringmill.client.dialling.node_links import open_link
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.ring.topology import Topology
from ringmill.simulator.history import History

__all__ = ["Ground"]

ClientT = TypeVar("ClientT")


@dataclass(slots=True)
class Ground:
    """`is_over` tells the loads that the faults have ended.

    `crowd`: how many times the usual number of clients there are.
    """

    seed: int
    nodes: RealNodes
    topology: Topology
    history: History
    crowd: int = 1
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def client(self, kind: Callable[..., ClientT], name: str, timeout_s: float, **own: object) -> ClientT:
        """A session of this kind that reaches the nodes by their proxies; `own`: further arguments of it."""
        return kind(
            name,
            addresses=list(self.nodes.proxied.values()),
            dial=partial(open_link, session=True),
            entropy=OsEntropy(),
            timeout_s=timeout_s,
            **own,
        )
