"""Builds the part of a node that coordinates requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ringmill.cluster.ids import NodeId, Start
from ringmill.node.contracts import LivenessView, TimeKeeper, TopologyChanges, TopologyView
from ringmill.node.core import Core
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.room import Replica
from ringmill.node.replica.routes import Routes
from ringmill.node.requests.background import Background
from ringmill.node.requests.explain.explainer import Explainer
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks
from ringmill.node.requests.for_jobs.job_snapshots import JobSnapshots
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.operations.own_operations import OwnOperations
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.owners.locate import Locator
from ringmill.node.requests.owners.observed import Observer
from ringmill.node.requests.owners.proofs import Proofs
from ringmill.node.requests.owners.read_dispatcher import ReadDispatcher
from ringmill.node.requests.read import Reader
from ringmill.node.requests.registers.coordinator import RegisterCoordinator
from ringmill.node.requests.registers.rounds import Rounds
from ringmill.node.requests.scans.owner_ranges import OwnerRanges
from ringmill.node.requests.scans.scanner import Scanner
from ringmill.node.requests.watches.held_watches import HeldWatches
from ringmill.node.requests.watches.prefix_watches import PrefixWatches
from ringmill.node.requests.watches.watches import Watches
from ringmill.node.requests.write import Writer
from ringmill.node.requests.write_dispatcher import WriteDispatcher

__all__ = ["open_requests"]


@asynccontextmanager
async def open_requests(
    core: Core,
    replica: Replica,
    start: Start,
    *,
    topology: TopologyView,
    liveness: LivenessView,
    timekeeper: TimeKeeper,
    changes: TopologyChanges,
) -> AsyncIterator[Requests]:
    """Open the room.  Leaving it waits for the background work of requests, for a bounded time."""
    async with Background(core.options.requests.drain_s, core.stop_time) as background:
        parts = _Parts(
            core,
            replica,
            topology,
            liveness,
            timekeeper,
            background,
            routes=Routes(core.node, topology),
            owner_calls=OwnerCalls(
                core.node, transport=core.transport, objects=replica.objects, hybrid=core.hybrid
            ),
            operations=OwnOperations(core.hybrid, core.doors.entropy),
            held_watches=HeldWatches(core.options.requests),
        )
        fallbacks = _fallbacks(parts)
        reads = _read_dispatcher(parts, fallbacks)
        writer, reader = _writer(parts, fallbacks, reads), _reader(parts, reads)
        scanner = _scanner(parts)
        registers = _registers(parts, start)
        yield Requests(
            watches=_watches(parts, reader),
            prefix_watches=_prefix_watches(parts),
            held_watches=parts.held_watches,
            writer=writer,
            reader=reader,
            registers=registers,
            locator=Locator(
                routes=parts.routes, topology=topology, owner_calls=parts.owner_calls, liveness=liveness
            ),
            explainer=_explainer(parts, reader, registers),
            scanner=scanner,
            own_keyspaces=_own_keyspaces(parts, scanner, writer, changes),
            hedging=reads.hedging,
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the parts of this room are made of."""

    core: Core
    replica: Replica
    topology: TopologyView
    liveness: LivenessView
    timekeeper: TimeKeeper
    background: Background
    routes: Routes
    owner_calls: OwnerCalls
    operations: OwnOperations
    held_watches: HeldWatches

    @property
    def options(self) -> RequestOptions:
        return self.core.options.requests


def _fallbacks(parts: _Parts) -> Fallbacks:
    return Fallbacks(
        routes=parts.routes,
        liveness=parts.liveness,
        transport=parts.core.transport,
        hybrid=parts.core.hybrid,
        options=parts.options,
    )


def _read_dispatcher(parts: _Parts, fallbacks: Fallbacks) -> ReadDispatcher:
    return ReadDispatcher(
        objects=parts.replica.objects,
        cold_reads=parts.replica.cold_reads,
        owner_calls=parts.owner_calls,
        fallbacks=fallbacks,
        liveness=parts.liveness,
        background=parts.background,
        routes=parts.routes,
        clock=parts.core.clock,
        options=parts.options,
        gate=parts.core.gate,
        heat=parts.core.heat,
    )


def _write_dispatcher(parts: _Parts, fallbacks: Fallbacks) -> WriteDispatcher:
    return WriteDispatcher(
        owner_calls=parts.owner_calls,
        hints=parts.replica.hints,
        fallbacks=fallbacks,
        liveness=parts.liveness,
        background=parts.background,
        options=parts.options,
        heat=parts.core.heat,
        seal=parts.core.seal,
        tracer=parts.core.doors.tracer,
    )


def _forwarder(parts: _Parts) -> Forwarder:
    return Forwarder(
        transport=parts.core.transport,
        liveness=parts.liveness,
        proofs=Proofs(timekeeper=parts.timekeeper, background=parts.background, options=parts.options),
        background=parts.background,
        clock=parts.core.clock,
    )


def _writer(parts: _Parts, fallbacks: Fallbacks, reads: ReadDispatcher) -> Writer:
    """It answers what others forward to this node, too."""
    core, forwarder = parts.core, _forwarder(parts)
    observer = Observer(dispatcher=reads, owner_calls=parts.owner_calls)
    writer = Writer(
        routes=parts.routes,
        objects=parts.replica.objects,
        dispatcher=_write_dispatcher(parts, fallbacks),
        forwarder=forwarder,
        attempts=WriteRetries(observer=observer, hybrid=core.hybrid, operations=parts.operations),
        observer=observer,
        hybrid=core.hybrid,
        timekeeper=parts.timekeeper,
        clock=core.clock,
        seal=core.seal,
    )
    core.serve(forwarder.handlers(writer.write))
    return writer


def _reader(parts: _Parts, reads: ReadDispatcher) -> Reader:
    return Reader(
        routes=parts.routes,
        dispatcher=reads,
        owner_calls=parts.owner_calls,
        background=parts.background,
        hybrid=parts.core.hybrid,
        timekeeper=parts.timekeeper,
        clock=parts.core.clock,
        options=parts.options,
        heat=parts.core.heat,
        seal=parts.core.seal,
    )


def _prefix_watches(parts: _Parts) -> PrefixWatches:
    return PrefixWatches(
        routes=parts.routes,
        transport=parts.core.transport,
        held=parts.held_watches,
        clock=parts.core.clock,
        options=parts.options,
    )


def _watches(parts: _Parts, reader: Reader) -> Watches:
    return Watches(
        routes=parts.routes,
        reader=reader,
        waiters=parts.replica.objects.waiters,
        held=parts.held_watches,
        clock=parts.core.clock,
        options=parts.options,
        seal=parts.core.seal,
    )


def _explainer(parts: _Parts, reader: Reader, registers: RegisterCoordinator) -> Explainer:
    return Explainer(
        routes=parts.routes,
        topology=parts.topology,
        reader=reader,
        registers=registers,
        hints=parts.replica.hints,
        liveness=parts.liveness,
        clock=parts.core.clock,
    )


def _own_keyspaces(parts: _Parts, scanner: Scanner, writer: Writer, changes: TopologyChanges) -> OwnKeyspaces:
    core = parts.core
    snapshots = JobSnapshots(
        transport=core.transport,
        topology=parts.topology,
        liveness=parts.liveness,
        hybrid=core.hybrid,
        timekeeper=parts.timekeeper,
    )
    return OwnKeyspaces(
        routes=parts.routes,
        scanner=scanner,
        writer=writer,
        hybrid=core.hybrid,
        clock=core.clock,
        changes=changes,
        snapshots=snapshots,
    )


def _scanner(parts: _Parts) -> Scanner:
    core, objects = parts.core, parts.replica.objects
    return Scanner(
        routes=parts.routes,
        topology=parts.topology,
        ranges=OwnerRanges(core.node, transport=core.transport, objects=objects, liveness=parts.liveness),
        hybrid=core.hybrid,
        timekeeper=parts.timekeeper,
        clock=core.clock,
        seal=core.seal,
    )


def _registers(parts: _Parts, start: Start) -> RegisterCoordinator:
    core, options, liveness = parts.core, parts.options, parts.liveness

    def may_be_back(node: NodeId) -> bool:
        return node != core.node and liveness.is_up(node)

    rounds = Rounds(
        transport=core.transport,
        background=parts.background,
        stall_s=options.stall_s,
        may_be_back=may_be_back,
    )
    return RegisterCoordinator(
        core.node,
        start,
        routes=parts.routes,
        rounds=rounds,
        timekeeper=parts.timekeeper,
        operations=parts.operations,
        hybrid=core.hybrid,
        clock=core.clock,
        entropy=core.doors.entropy,
        kept_operations=options.kept_operations,
        forgotten=parts.replica.forgotten,
    )
