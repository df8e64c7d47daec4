"""What the clients of all subjects that ask through the production router have in common."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Entropy
from ringmill.simulator.subjects.objects.sessions import Dial

__all__ = ["PlannedClient"]


class PlannedClient:
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(
        self,
        name: str,
        *,
        addresses: Sequence[str],
        dial: Dial,
        entropy: Entropy,
        timeout_s: float,
        directory: type[Directory] = Directory,
    ) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._directory = directory(addresses, dial)
        self._router = Router(self._directory, entropy, timeout_s)

    async def __aenter__(self) -> Self:
        await self._directory.__aenter__()
        with suppress(RingmillError):  # any node coordinates
            await self._directory.learn(self._timeout_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._directory.__aexit__()
