"""Orders the nodes to ask about a key: its owners in ring order, with silent ones last.

Pure.  Without a topology all endpoints are equally good, because any node forwards a request once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Topology

__all__ = ["Suspects", "coordinators"]


class Suspects:
    """Addresses that did not answer the last time; they are asked last until they answer."""

    def __init__(self) -> None:
        self._silent: dict[str, None] = {}

    def blame(self, address: str) -> None:
        self._silent[address] = None

    def clear(self, address: str) -> None:
        self._silent.pop(address, None)

    def has(self, address: str) -> bool:
        return address in self._silent

    def last(self, addresses: Iterable[str]) -> list[str]:
        """The addresses in their order, but suspects at the end."""
        if not self._silent:
            return list(addresses)
        return sorted(addresses, key=lambda address: address in self._silent)

    def keep(self, known: Container[str]) -> None:
        """Forget all but these."""
        self._silent = {address: None for address in self._silent if address in known}

    def all(self) -> list[str]:
        """Every suspect, the one that has been silent longest first."""
        return list(self._silent)


def coordinators(topology: Topology, partition: PartitionId) -> list[str]:
    """Addresses to ask about a key of `partition`, best first: its owners in ring order, then the others."""
    addresses: Mapping[NodeId, str] = topology.addresses()
    return list(dict.fromkeys(addresses[node] for node in (*topology.owners(partition), *addresses)))
