"""Builds the worker of a node: bundles of code, and task processes that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringmill.cluster.ids import Start
from ringmill.cluster.overload.ladder import Rung
from ringmill.cluster.overload.node_memory import NodeMemory, nothing_told
from ringmill.cluster.ring.moves import is_to_leave
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.worker import Worker
from ringmill.node.contracts import KeyspaceAccess, TopologyView
from ringmill.node.core import Core

__all__ = ["Compute", "open_compute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    bundles: BundleStore
    worker: Worker
    memory: NodeMemory

    @property
    def complaint(self) -> str:
        """Why tasks that could begin here do not, a sentence without the node's name; "" for nothing."""
        return f"begins no tasks: {why}" if (why := self.memory.reason) else ""


@asynccontextmanager
async def open_compute(
    core: Core, start: Start, keyspaces: KeyspaceAccess, topology: TopologyView
) -> AsyncIterator[Compute]:
    """Leaving ends every attempt.  A node that is to leave the cluster begins none (rule J33), nor does one
    that is short of memory (rule J34)."""
    node = core.node
    bundles = BundleStore(
        core.folder("bundles"), files=core.doors.files, transport=core.transport, clock=core.clock
    )
    bundles.remove_halves()
    memory = NodeMemory(core.doors.memory_left if core.config.slots else nothing_told, core.clock)
    worker = Worker(
        node,
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
        memory=memory,
        is_leaving=lambda: topology.current is not None and is_to_leave(topology.current, node),
        tracer=core.doors.tracer,
        stop_time=core.stop_time,
    )
    async with worker:
        core.serve(worker.handlers())
        yield Compute(bundles=bundles, worker=worker, memory=memory)
