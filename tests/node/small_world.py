"""A few nodes of the real replica, request and repair code in one process, under virtual time.

The network carries production frames (simulator/transport.py); each node's engine forgets what was not
synced when it is killed.  Liveness is what a test says it is, so that routing is decided by nobody's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.membership.clock_watch import ClockWatch
from ringmill.node.membership.topology_agent import TopologyAgent
from ringmill.node.repair.hint_delivery import HintDelivery
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.objects import ObjectStore
from ringmill.node.replica.routes import Router
from ringmill.node.replica.serving import ReplicaServing
from ringmill.node.requests.attempts import Attempts
from ringmill.node.requests.background import Background
from ringmill.node.requests.collect import Collector
from ringmill.node.requests.forward import FORWARD, Forwarder
from ringmill.node.requests.locate import Locator
from ringmill.node.requests.read import Reader
from ringmill.node.requests.replicas import Replicas
from ringmill.node.requests.write import Writer
from ringmill.node.services.kv import KvService
from ringmill.simulator.clocks import SimulatedClock
from ringmill.simulator.network import Network
from ringmill.simulator.seeds import SeededEntropy, stream
from ringmill.simulator.trace import Trace
from ringmill.simulator.transport import SimulatedTransport
from ringmill.simulator.world_loop import Process, VirtualLoop
from tests.node.control_in_memory import ControlInMemory
from tests.node.forgetful_engine import ForgetfulEngine

__all__ = ["Disk", "Node", "World"]

T = TypeVar("T")


@dataclass
class Disk:
    """What of a node outlives its process."""

    engine: ForgetfulEngine
    start: int = 0
    boot: str = ""  # of every start, when a test wants no fresh ones
    control: ControlInMemory = field(default_factory=ControlInMemory)


@dataclass
class Opinions:
    """Who seems alive, as the test says."""

    states: dict[NodeId, str] = field(default_factory=dict)

    def state(self, node: NodeId) -> str:
        return self.states.get(node, "up")

    def order(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        ranks = ["up", "slow", "suspect", "down"]
        return sorted(nodes, key=lambda node: ranks.index(self.state(node)))


class Node:
    """One start of one node."""

    def __init__(self, world: World, name: NodeId, disk: Disk) -> None:
        self.name = name
        self.disk = disk
        self.engine = disk.engine
        self.process: Process = world.loop.process(name)
        self.clock = SimulatedClock(world.loop)
        self.hybrid = HybridClock(self.clock)
        self.liveness = Opinions()
        self.transport = SimulatedTransport(
            name, loop=world.loop, network=world.network, process=self.process, clock=self.clock
        )
        self.entropy = SeededEntropy(world.seed, f"{name}/{disk.start}")
        self.is_ready = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._document = world.topology.encode()
        self._disk_id = world.topology.member(name).disk

    async def live(self) -> None:
        """From start to a clean stop."""
        disk, engine = self.disk, self.engine.as_engine()
        disk.start += 1
        control = await ControlStore.open(engine, disk.control)
        boot = disk.boot or self.entropy.random_bytes("boot", 8).hex()
        actors = CopyActors(self.name, Start(disk.start, boot))
        self.hints = await HintStore.open(engine)
        self.objects = ObjectStore(engine, actors, self.hybrid)
        agent = TopologyAgent(self.name, self._disk_id, store=control, transport=self.transport)
        await agent.start()
        await agent.init(self._document)
        router = Router(self.name, agent)
        ReplicaServing(router, self.objects, self.hybrid).serve(self.transport)
        self.delivery = HintDelivery(
            self.name,
            self.hints,
            view=agent,
            liveness=self.liveness,
            transport=self.transport,
            clock=self.clock,
        )
        self.watch = ClockWatch(
            self.name, self.hybrid, view=agent, transport=self.transport, clock=self.clock
        )
        async with Background() as background:
            replicas = Replicas(self.name, self.transport, self.objects, self.hybrid)
            collector = Collector(replicas, self.liveness, background)
            forwarder = Forwarder(self.transport, self.liveness, self.clock)
            self.writer = Writer(
                router=router,
                objects=self.objects,
                replicas=replicas,
                hints=self.hints,
                liveness=self.liveness,
                forwarder=forwarder,
                attempts=Attempts(collector, replicas, self.hybrid, self.entropy),
                background=background,
                hybrid=self.hybrid,
                timekeeper=self.watch,
                clock=self.clock,
            )
            self.reader = Reader(
                router=router,
                collector=collector,
                replicas=replicas,
                background=background,
                hybrid=self.hybrid,
                timekeeper=self.watch,
                clock=self.clock,
            )
            self.locator = Locator(router=router, view=agent, replicas=replicas, liveness=self.liveness)
            self.transport.serve(FORWARD, forwarder.handler(self.writer.write))
            self.service = KvService(
                writer=self.writer, reader=self.reader, locator=self.locator, clock=self.clock
            )
            for method, handler in self.service.handlers().items():
                self.transport.serve(method, handler)
            loops = [
                asyncio.create_task(loop) for loop in (self.delivery.run(), agent.run(), self.watch.run())
            ]
            try:
                await agent.wait_formed()
                self.is_ready.set()
                await self._is_stopping.wait()
            finally:
                for loop in loops:
                    loop.cancel()

    def stop(self) -> None:
        self._is_stopping.set()


class World:
    """`World(...).run(story)`: the story is a coroutine function that gets the world with all nodes up."""

    def __init__(self, nodes: int = 3, *, n: int = 3, r: int = 2, w: int = 2, seed: int = 1) -> None:
        self.seed = seed
        self.loop = VirtualLoop(stream(seed, "schedule"))
        self.trace = Trace(self.loop.time)
        self.network = Network(self.loop, stream(seed, "network"), self.trace)
        self.names = [NodeId(f"n{i + 1}") for i in range(nodes)]
        members = [
            Member(name, DiskId(f"{i + 1:032x}"), f"127.0.0.1:{7101 + i}")
            for i, name in enumerate(self.names)
        ]
        self.topology: Topology = first_topology("test", members, partitions=16, n=n, r=r, w=w)
        self.disks = {name: Disk(ForgetfulEngine()) for name in self.names}
        self.nodes: dict[str, Node] = {}
        self._starts: list[tuple[Node, asyncio.Task[None]]] = []

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Start all nodes, tell the story, and require that no task and no handler met a bug."""

        async def told() -> T:
            await asyncio.gather(*(self.start(name) for name in self.names))
            return await story

        try:
            result: T = self.loop.run_until_complete(told())
            bugs = [bug for node, _ in self._starts for bug in node.transport.bugs]
            assert not bugs, bugs
            assert not self.loop.unhandled(), self.loop.unhandled()
        finally:
            self.loop.run_until_complete(self._bury())
            self.loop.drop_everything()
        return result

    async def _bury(self) -> None:
        """Unwind what killed and living processes left behind, so that nothing is collected half-way."""
        for node, life in self._starts:
            process = node.process
            process.alive = True
            self.loop.resume(process)
            for kept in process.kept:  # what was dropped with the process
                for handle in kept if isinstance(kept, list) else [kept]:
                    assert isinstance(handle, asyncio.Handle)
                    self.loop._enqueue(handle)
            life.cancel()
        await asyncio.gather(*(life for _, life in self._starts), return_exceptions=True)

    async def start(self, name: str) -> Node:
        node = self.nodes[name] = Node(self, NodeId(name), self.disks[NodeId(name)])
        self._starts.append((node, self.loop.spawn(node.process, node.live())))
        await node.is_ready.wait()
        return node

    def kill(self, name: str) -> None:
        """SIGKILL and a power cut in one."""
        self.loop.kill(self.nodes[name].process)
        self.disks[NodeId(name)].engine = self.nodes[name].engine.after_crash()

    async def stop(self, name: str) -> None:
        """A clean stop; what was buffered is on the disk then."""
        self.nodes[name].stop()
        await next(life for node, life in reversed(self._starts) if node.name == name)
        self.loop.kill(self.nodes[name].process)

    def cut(self, one: str, other: str, *, is_cut: bool = True) -> None:
        for source, target in ((one, other), (other, one)):
            self.network.link(source, target).is_cut = is_cut

    def seen(self, name: str, state: str) -> None:
        """All others now hold this opinion of a node."""
        for node in self.nodes.values():
            node.liveness.states[NodeId(name)] = state

    async def on(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Run something as part of a node's process."""
        return await self.loop.spawn(self.nodes[name].process, work)

    async def until(self, condition: Any, timeout_s: float = 60.0) -> None:
        """Let virtual time pass until a condition holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110  virtual time costs nothing
                await asyncio.sleep(0.01)
