"""One client of counters, sets and maps that makes planned changes and records what came of each."""

from __future__ import annotations

import asyncio

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.merging_plans import PlannedChange
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.merging.mergeables import AsyncCounters, AsyncMaps, AsyncSets
from ringmill.cluster.errors import RingmillError

__all__ = ["MergingCaller"]


class MergingCaller:
    """A client that makes one call after the other, each in the keyspace of its policy: "counter", "set" or
    "map"."""

    def __init__(self, name: str, spaces: dict[str, AsyncKeyspace], timeout_s: float | None = None) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._spaces = spaces

    async def make(
        self, plan: PlannedChange, calls: list[MergingCall], *, is_of_core: bool = False
    ) -> MergingCall:
        """One call, recorded whatever comes of it."""
        now = asyncio.get_running_loop().time
        call = MergingCall(self.name, plan.policy, plan.kind, plan.key, now(), is_of_core=is_of_core)
        call.timeout_s = self._timeout_s
        call.entry, call.amount = plan.entry, plan.amount
        call.value = b"%s %d" % (self.name.encode(), plan.index) if plan.policy == "map" else b""
        calls.append(call)
        try:
            await self._send(call)
        except RingmillError as error:
            is_lost = plan.kind == "get" or error.outcome == "failed"
            call.outcome, call.error = "failed" if is_lost else "unknown", f"{error.code}: {error.message}"
        except asyncio.CancelledError:
            call.given_up = now()
            raise
        else:
            call.outcome = "ok"
        call.returned = now()
        return call

    async def _send(self, call: MergingCall) -> None:
        space = self._spaces[call.policy]
        match call.policy, call.kind:
            case "counter", "count":
                await AsyncCounters(space).add(call.key, call.amount)
            case "counter", _:
                call.count = await AsyncCounters(space).get(call.key)
            case "set", "put":
                await AsyncSets(space).add(call.key, call.entry)
            case "set", "remove":
                await AsyncSets(space).remove(call.key, call.entry)
            case "set", _:
                call.shown = dict.fromkeys(await AsyncSets(space).get(call.key), b"")
            case "map", "put":
                await AsyncMaps(space).put(call.key, call.entry, call.value)
            case "map", "remove":
                await AsyncMaps(space).remove(call.key, call.entry)
            case _:
                call.shown = await AsyncMaps(space).get(call.key)
