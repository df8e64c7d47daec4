"""Applies a run's list of faults at their times, and takes each away again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ringmill.simulator.faults.fault import Fault, FaultKind
from ringmill.simulator.world.ground import Ground

__all__ = ["inject"]


async def inject(faults: Sequence[Fault], kinds: Mapping[str, FaultKind], ground: Ground) -> None:
    """Apply each fault at its time, relative to now; returns when the last is over."""
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_strike(fault, kinds[fault.kind], ground))


async def _strike(fault: Fault, kind: FaultKind, ground: Ground) -> None:
    await asyncio.sleep(fault.at_s)
    await kind.apply(fault, ground)
    if kind.lasting:
        await asyncio.sleep(fault.lasts_s)
    await kind.undo(fault, ground)
