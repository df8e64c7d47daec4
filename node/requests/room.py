"""Builds the part of a node that coordinates requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ringmill.cluster.ids import Start
from ringmill.node.contracts import LivenessView, TimeKeeper, TopologyChanges, TopologyView
from ringmill.node.core import Core
from ringmill.node.replica.room import Replica
from ringmill.node.replica.routes import Routes
from ringmill.node.requests.background import Background
from ringmill.node.requests.explain.explainer import Explainer
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks
from ringmill.node.requests.flights import Flights
from ringmill.node.requests.for_jobs.job_snapshots import JobSnapshots
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.operations.own_operations import OwnOperations
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.owners.collect import Collector
from ringmill.node.requests.owners.locate import Locator
from ringmill.node.requests.owners.observed import Observer
from ringmill.node.requests.owners.proofs import Proofs
from ringmill.node.requests.read import Reader
from ringmill.node.requests.registers.coordinator import RegisterCoordinator
from ringmill.node.requests.registers.rounds import Rounds
from ringmill.node.requests.scans.owner_ranges import OwnerRanges
from ringmill.node.requests.scans.scanner import Scanner
from ringmill.node.requests.watches.held_watches import HeldWatches
from ringmill.node.requests.watches.prefix_watches import PrefixWatches
from ringmill.node.requests.watches.watches import Watches
from ringmill.node.requests.write import Writer

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
    options = core.options.requests
    async with Background(options.drain_s, core.stop_time) as background:
        routes = Routes(core.node, topology)
        owner_calls = OwnerCalls(
            core.node, transport=core.transport, objects=replica.objects, hybrid=core.hybrid
        )
        fallbacks = Fallbacks(
            routes=routes, liveness=liveness, transport=core.transport, hybrid=core.hybrid, options=options
        )
        collector = _collector(core, replica, owner_calls, fallbacks, liveness, background, routes)
        flights = _flights(core, replica, owner_calls, fallbacks, liveness, background)
        forwarder = _forwarder(core, liveness, timekeeper, background)
        operations = OwnOperations(core.hybrid, core.doors.entropy)
        observer = Observer(collector=collector, owner_calls=owner_calls)
        attempts = WriteRetries(observer=observer, hybrid=core.hybrid, operations=operations)
        writer = Writer(
            routes=routes,
            objects=replica.objects,
            flights=flights,
            forwarder=forwarder,
            attempts=attempts,
            observer=observer,
            hybrid=core.hybrid,
            timekeeper=timekeeper,
            clock=core.clock,
            seal=core.seal,
        )
        reader = Reader(
            routes=routes,
            collector=collector,
            owner_calls=owner_calls,
            background=background,
            hybrid=core.hybrid,
            timekeeper=timekeeper,
            clock=core.clock,
            options=options,
            heat=core.heat,
            seal=core.seal,
        )
        core.serve(forwarder.handlers(writer.write))
        held = HeldWatches(options)
        scanner = _scanner(core, replica, routes, topology, liveness, timekeeper)
        snapshots = JobSnapshots(
            transport=core.transport,
            topology=topology,
            liveness=liveness,
            hybrid=core.hybrid,
            timekeeper=timekeeper,
        )
        yield Requests(
            watches=_watches(core, replica, routes, reader, held),
            prefix_watches=_prefix_watches(core, routes, held),
            held_watches=held,
            writer=writer,
            reader=reader,
            registers=_registers(core, replica, start, routes, background, timekeeper, operations),
            locator=Locator(routes=routes, topology=topology, owner_calls=owner_calls, liveness=liveness),
            explainer=_explainer(core, replica, routes, reader, topology, liveness),
            scanner=scanner,
            own_keyspaces=_own_keyspaces(core, routes, scanner, writer, changes, snapshots),
        )


def _collector(
    core: Core,
    replica: Replica,
    owner_calls: OwnerCalls,
    fallbacks: Fallbacks,
    liveness: LivenessView,
    background: Background,
    routes: Routes,
) -> Collector:
    return Collector(
        objects=replica.objects,
        cold_reads=replica.cold_reads,
        owner_calls=owner_calls,
        fallbacks=fallbacks,
        liveness=liveness,
        background=background,
        routes=routes,
        clock=core.clock,
        options=core.options.requests,
        gate=core.gate,
        heat=core.heat,
    )


def _flights(
    core: Core,
    replica: Replica,
    owner_calls: OwnerCalls,
    fallbacks: Fallbacks,
    liveness: LivenessView,
    background: Background,
) -> Flights:
    return Flights(
        owner_calls=owner_calls,
        hints=replica.hints,
        fallbacks=fallbacks,
        liveness=liveness,
        background=background,
        options=core.options.requests,
        heat=core.heat,
        seal=core.seal,
        tracer=core.doors.tracer,
    )


def _forwarder(
    core: Core, liveness: LivenessView, timekeeper: TimeKeeper, background: Background
) -> Forwarder:
    proofs = Proofs(timekeeper=timekeeper, background=background, options=core.options.requests)
    return Forwarder(
        transport=core.transport,
        liveness=liveness,
        proofs=proofs,
        background=background,
        clock=core.clock,
    )


def _prefix_watches(core: Core, routes: Routes, held: HeldWatches) -> PrefixWatches:
    return PrefixWatches(
        routes=routes, transport=core.transport, held=held, clock=core.clock, options=core.options.requests
    )


def _watches(core: Core, replica: Replica, routes: Routes, reader: Reader, held: HeldWatches) -> Watches:
    return Watches(
        routes=routes,
        reader=reader,
        waiters=replica.objects.waiters,
        held=held,
        clock=core.clock,
        options=core.options.requests,
        seal=core.seal,
    )


def _explainer(
    core: Core,
    replica: Replica,
    routes: Routes,
    reader: Reader,
    topology: TopologyView,
    liveness: LivenessView,
) -> Explainer:
    return Explainer(
        routes=routes,
        topology=topology,
        reader=reader,
        hints=replica.hints,
        liveness=liveness,
        clock=core.clock,
    )


def _own_keyspaces(
    core: Core,
    routes: Routes,
    scanner: Scanner,
    writer: Writer,
    changes: TopologyChanges,
    snapshots: JobSnapshots,
) -> OwnKeyspaces:
    return OwnKeyspaces(
        routes=routes,
        scanner=scanner,
        writer=writer,
        hybrid=core.hybrid,
        clock=core.clock,
        changes=changes,
        snapshots=snapshots,
    )


def _scanner(
    core: Core,
    replica: Replica,
    routes: Routes,
    topology: TopologyView,
    liveness: LivenessView,
    timekeeper: TimeKeeper,
) -> Scanner:
    return Scanner(
        routes=routes,
        topology=topology,
        ranges=OwnerRanges(core.node, transport=core.transport, objects=replica.objects, liveness=liveness),
        hybrid=core.hybrid,
        timekeeper=timekeeper,
        clock=core.clock,
        seal=core.seal,
    )


def _registers(
    core: Core,
    replica: Replica,
    start: Start,
    routes: Routes,
    background: Background,
    timekeeper: TimeKeeper,
    operations: OwnOperations,
) -> RegisterCoordinator:
    options = core.options.requests
    return RegisterCoordinator(
        core.node,
        start,
        routes=routes,
        rounds=Rounds(transport=core.transport, background=background, stall_s=options.stall_s),
        timekeeper=timekeeper,
        operations=operations,
        hybrid=core.hybrid,
        clock=core.clock,
        entropy=core.doors.entropy,
        kept_operations=options.kept_operations,
        forgotten=replica.forgotten,
    )
