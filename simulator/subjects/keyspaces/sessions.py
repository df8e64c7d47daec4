"""Clients of keyspaces: the production client over simulated links, its answers kept as a record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final, Unpack

from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.cluster.errors import Conflict, RingmillError
from ringmill.simulator.subjects.keyspaces.record import KeyspaceCall, KeyspaceKind
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

__all__ = ["KeyspaceSession", "PlannedChange", "draw_changes"]

_NAMES: Final = ("a", "b", "c")
_KINDS: Final[tuple[KeyspaceKind, ...]] = ("create", "alter", "drop", "list")
_WEIGHTS: Final = (4, 3, 2, 2)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    index: int
    session: str
    kind: KeyspaceKind
    name: str
    pause_s: float

    @property
    def ttl_ms(self) -> int:
        return self.index + 1


def draw_changes(draws: Random, *, calls: int, sessions: int, pause_s: float) -> list[PlannedChange]:
    """In the order in which each session makes them."""
    return [
        PlannedChange(
            index,
            f"k{draws.randrange(sessions)}",
            draws.choices(_KINDS, _WEIGHTS)[0],
            draws.choice(_NAMES),
            2 * pause_s * draws.random(),
        )
        for index in range(calls)
    ]


class KeyspaceSession(PlannedClient):
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self._keyspaces = AsyncKeyspaces(self._router)

    async def make(self, plan: PlannedChange, calls: list[KeyspaceCall], *, is_of_core: bool = False) -> None:
        """One call, recorded whatever comes of it."""
        loop = asyncio.get_running_loop()
        call = KeyspaceCall(self.name, plan.kind, plan.name, plan.ttl_ms, loop.time(), is_of_core=is_of_core)
        call.timeout_s = self._timeout_s
        calls.append(call)
        try:
            call.epoch = await self._send(call)
            call.outcome = "ok"
        except RingmillError as error:
            is_certain = plan.kind == "list" or error.outcome == "failed"
            call.outcome = (
                "conflict"
                if isinstance(error, Conflict) and is_certain
                else ("failed" if is_certain else "unknown")
            )
            call.error = f"{error.code}: {error.message}"
        except asyncio.CancelledError:
            call.given_up = loop.time()
            raise
        call.returned = loop.time()

    async def _send(self, call: KeyspaceCall) -> int:
        """The epoch of the answer."""
        match call.kind:
            case "create":
                return (await self._keyspaces.create(call.name, ttl=call.ttl_ms / 1000)).epoch
            case "alter":
                return (await self._keyspaces.alter(call.name, ttl=call.ttl_ms / 1000)).epoch
            case "drop":
                return await self._keyspaces.drop(call.name)
            case "list":
                return (await self._keyspaces.list())[0].epoch
