"""The objects that every room of a node is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringmill.cluster.access.cluster_secret import HeldSecret
from ringmill.cluster.hot.key_heat import KeyHeat
from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.stop_time import StopTime
from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.node_memory import nothing_told
from ringmill.cluster.ports import (
    BatchHandler,
    BatchTransport,
    Clock,
    CoreTime,
    Entropy,
    FileSystem,
    Handler,
    MemoryLeft,
    Spawner,
)
from ringmill.cluster.traces.spans import CallTracer
from ringmill.cluster.versions.context_token import ContextSeal
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.calls_to_self import CallsToSelf
from ringmill.node.config import NodeConfig
from ringmill.node.node_options import NodeOptions

__all__ = ["Core", "Doors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The doors of one node.  The creator of the transport enters and leaves it."""

    clock: Clock
    entropy: Entropy
    files: FileSystem
    spawner: Spawner
    transport: BatchTransport
    tracer: CallTracer | None = None  # records what this node does for requests that are traced
    core_time: Callable[[], CoreTime] = CoreTime  # of the loop's thread; nothing where nobody tells
    memory_left: Callable[[], Sequence[MemoryLeft]] = nothing_told  # of the machine, and of groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One start of a node, before it has any room."""

    config: NodeConfig
    doors: Doors
    options: NodeOptions
    hybrid: HybridClock
    transport: BatchTransport  # reaches the other nodes and this one
    gate: Gate  # what clients ask for passes it, if it is on
    secret: HeldSecret  # the cluster's token as its file has it now
    seal: ContextSeal  # of the contexts that clients get
    heat: KeyHeat  # which keys this node works on most
    meter: RequestMeter  # of what clients ask
    stop_time: StopTime  # begins when this node is told to stop

    @classmethod
    def of(cls, config: NodeConfig, doors: Doors, options: NodeOptions) -> Core:
        secret, seal = HeldSecret(config.token), ContextSeal(config.token)
        secret.on_change(seal.change)
        return cls(
            config=config,
            doors=doors,
            options=options,
            hybrid=HybridClock(doors.clock),
            transport=CallsToSelf(config.id, doors.transport, doors.clock),
            gate=Gate(config.id, doors.clock, options.work_limit),
            secret=secret,
            seal=seal,
            heat=KeyHeat(doors.clock, options.heat),
            meter=RequestMeter(),
            stop_time=StopTime(doors.clock),
        )

    @property
    def node(self) -> NodeId:
        return self.config.id

    @property
    def clock(self) -> Clock:
        return self.doors.clock

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Answer these methods from now on, to peers and to this node itself."""
        for method, handler in handlers.items():
            self.transport.serve(method, handler)

    def serve_batches(self, handlers: Mapping[str, BatchHandler]) -> None:
        """Answer these methods from now on, all calls of a frame at a time."""
        for method, handler in handlers.items():
            self.transport.serve_batch(method, handler)

    def folder(self, name: str) -> str:
        """The path of a folder of the node's data; rooms name theirs and do not know where the data is."""
        return f"{self.config.data}/{name}"
