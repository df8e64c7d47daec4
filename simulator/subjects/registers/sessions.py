"""Clients of registers: the production client, its answers kept as a record.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

from typing import Unpack

from ringmill.client.checked.register_caller import RegisterCaller
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.client.checked.register_plans import PlannedCall
from ringmill.client.operations import OperationNames
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.ports import Clock
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

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
        self._caller = RegisterCaller(name, self.registers, self._timeout_s)

    async def make(
        self, plan: PlannedCall, calls: list[RegisterCall], *, is_of_core: bool = False
    ) -> RegisterCall:
        """One call, recorded whatever comes of it."""
        return await self._caller.make(plan, calls, is_of_core=is_of_core)
