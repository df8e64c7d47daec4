"""What the clients of all subjects that ask through the production router have in common."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NotRequired, Self, TypedDict, Unpack

from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Entropy
from ringmill.simulator.subjects.objects.sessions import Dial

__all__ = ["PlannedClient", "Standing"]


class Standing(TypedDict):
    """Where a client stands: whom it reaches, and for how long it waits."""

    addresses: Sequence[str]
    dial: Dial
    entropy: Entropy
    timeout_s: float
    directory: NotRequired[type[Directory]]


class PlannedClient:
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        self.name = name
        self._timeout_s = standing["timeout_s"]
        self._entropy = standing["entropy"]
        self._directory = standing.get("directory", Directory)(standing["addresses"], standing["dial"])
        self._router = Router(self._directory, self._entropy, self._timeout_s)

    async def __aenter__(self) -> Self:
        await self._directory.__aenter__()
        with suppress(RingmillError):  # any node coordinates
            await self._directory.learn(self._timeout_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._directory.__aexit__()
