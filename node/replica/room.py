"""Builds the replica of a node: its control state, its copies of objects and registers, its hints
for other owners."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ringmill.cluster.ids import PartitionId, Start
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.dots import BOOT_DIGITS
from ringmill.node.contracts import TopologyView
from ringmill.node.core import Core
from ringmill.node.identity.room import Storage
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.comparing.comparisons import Comparisons
from ringmill.node.replica.comparing.exchange_serving import ExchangeServing
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.control_copy import ControlCopy
from ringmill.node.replica.fallbacks.fallback_serving import FallbackServing
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import PageServing
from ringmill.node.replica.purging.gone_keyspaces import GoneKeyspaces
from ringmill.node.replica.purging.purge_serving import PurgeServing
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.reads.cold_reads import ColdReads
from ringmill.node.replica.registers.forgotten_serving import ForgottenServing
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_serving import RegisterServing
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.registers.removal_serving import RemovalServing
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.replica.snapshots.held_snapshots import HeldSnapshots
from ringmill.node.replica.snapshots.snapshot_serving import SnapshotServing
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.replica.watching.feed_serving import FeedServing
from ringmill.node.storage.engine import Engine

__all__ = ["Replica", "open_replica", "serve_replica"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    engine: Engine
    control: ControlStore
    objects: ObjectStore
    cold_reads: ColdReads
    hints: HintStore
    registers: RegisterStore
    remains: RemainsStore
    forgotten: ForgottenStore
    comparisons: Comparisons
    watermarks: Watermarks

    def take(self, topology: Topology) -> None:
        """A document is held from now on."""
        self.objects.gone.take(topology)

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The loops that run as long as the node."""
        return [self.objects.keep_counted()]


async def open_replica(core: Core, storage: Storage) -> Replica:
    """Read what is kept in memory of the engine's content.  Raises CorruptData."""
    engine, start = storage.engine, storage.identity.start
    control = await ControlStore.open(engine, ControlCopy(core.config.data, core.doors.files))
    watermarks, gone = Watermarks(control, core.clock), GoneKeyspaces(core.node)
    objects = ObjectStore(
        engine,
        actors=CopyActors(core.node, start),
        clock=core.hybrid,
        options=core.options.replica,
        feed=ChangeFeed(start.boot[:BOOT_DIGITS], core.clock, most_keys=core.options.replica.feed_keys),
        watermarks=watermarks,
        gone=gone,
    )
    return Replica(
        engine=engine,
        control=control,
        objects=objects,
        cold_reads=ColdReads(objects),
        hints=await HintStore.open(engine, core.options.hints, core.clock, gone),
        registers=RegisterStore(engine, control),
        remains=RemainsStore(control),
        forgotten=ForgottenStore(control),
        comparisons=Comparisons(core.node, core.clock),
        watermarks=watermarks,
    )


def serve_replica(
    core: Core,
    replica: Replica,
    topology: TopologyView,
    start: Start,
    may_owe: Callable[[PartitionId], bool],
) -> None:
    """Answer peers that apply, read, deliver and compare objects.

    `may_owe`: whether a former copy of a partition may hold what its owners lack (rule M6).
    """
    routes = Routes(core.node, topology)
    serving = ReplicaServing(
        routes=routes,
        objects=replica.objects,
        cold_reads=replica.cold_reads,
        watermarks=replica.watermarks,
        clock=core.clock,
        hybrid=core.hybrid,
        options=core.options.replica,
        heat=core.heat,
    )
    pages = PageServing(
        routes=routes,
        engine=replica.engine,
        objects=replica.objects,
        most_items=core.options.replica.page_items,
    )
    exchange = ExchangeServing(
        routes=routes, engine=replica.engine, objects=replica.objects, comparisons=replica.comparisons
    )
    core.serve_batches(serving.batch_handlers())
    registers = RegisterServing(
        routes=routes,
        registers=replica.registers,
        remains=replica.remains,
        forgotten=replica.forgotten,
        engine=replica.engine,
        clock=core.clock,
    )
    held = HeldSnapshots(core.node, engine=replica.engine, topology=topology)
    snapshots = SnapshotServing(held=held, pages=pages)
    core.serve({**serving.handlers(), **pages.handlers(), **registers.handlers(), **snapshots.handlers()})
    core.serve(ForgottenServing(replica.forgotten).handlers())
    core.serve(exchange.handlers())
    core.serve(FeedServing(replica.objects.feed, core.clock).handlers())
    fallbacks = FallbackServing(routes=routes, hints=replica.hints, hybrid=core.hybrid)
    core.serve(fallbacks.handlers())
    purging = PurgeServing(
        start,
        routes=routes,
        engine=replica.engine,
        objects=replica.objects,
        hints=replica.hints,
        watermarks=replica.watermarks,
        hybrid=core.hybrid,
        after_s=core.options.purge.after_s,
        may_owe=may_owe,
    )
    core.serve(purging.handlers())
    removal = RemovalServing(
        routes=routes,
        registers=replica.registers,
        remains=replica.remains,
        engine=replica.engine,
        hybrid=core.hybrid,
        after_s=core.options.purge.after_s,
    )
    core.serve(removal.handlers())
