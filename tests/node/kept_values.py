"""A control store in memory, which outlives the starts of its node."""

from __future__ import annotations

import asyncio

__all__ = ["KeptValues"]


class KeptValues:
    """As ControlState (node/contracts.py); a value is durable a turn of the loop later, or `sync_s`."""

    def __init__(self, sync_s: float = 0.0) -> None:
        self.durable: dict[str, bytes] = {}
        self._sync_s = sync_s
        self._along: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.durable.get(name)

    async def put_synced(self, name: str, value: bytes) -> None:
        along, self._along = self._along, {}
        await asyncio.sleep(self._sync_s)
        self.durable |= {**along, name: value}

    def put_along(self, name: str, value: bytes) -> None:
        self._along[name] = value
