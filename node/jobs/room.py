"""Builds the part of a node that coordinates jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ringmill.cluster.overload.ladder import Rung
from ringmill.node.contracts import (
    BundleSource,
    KeyspaceAccess,
    LivenessView,
    RegisterAccess,
    TopologyView,
)
from ringmill.node.core import Core
from ringmill.node.jobs.job_coordinator import JobCoordinator

__all__ = ["open_jobs"]


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
        entropy=core.doors.entropy,
        files=core.doors.files,
        spawner=core.doors.spawner,
        transport=core.transport,
        options=core.options.coordinator,
        is_busy=lambda: core.gate.step >= Rung.TASKS,
        tracer=core.doors.tracer,
    )
    async with jobs:
        core.serve(jobs.handlers())
        yield jobs
