"""Clients of counters, sets and maps: the production client, its answers kept.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

import asyncio
from typing import Unpack

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.merging.mergeables import AsyncCounters, AsyncMaps, AsyncSets
from ringmill.client.operations import OperationNames
from ringmill.cluster.errors import RingmillError
from ringmill.simulator.merging_history import MergingCall
from ringmill.simulator.subjects.merging.workload import PlannedChange
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

__all__ = ["MergingSession"]


class MergingSession(PlannedClient):
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        router, operations = self._router, OperationNames(self._entropy, self._router.directory)
        self._counters = AsyncCounters(AsyncKeyspace("counters", router, operations))
        self._sets = AsyncSets(AsyncKeyspace("sets", router, operations))
        self._maps = AsyncMaps(AsyncKeyspace("maps", router, operations))

    async def make(
        self, plan: PlannedChange, calls: list[MergingCall], *, is_of_core: bool = False
    ) -> MergingCall:
        """One call, recorded whatever comes of it."""
        now = asyncio.get_running_loop().time
        call = MergingCall(self.name, plan.policy, plan.kind, plan.key, now(), is_of_core=is_of_core)
        call.entry, call.amount = plan.entry, plan.amount
        call.value = b"%s %d" % (self.name.encode(), plan.index) if plan.policy == "map" else b""
        calls.append(call)
        try:
            await self._send(call)
        except RingmillError as error:
            is_lost = plan.kind == "get" or error.outcome == "failed"
            call.outcome, call.error = "failed" if is_lost else "unknown", f"{error.code}: {error.message}"
        else:
            call.outcome = "ok"
        call.returned = now()
        return call

    async def _send(self, call: MergingCall) -> None:
        match call.policy, call.kind:
            case "counter", "count":
                await self._counters.add(call.key, call.amount)
            case "counter", _:
                call.count = await self._counters.get(call.key)
            case "set", "put":
                await self._sets.add(call.key, call.entry)
            case "set", "remove":
                await self._sets.remove(call.key, call.entry)
            case "set", _:
                call.shown = dict.fromkeys(await self._sets.get(call.key), b"")
            case "map", "put":
                await self._maps.put(call.key, call.entry, call.value)
            case "map", "remove":
                await self._maps.remove(call.key, call.entry)
            case _:
                call.shown = await self._maps.get(call.key)
