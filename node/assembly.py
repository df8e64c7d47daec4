"""Assembles one node from its rooms and the five doors, for production and for the simulator.

The order of steps matters here: the folder is locked before the identity raises its start number.  This file
names no adapter, binds no port and handles no signal: node/lifecycle.py does that for a real process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ringmill.cluster.gathering import first_error
from ringmill.cluster.ids import ClusterId
from ringmill.cluster.ring.topology import Owner
from ringmill.node.backups.room import Backups, open_backups
from ringmill.node.compute.room import Compute, open_compute
from ringmill.node.config import NodeConfig
from ringmill.node.contracts import TopologyView
from ringmill.node.core import Core, Doors
from ringmill.node.identity.identity import FolderRefused, Identity
from ringmill.node.identity.room import Storage, open_storage
from ringmill.node.jobs.job_coordinator import JobCoordinator
from ringmill.node.jobs.room import bundle_loops, open_jobs
from ringmill.node.membership.room import Membership, open_membership
from ringmill.node.moves.owed_copies import Owing
from ringmill.node.moves.room import Moves, open_moves
from ringmill.node.node_options import NodeOptions
from ringmill.node.repair.room import Repair, open_repair
from ringmill.node.replica.room import Replica, open_replica, serve_replica
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.room import open_requests
from ringmill.node.services.access.access_control import AccessControl
from ringmill.node.services.kv_service import KvService, open_kv
from ringmill.node.services.registers_service import RegistersService, open_registers

__all__ = ["Node", "running_node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The rooms of a running node that its services use."""

    core: Core
    identity: Identity
    replica: Replica
    membership: Membership
    requests: Requests
    repair: Repair
    moves: Moves
    backups: Backups
    kv: KvService
    registers: RegistersService
    compute: Compute
    jobs: JobCoordinator
    access: AccessControl

    @property
    def cluster(self) -> ClusterId | None:
        """The id of this node's cluster; None before it belongs to one."""
        topology = self.membership.topology.current
        return topology.cluster if topology is not None else None


@asynccontextmanager
async def running_node(config: NodeConfig, doors: Doors, options: NodeOptions) -> AsyncIterator[Node]:
    """Open the data folder, start every loop, and at the end stop cleanly.

    Raises BlockingIOError when another process uses the folder; InvalidArgument when it belongs to another
    node; FolderRefused when it is an old copy, or its store is lost; CorruptData; OSError.
    """
    core = Core.of(config, doors, options)
    try:
        async with open_storage(core) as storage:
            async with _running(core, storage) as node:
                yield node
            if node.moves.mover.owes_nothing:
                await node.repair.note_stop()
    except BaseExceptionGroup as group:  # raised by a loop; the caller reads one error
        if refused := group.subgroup(FolderRefused):
            raise first_error(refused) from None
        raise


@asynccontextmanager
async def _running(core: Core, storage: Storage) -> AsyncIterator[Node]:
    identity = storage.identity
    replica = await open_replica(core, storage)
    membership = open_membership(core, storage, replica)
    topology, liveness, watch = membership.topology, membership.liveness, membership.watch
    async with open_requests(
        core,
        replica,
        identity.start,
        topology=topology,
        liveness=liveness,
        timekeeper=watch,
        changes=membership.epochs,
    ) as requests:
        repair = open_repair(
            core,
            replica,
            identity.start,
            topology=topology,
            liveness=liveness,
            finish_register=requests.finish_register,
            own_registers=requests.own_registers(),
        )
        moves = open_moves(
            core,
            replica,
            Owner(core.node, identity.disk),
            topology=topology,
            liveness=liveness,
            change=membership.epochs.change,
            finish_register=requests.finish_register,
            pull=repair.exchange.pull,
            owing=Owing(repair.anti_entropy.owes, not repair.anti_entropy.is_done, repair.exchange.push),
        )
        topology.on_change(replica.take)
        topology.on_change(moves.take)
        serve_replica(core, replica, topology, identity.start, moves.owed_copies.may_owe)
        kv, registers = open_kv(core, requests), open_registers(core, requests)
        await topology.start()
        async with (
            open_compute(core, identity.start, requests.own_keyspaces(), topology) as compute,
            open_jobs(
                core,
                compute.bundles,
                requests.own_registers(),
                requests.own_keyspaces(),
                topology=topology,
                liveness=liveness,
            ) as jobs,
            _loops(
                *_loops_of(membership, repair, moves, replica),
                *bundle_loops(core, compute.bundles, requests.own_registers()),
            ),
        ):
            moves.mover.is_needed = lambda: compute.worker.is_needed
            yield Node(
                core=core,
                identity=identity,
                replica=replica,
                membership=membership,
                requests=requests,
                repair=repair,
                moves=moves,
                backups=open_backups(core, replica, identity.start, topology, moves.owed_copies),
                kv=kv,
                registers=registers,
                compute=compute,
                jobs=jobs,
                access=_access(core, topology),
            )


def _access(core: Core, topology: TopologyView) -> AccessControl:
    return AccessControl(
        core.node,
        core.clock,
        lambda: topology.current,
        has_token=bool(core.config.token),
        asks_all=core.config.tls is not None and bool(core.config.token),
        shared_s=core.hybrid.shared_s,
    )


def _loops_of(*rooms: Membership | Repair | Moves | Replica) -> list[Coroutine[Any, Any, None]]:
    return [loop for room in rooms for loop in room.loops()]


@asynccontextmanager
async def _loops(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The loops that run as long as the node.  If one fails, the node ends."""
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(work) for work in works]
        yield
        for loop in loops:
            loop.cancel()
