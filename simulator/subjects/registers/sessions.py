"""Clients of registers: the production client, its answers kept as a record.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

import asyncio
from typing import Unpack

from ringmill.client.operations import OperationNames
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import Conflict, RingmillError
from ringmill.cluster.ports import Clock
from ringmill.simulator.register_history import RegisterCall
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing
from ringmill.simulator.subjects.registers.workload import PlannedCall

__all__ = ["RegisterSession"]


class RegisterSession(PlannedClient):
    def __init__(self, name: str, *, clock: Clock, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self.registers = AsyncRegisters(
            self._router,
            OperationNames(self._entropy, self._router.directory),
            clock=clock,
            entropy=self._entropy,
        )
        self._seen: dict[bytes, tuple[bytes | None, int]] = {}

    async def make(
        self, plan: PlannedCall, calls: list[RegisterCall], *, is_of_core: bool = False
    ) -> RegisterCall:
        """One call, recorded whatever comes of it."""
        value, version = self._seen.get(plan.key, (None, 0))
        call = RegisterCall(
            self.name, plan.kind, plan.key, asyncio.get_running_loop().time(), is_of_core=is_of_core
        )
        if plan.kind == "incr":
            call.by = plan.by
        elif plan.kind == "cas":
            call.value = None if plan.deletes else b"%s %d" % (self.name.encode(), plan.index)
            call.expect, call.expect_version = (None, version) if plan.by_version else (value, None)
        calls.append(call)
        try:
            await self._send(call)
        except Conflict as error:
            call.outcome, call.error = "conflict" if error.outcome == "failed" else "unknown", str(error)
            call.shown, call.version = error.detail["current"], error.detail["version"]
        except RingmillError as error:
            is_lost = plan.kind == "get" or error.outcome == "failed"
            call.outcome, call.error = "failed" if is_lost else "unknown", f"{error.code}: {error.message}"
        else:
            call.outcome = "ok"
        call.returned = asyncio.get_running_loop().time()
        if call.outcome in ("ok", "conflict") and plan.kind != "incr":
            self._seen[plan.key] = call.shown, call.version
        return call

    async def _send(self, call: RegisterCall) -> None:
        if call.kind == "get":
            found = await self.registers.get(call.key)
            call.shown, call.version = found.value, found.version
        elif call.kind == "incr":
            call.shown = b"%d" % await self.registers.incr(call.key, call.by)
        elif call.expect_version is not None:
            call.version = await self.registers.cas(call.key, call.value, expect_version=call.expect_version)
            call.shown = call.value
        else:
            call.version = await self.registers.cas(call.key, call.value, expect=call.expect)
            call.shown = call.value
