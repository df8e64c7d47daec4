"""Clients that scan: the production client, its pages kept as a record.

Links are simulated here; a run of real processes (scripts/chaos) hands in its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Unpack

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.values import Item
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.versions.context_token import told_by
from ringmill.simulator.scan_history import ScannedItem, ScanRecord
from ringmill.simulator.subjects.planned_client import PlannedClient, Standing
from ringmill.simulator.subjects.scans.workload import PlannedScan
from ringmill.simulator.world.world import DEFAULT_KEYSPACE

__all__ = ["ScanSession"]

_AGAIN_S: Final = 0.25


class ScanSession(PlannedClient):
    """One client that scans again and again.  `async with` owns its directory.

    Each page is a scan of its own that goes on with the cursor of the one before it, so whoever made the
    cursor may be gone.
    """

    def __init__(self, name: str, *, patience_s: float, **standing: Unpack[Standing]) -> None:
        super().__init__(name, **standing)
        self._patience_s = patience_s
        self._keyspace = AsyncKeyspace(
            "default", self._router, OperationNames(self._entropy, self._router.directory)
        )

    async def work_off(self, plans: Sequence[PlannedScan], records: list[ScanRecord]) -> None:
        for plan in plans:
            await asyncio.sleep(plan.pause_s)
            await self.scan(plan, records)

    async def scan(
        self, plan: PlannedScan, records: list[ScanRecord], *, is_of_core: bool = False
    ) -> ScanRecord:
        """Page after page to the end, a failed one again; given up when that takes very long."""
        loop = asyncio.get_running_loop()
        record = ScanRecord(self.name, plan.prefix, loop.time(), is_of_core=is_of_core)
        records.append(record)
        prefix, cursor = plan.prefix, ""
        while loop.time() - record.invoked < self._patience_s:
            scanning = self._keyspace.scan(prefix=prefix, cursor=cursor, limit=plan.limit)
            try:
                page = await scanning.page()
            except RingmillError as error:
                record.errors.append(f"{error.code}: {error.message}")
                await asyncio.sleep(_AGAIN_S)
                continue
            record.items += [_shown(key, item) for key, item in page]
            record.returned = loop.time()
            prefix, cursor = b"", scanning.cursor
            if not cursor:
                record.is_complete = True
                break
        return record


def _shown(key: bytes, item: Item) -> ScannedItem:
    seen = told_by(item.context.token, DEFAULT_KEYSPACE, key).vector.entries
    return ScannedItem(
        key,
        dict(zip(item.dots, item.siblings, strict=True)),
        {str(actor): count for actor, count in seen},
    )
