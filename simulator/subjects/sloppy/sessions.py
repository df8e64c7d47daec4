"""Clients of a sloppy keyspace: the production client over simulated links, its answers kept."""

from __future__ import annotations

import asyncio
from typing import Literal, Unpack

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.values import EMPTY, Item
from ringmill.cluster.errors import NotFound, RingmillError
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing
from ringmill.simulator.subjects.sloppy.record import SloppyCall
from ringmill.simulator.subjects.sloppy.workload import SPACE, PlannedCall

__all__ = ["SloppySession"]


class SloppySession(PlannedClient):
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self._space = AsyncKeyspace(
            SPACE, self._router, OperationNames(self._entropy, self._router.directory)
        )

    async def make(self, plan: PlannedCall, calls: list[SloppyCall], *, is_of_core: bool = False) -> None:
        """One call, recorded whatever comes of it."""
        now = asyncio.get_running_loop().time
        found: Item | None = None
        if plan.kind == "replace":
            try:
                found = await self._read(plan)
            except RingmillError:
                return  # it knows nothing that it could replace
        value = b"" if plan.kind == "get" else b"%s %d" % (self.name.encode(), plan.index)
        call = SloppyCall(self.name, plan.kind, plan.key, value, now(), is_of_core=is_of_core)
        if found is not None:
            call.replaces = frozenset(found.siblings)
        call.timeout_s = self._timeout_s
        calls.append(call)
        try:
            await self._send(plan, call, found)
            call.outcome = "ok"
        except RingmillError as error:
            call.outcome = _lost(plan.kind == "get", error)
            call.error = f"{error.code}: {error.message}"
        except asyncio.CancelledError:
            call.given_up = now()
            raise
        call.returned = now()

    async def _send(self, plan: PlannedCall, call: SloppyCall, found: Item | None) -> None:
        if plan.kind == "get":
            item = await self._read(plan)
            call.shown = () if item is None else item.siblings
            call.weak = item is None or item.weak  # the error does not tell
            return
        context = EMPTY if found is None else found.context
        receipt = await self._space.put(plan.key, call.value, context=context, w=plan.level)
        call.dot, call.w, call.weak = receipt.dot, receipt.w, receipt.weak
        call.epoch, call.replicas = receipt.epoch, receipt.replicas

    async def _read(self, plan: PlannedCall) -> Item | None:
        try:
            return await self._space.get(plan.key, r=plan.level)
        except NotFound:
            return None


def _lost(is_read: bool, error: RingmillError) -> Literal["failed", "unknown"]:
    return "failed" if is_read or error.outcome == "failed" else "unknown"
