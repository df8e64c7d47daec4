"""Builds the part of a node that coordinates jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ringmill.cluster.overload.ladder import Rung
from ringmill.node.contracts import (
    BundleShelf,
    BundleSource,
    KeyspaceAccess,
    LivenessView,
    RegisterAccess,
    TopologyView,
)
from ringmill.node.core import Core
from ringmill.node.jobs.bundle_bounds import keep_bundles_bounded
from ringmill.node.jobs.job_coordinator import JobCoordinator
from ringmill.node.jobs.job_history import JobHistory
from ringmill.node.jobs.journal.cells import Cells

__all__ = ["bundle_loops", "open_jobs"]


@asynccontextmanager
async def open_jobs(
    core: Core,
    bundles: BundleSource,
    registers: RegisterAccess,
    keyspaces: KeyspaceAccess,
    *,
    topology: TopologyView,
    liveness: LivenessView,
) -> AsyncIterator[JobCoordinator]:
    """Open the room.  Leaving it leaves every job that this node coordinates to another one."""
    jobs = JobCoordinator(
        core.node,
        topology=topology,
        liveness=liveness,
        registers=registers,
        keyspaces=keyspaces,
        bundles=bundles,
        clock=core.clock,
        wall=core.hybrid.shared_s,
        entropy=core.doors.entropy,
        files=core.doors.files.apart(),  # outputs may lie on a file system that hangs
        spawner=core.doors.spawner,
        transport=core.transport,
        options=core.options.coordinator,
        is_busy=lambda: core.gate.step >= Rung.TASKS,
        tracer=core.doors.tracer,
        stop_time=core.stop_time,
    )
    async with jobs:
        core.serve(jobs.handlers())
        yield jobs


def bundle_loops(
    core: Core, shelf: BundleShelf, registers: RegisterAccess
) -> Sequence[Coroutine[Any, Any, None]]:
    """What runs as long as the node, so that its disk does not fill with code of jobs that are over."""
    if core.options.bundles.every_s <= 0:
        return ()
    history = JobHistory(Cells(registers), core.hybrid.shared_s)
    return (keep_bundles_bounded(shelf, history, core.options.bundles),)
