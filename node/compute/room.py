"""Builds the worker of a node: bundles of code, and task processes that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringmill.cluster.ids import Start
from ringmill.cluster.overload.ladder import Rung
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.worker import Worker
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.core import Core

__all__ = ["Compute", "open_compute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    bundles: BundleStore
    worker: Worker


@asynccontextmanager
async def open_compute(core: Core, start: Start, keyspaces: KeyspaceAccess) -> AsyncIterator[Compute]:
    """Leaving ends every attempt."""
    bundles = BundleStore(
        core.folder("bundles"), files=core.doors.files, transport=core.transport, clock=core.clock
    )
    bundles.remove_halves()
    worker = Worker(
        core.node,
        start=f"{start.number}.{start.boot}",
        folder=core.folder("scratch"),
        slots=core.config.slots,
        bundles=bundles,
        clock=core.clock,
        files=core.doors.files.apart(),  # outputs may lie on a file system that hangs
        spawner=core.doors.spawner,
        transport=core.transport,
        keyspaces=keyspaces,
        options=core.options.worker,
        is_busy=lambda: core.gate.step >= Rung.TASKS,
        tracer=core.doors.tracer,
        stop_time=core.stop_time,
    )
    async with worker:
        core.serve(worker.handlers())
        yield Compute(bundles=bundles, worker=worker)
