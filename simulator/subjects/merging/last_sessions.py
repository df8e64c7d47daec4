"""Clients of a keyspace with the policy `lww`: the production client, its answers as they were sent."""

from __future__ import annotations

import asyncio
from typing import Unpack

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.simulator.subjects.merging.last_writers import LAST_KEY, LAST_SPACE, LastCall, PlannedLast
from ringmill.simulator.subjects.objects.sessions import RecordingRouter
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing

__all__ = ["LastSession"]


class LastSession(PlannedClient):
    """One client that does one thing after the other.  `async with` owns its directory."""

    def __init__(self, name: str, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self._recording = RecordingRouter(self._directory, self._entropy, self._timeout_s)
        operations = OperationNames(self._entropy, self._directory)
        self._space = AsyncKeyspace(LAST_SPACE, self._recording, operations)

    async def make(self, plan: PlannedLast, calls: list[LastCall], *, is_of_core: bool = False) -> None:
        """One call, recorded whatever comes of it."""
        now = asyncio.get_running_loop().time
        value = b"%s %d" % (self.name.encode(), plan.index)
        call = LastCall(self.name, plan.kind, LAST_KEY, value, now(), is_of_core=is_of_core)
        call.timeout_s = self._timeout_s
        calls.append(call)
        try:
            await self._send(call)
        except RingmillError as error:
            is_lost = call.kind == "get" or error.outcome == "failed"
            call.outcome, call.error = "failed" if is_lost else "unknown", f"{error.code}: {error.message}"
        except asyncio.CancelledError:
            call.given_up = now()
            raise
        else:
            call.outcome = "ok"
        call.returned = now()

    async def _send(self, call: LastCall) -> None:
        if call.kind == "get":
            await self._space.get(call.key, default=None)
            answer = self._recording.last
            assert isinstance(answer, kv_pb2.GetResponse)
            call.shown = tuple((each.value, each.hybrid_time) for each in answer.siblings)
            call.weak = answer.weak
            return
        work = self._space.put(call.key, call.value) if call.kind == "put" else self._space.delete(call.key)
        receipt = await work
        call.time = receipt.hybrid_time
        call.holders = tuple(ack.node for ack in receipt.replicas if ack.role == "owner")
