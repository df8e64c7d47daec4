"""One node, put together out of its parts and the five doors: what runs in production and in the simulator.

Order matters here and nowhere else: the folder's lock before the identity's start number.  No adapter is
named here, no port is bound and no signal is taken: node/lifecycle.py does that for a real process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from ringmill.cluster.errors import DiskFull, Overloaded, Unavailable
from ringmill.cluster.ids import ClusterId
from ringmill.cluster.membership.profile import profile_named
from ringmill.cluster.membership.starts import Announcement, FoundLogs, LogMark
from ringmill.cluster.ports import Clock, Entropy, FileSystem, Spawner, Transport
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.calls_to_self import CallsToSelf
from ringmill.node.compute.worker import Worker, WorkerOptions
from ringmill.node.config import NodeConfig
from ringmill.node.coordinator.jobs import JobCoordinator
from ringmill.node.identity.identity import FolderRefused, Identity, check_store
from ringmill.node.membership.clock_watch import ClockWatch
from ringmill.node.membership.liveness import Liveness
from ringmill.node.membership.starts import Starts
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.repair.catch_up import CatchUp
from ringmill.node.repair.healing import Healing
from ringmill.node.repair.hint_delivery import HintDelivery
from ringmill.node.repair.scrubbing import scrub_now_and_then
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.control_copy import ControlCopy
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.objects import ObjectStore
from ringmill.node.replica.pages import PageServing
from ringmill.node.replica.routes import Router
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.requests.attempts import Attempts
from ringmill.node.requests.background import Background
from ringmill.node.requests.collect import Collector
from ringmill.node.requests.equalize import Equalizer
from ringmill.node.requests.forward import FORWARD, Forwarder
from ringmill.node.requests.locate import Locator
from ringmill.node.requests.read import Reader
from ringmill.node.requests.replicas import Replicas
from ringmill.node.requests.write import Writer
from ringmill.node.services.kv import KvService
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.options import Options
from ringmill.node.storage.recovery.found_logs import found_logs

__all__ = ["Doors", "Node", "running_node"]

_log = logging.getLogger(__name__)

STOPPED: Final = "stopped"  # control state: the number of the last start that stopped in order


@dataclass(frozen=True, slots=True)
class Doors:
    """The world as one node sees it.  The transport is entered and left by whoever made it."""

    clock: Clock
    entropy: Entropy
    files: FileSystem
    spawner: Spawner
    transport: Transport


@dataclass(frozen=True, slots=True)
class Node:
    """The parts of a running node that others look at."""

    config: NodeConfig
    doors: Doors
    engine: Engine
    identity: Identity
    topology: TopologyAgent
    starts: Starts
    liveness: Liveness
    watch: ClockWatch
    objects: ObjectStore
    hints: HintStore
    healing: Healing
    catch_up: CatchUp
    kv: KvService
    bundles: BundleStore
    jobs: JobCoordinator

    @property
    def cluster(self) -> ClusterId | None:
        """The cluster this node belongs to, once it belongs to one."""
        return self.topology.current.cluster if self.topology.current else None


@asynccontextmanager
async def running_node(config: NodeConfig, doors: Doors, storage: Options) -> AsyncIterator[Node]:
    """Open the data folder, start every loop, and at the end stop cleanly.

    Raises BlockingIOError when another process has the folder, InvalidArgument when it is another node's,
    FolderRefused when it is not the one that the cluster counts on, CorruptData, OSError.
    """
    store, files = f"{config.data}/store", doors.files
    check_store(files, config.data)
    found = _found(files, store)
    try:
        async with await Engine.open(store, storage, files=files, spawner=doors.spawner) as engine:
            identity = await Identity.open(config.data, config.id, files=files, entropy=doors.entropy)
            control = await ControlStore.open(engine, ControlCopy(config.data, files))
            async with _serving(config, doors, engine, identity, control, found) as node:
                yield node
            if node.catch_up.is_done and node.hints.is_whole:
                await _note_clean_stop(control, identity.start.number)
        if engine.sequence == engine.synced_sequence:
            await _note_left(identity)
    except BaseExceptionGroup as group:  # raised by a loop; the caller reads one error
        if refused := group.subgroup(FolderRefused):
            raise _first(refused) from None
        raise


def _found(files: FileSystem, store: str) -> FoundLogs:
    highest, logs = found_logs(files, store)
    return FoundLogs(highest, tuple(LogMark(*log) for log in logs))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _note_left(identity: Identity) -> None:
    """The last act of a stop, behind the closed engine."""
    try:
        await identity.note_clean_stop()
    except OSError as error:
        _log.warning("what this stop has left is not noted: %s", error)


async def _note_clean_stop(control: ControlStore, start: int) -> None:
    """Nothing of this start is left undone: the next one need not compare what it holds."""
    try:
        await control.put_synced(STOPPED, str(start).encode())
    except (DiskFull, Overloaded, Unavailable) as error:
        _log.warning("this stop is not noted as clean: %s", error)


def _was_clean(control: ControlStore, start: int) -> bool:
    return start == 1 or control.get(STOPPED) == str(start - 1).encode()


@asynccontextmanager
async def _serving(
    config: NodeConfig,
    doors: Doors,
    engine: Engine,
    identity: Identity,
    control: ControlStore,
    found: FoundLogs,
) -> AsyncIterator[Node]:
    transport = doors.transport
    hybrid = HybridClock(doors.clock)
    objects = ObjectStore(engine, CopyActors(config.id, identity.start), hybrid)
    hints = await HintStore.open(engine)
    agent = TopologyAgent(
        config.id, identity.disk, store=control, transport=transport, awaits_confirmation=True
    )
    starts = _starts(identity, found, agent, control, transport, engine, objects)
    liveness = _liveness(config, doors, identity, agent)
    delivery = HintDelivery(
        config.id, hints, view=agent, liveness=liveness, transport=transport, clock=doors.clock
    )
    PageServing(Router(config.id, agent), engine, objects).serve(transport)
    watch = ClockWatch(config.id, hybrid, view=agent, transport=transport, clock=doors.clock)
    async with Background() as background:
        kv, equalizer = _requests(config, doors, objects, hints, hybrid, watch, agent, liveness, background)
        catch_up = CatchUp(
            config.id,
            engine=engine,
            topology=agent,
            liveness=liveness,
            transport=transport,
            equalize=equalizer.equalize,
        )
        if not _was_clean(control, identity.start.number):
            catch_up.want()
        healing = Healing(
            config.id,
            engine=engine,
            objects=objects,
            control=control,
            topology=agent,
            transport=transport,
            on_lost_hints=catch_up.want,
        )
        for method, handler in kv.handlers().items():
            transport.serve(method, handler)
        await agent.start()
        async with (
            _compute(config, doors, identity, agent, liveness) as (bundles, jobs),
            _loops(
                agent.run(),
                starts.run(),
                liveness.run(),
                watch.run(),
                delivery.run(),
                healing.run(),
                catch_up.run(),
                scrub_now_and_then(engine, config.scrub_every_s),
                objects.keep_counted(),
            ),
        ):
            yield Node(
                config, doors, engine, identity, agent, starts, liveness, watch, objects, hints, healing,
                catch_up, kv, bundles, jobs,
            )  # fmt: skip


def _liveness(config: NodeConfig, doors: Doors, identity: Identity, agent: TopologyAgent) -> Liveness:
    """Who seems alive, and what the others are told of this node."""
    return Liveness(
        config.id,
        identity.disk,
        identity.start,
        profile_named(config.profile),
        topology=agent,
        transport=doors.transport,
        clock=doors.clock,
        entropy=doors.entropy,
    )


def _starts(
    identity: Identity,
    found: FoundLogs,
    agent: TopologyAgent,
    control: ControlStore,
    transport: Transport,
    engine: Engine,
    objects: ObjectStore,
) -> Starts:
    """What tells the other members of this start, and remembers theirs."""
    return Starts(
        Announcement(identity.node, identity.disk, identity.start, identity.earlier, found),
        topology=agent,
        store=control,
        transport=transport,
        mark=lambda: LogMark(*engine.synced_log),
        changes=lambda: objects.changes,
        refuse=identity.refuse,
    )


def _requests(
    config: NodeConfig,
    doors: Doors,
    objects: ObjectStore,
    hints: HintStore,
    hybrid: HybridClock,
    watch: ClockWatch,
    agent: TopologyAgent,
    liveness: Liveness,
    background: Background,
) -> tuple[KvService, Equalizer]:
    """The coordinating half of the node, and the replica's answers to other coordinators."""
    clock, transport = doors.clock, doors.transport
    router = Router(config.id, agent)
    replicas = Replicas(config.id, transport, objects, hybrid)
    collector = Collector(replicas, liveness, background)
    forwarder = Forwarder(transport, liveness, clock)
    writer = Writer(
        router=router,
        objects=objects,
        replicas=replicas,
        hints=hints,
        liveness=liveness,
        forwarder=forwarder,
        attempts=Attempts(collector, replicas, hybrid, doors.entropy),
        background=background,
        hybrid=hybrid,
        timekeeper=watch,
        clock=clock,
    )
    reader = Reader(
        router=router,
        collector=collector,
        replicas=replicas,
        background=background,
        hybrid=hybrid,
        timekeeper=watch,
        clock=clock,
    )
    locator = Locator(router=router, view=agent, replicas=replicas, liveness=liveness)
    ReplicaServing(router, objects, hybrid).serve(transport)
    transport.serve(FORWARD, forwarder.handler(writer.write))
    kv = KvService(writer=writer, reader=reader, locator=locator, clock=clock)
    return kv, Equalizer(router, collector, replicas, clock)


@asynccontextmanager
async def _compute(
    config: NodeConfig, doors: Doors, identity: Identity, agent: TopologyAgent, liveness: Liveness
) -> AsyncIterator[tuple[BundleStore, JobCoordinator]]:
    """The worker of the node, and its job coordinator: jobs at work elsewhere and jobs kept here."""
    calls = CallsToSelf(config.id, doors.transport, doors.clock)
    bundles = BundleStore(f"{config.data}/bundles", files=doors.files, transport=calls)
    worker = Worker(
        config.id,
        f"{identity.start.number}.{identity.start.boot}",
        f"{config.data}/scratch",
        bundles=bundles,
        clock=doors.clock,
        files=doors.files,
        spawner=doors.spawner,
        transport=calls,
        options=WorkerOptions(slots=config.slots),
    )
    jobs = JobCoordinator(
        config.id,
        members=lambda: [member.id for member in agent.current.members] if agent.current else [],
        is_up=liveness.is_up,
        bundles=bundles,
        clock=doors.clock,
        files=doors.files,
        spawner=doors.spawner,
        transport=calls,
    )
    liveness.on_change(lambda node, state: jobs.wake())
    async with worker, jobs:
        for part in (worker, jobs):
            for method, handler in part.handlers().items():
                calls.serve(method, handler)
        yield bundles, jobs


@asynccontextmanager
async def _loops(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What runs for as long as the node does.  One that fails ends the node."""
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(work) for work in works]
        yield
        for loop in loops:
            loop.cancel()
