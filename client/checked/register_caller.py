"""One client of registers that makes planned calls and records what came of each."""

from __future__ import annotations

import asyncio

from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_plans import PlannedCall
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import Conflict, RingmillError

__all__ = ["RegisterCaller"]


class RegisterCaller:
    """A client that makes one call after the other.  What a cas expects is what this client saw last."""

    def __init__(self, name: str, registers: AsyncRegisters, timeout_s: float | None = None) -> None:
        self.name = name
        self._timeout_s = timeout_s
        self._registers = registers
        self._seen: dict[bytes, tuple[bytes | None, int]] = {}

    async def make(
        self, plan: PlannedCall, calls: list[RegisterCall], *, is_of_core: bool = False
    ) -> RegisterCall:
        """One call, recorded whatever comes of it."""
        value, version = self._seen.get(plan.key, (None, 0))
        now = asyncio.get_running_loop().time
        call = RegisterCall(
            self.name, plan.kind, plan.key, now(), is_of_core=is_of_core, timeout_s=self._timeout_s
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
        except asyncio.CancelledError:
            call.given_up = now()
            raise
        else:
            call.outcome = "ok"
        call.returned = now()
        if call.outcome in ("ok", "conflict") and plan.kind != "incr":
            self._seen[plan.key] = call.shown, call.version
        return call

    async def _send(self, call: RegisterCall) -> None:
        if call.kind == "get":
            found = await self._registers.get(call.key)
            call.shown, call.version = found.value, found.version
        elif call.kind == "incr":
            call.shown = b"%d" % await self._registers.incr(call.key, call.by)
        elif call.expect_version is not None:
            call.version = await self._registers.cas(call.key, call.value, expect_version=call.expect_version)
            call.shown = call.value
        else:
            call.version = await self._registers.cas(call.key, call.value, expect=call.expect)
            call.shown = call.value
