"""What a node bears, in the unit of a target: processor time, bytes held, or the p99 of probes.

A measure tells None for a member of which it knows too little yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from ringmill.client.bench.processor_time import used_s
from ringmill.client.scaling.scaled_cluster import Look

__all__ = ["HeldBytes", "Measure", "ProcessorShare"]

_LEAST_SPAN_S: Final = 0.2


class Measure(Protocol):
    """A figure of each member; `name` and `unit` are for people and for the log."""

    name: str
    target: float

    async def read(self, look: Look) -> Mapping[str, float | None]:
        """The figure of each member of the topology now, in the unit of `target`."""

    async def aclose(self) -> None:
        """Give up what it holds."""


class HeldBytes:
    """The bytes of keys and objects that a node holds, as it tells them."""

    name = "bytes"

    def __init__(self, target: float) -> None:
        self.target = target

    async def read(self, look: Look) -> Mapping[str, float | None]:
        """The bytes of each member; None while a node still counts, or does not answer."""
        return {
            node.id: None if node.bytes is None or node.is_counting else float(node.bytes)
            for node in look.status.nodes
        }

    async def aclose(self) -> None:
        """Nothing to give up."""


class ProcessorShare:
    """The processor time of a node's process and its children since the last look: 1 is one processor.

    The nodes run on this machine.
    """

    name = "cpu"

    def __init__(self, target: float) -> None:
        self.target = target
        self._before: dict[int, tuple[float, float]] = {}

    async def read(self, look: Look) -> Mapping[str, float | None]:
        """The share of each member; None at the first look at a process."""
        pids = {node.id: node.pid for node in look.status.nodes}
        used = {pid: used_s(pid) for pid in pids.values() if pid}
        now = asyncio.get_running_loop().time()
        shares = {node: self._share(pid, used[pid], now) if pid else None for node, pid in pids.items()}
        self._before = {pid: (now, seconds) for pid, seconds in used.items()}
        return shares

    async def aclose(self) -> None:
        """Nothing to give up."""

    def _share(self, pid: int, seconds: float, now: float) -> float | None:
        """The share since the last look; None if the total has shrunk, as when a child ended unawaited."""
        at, before = self._before.get(pid, (now, seconds))
        if now - at < _LEAST_SPAN_S or seconds < before:
            return None
        return (seconds - before) / (now - at)
