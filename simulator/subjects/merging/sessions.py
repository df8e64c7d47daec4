"""Clients of counters, sets and maps: the production client, its answers kept.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

from typing import Unpack

from ringmill.client.checked.merging_caller import MergingCaller
from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.merging_plans import MERGING_KEYS, PlannedChange
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

__all__ = ["MergingSession"]


class MergingSession(PlannedClient):
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        router, operations = self._router, OperationNames(self._entropy, self._router.directory)
        spaces = {policy: AsyncKeyspace(f"{policy}s", router, operations) for policy in MERGING_KEYS}
        self._caller = MergingCaller(name, spaces, self._timeout_s)

    async def make(
        self, plan: PlannedChange, calls: list[MergingCall], *, is_of_core: bool = False
    ) -> MergingCall:
        """One call, recorded whatever comes of it."""
        return await self._caller.make(plan, calls, is_of_core=is_of_core)
