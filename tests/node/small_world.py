"""A few nodes of the real replica, request and repair rooms in one process, under virtual time.

The rooms are those that production opens (node/assembly.py).  The network carries production frames
(simulator/world/transport.py); each node's engine forgets what was not synced when it is killed.  Liveness is
what a test says it is, so that routing is decided by nobody's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Topology, first_topology
from ringmill.node.config import NodeConfig
from ringmill.node.core import Core, Doors
from ringmill.node.identity.room import Storage, open_storage
from ringmill.node.membership.room import open_membership
from ringmill.node.node_options import NodeOptions
from ringmill.node.repair.room import open_repair
from ringmill.node.replica.room import open_replica, serve_replica
from ringmill.node.requests.room import open_requests
from ringmill.node.services.kv_service import open_kv
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.network import Network
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.spawner import InlineSpawner
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop
from tests.node.forgetful_engine import ForgetfulEngine

__all__ = ["Disk", "Node", "World"]

T = TypeVar("T")


@dataclass
class Disk:
    """What of a node outlives its process."""

    id: DiskId
    engine: ForgetfulEngine
    files: LossyDisk = field(default_factory=LossyDisk)
    processes: int = 0  # so far
    boot: str = ""  # of every start, when a test wants no fresh ones

    def put_back(self) -> None:
        """The files are as they were before the first start; its starts are counted anew."""
        self.files = LossyDisk()


class DiskEntropy(SeededEntropy):
    """Its disk has the id that the topology names."""

    def __init__(self, seed: int, disk: Disk, owner: str) -> None:
        super().__init__(seed, owner)
        self._disk = disk

    def random_bytes(self, purpose: str, size: int) -> bytes:
        if purpose == "disk":
            return bytes.fromhex(self._disk.id)
        if purpose == "boot" and self._disk.boot:
            return bytes.fromhex(self._disk.boot)
        return super().random_bytes(purpose, size)


@dataclass
class Opinions:
    """Who seems alive, as the test says."""

    states: dict[NodeId, MemberState] = field(default_factory=dict)

    def state(self, node: NodeId) -> MemberState:
        return self.states.get(node, MemberState.UP)

    def is_up(self, node: NodeId) -> bool:
        return self.state(node) is not MemberState.DOWN

    def nearest_first(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        return sorted(nodes, key=lambda node: self.state(node).severity)

    def on_change(self, listener: Callable[[NodeId, MemberState], None]) -> None:
        """Nobody here waits for a change."""


class Node:
    """One start of one node."""

    def __init__(self, world: World, name: NodeId, disk: Disk) -> None:
        self.name = name
        self.disk = disk
        self.engine = disk.engine
        self.process: Process = world.loop.process(name)
        self.clock = SimulatedClock(world.loop)
        self.liveness = Opinions()
        self.transport = SimulatedTransport(
            name, loop=world.loop, network=world.network, process=self.process, clock=self.clock
        )
        disk.processes += 1
        self.entropy = DiskEntropy(world.seed, disk, f"{name}/{disk.processes}")
        doors = Doors(
            clock=self.clock,
            entropy=self.entropy,
            files=disk.files,
            spawner=InlineSpawner(stream(world.seed, f"{name}/{disk.processes}/spawner")),
            transport=self.transport,
        )
        member = world.topology.member(name)
        config = NodeConfig(name, member.address, "/data", token=world.token)
        self.core = Core.of(config, doors, world.options)
        self.transport.load = lambda: self.core.gate.load
        self.hybrid = self.core.hybrid
        self.is_ready = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._document = world.topology.encode()

    async def live(self) -> None:
        """From start to a clean stop."""
        async with open_storage(self.core, self._open_engine) as storage:
            await self._serve(storage)

    async def _serve(self, storage: Storage) -> None:
        core, liveness = self.core, self.liveness
        replica = await open_replica(core, storage)
        membership = open_membership(core, storage, replica)
        self.membership = membership
        topology, self.watch = membership.topology, membership.watch
        topology.confirm_start()
        await topology.start()
        await topology.take_first(self._document)
        serve_replica(core, replica, topology, storage.identity.start, lambda _: False)
        self.hints, self.objects = replica.hints, replica.objects
        async with open_requests(
            core,
            replica,
            storage.identity.start,
            topology=topology,
            liveness=liveness,
            timekeeper=self.watch,
            changes=membership.epochs,
        ) as requests:
            self.requests = requests
            self.service = open_kv(core, requests)
            repair = open_repair(
                core,
                replica,
                storage.identity.start,
                topology=topology,
                liveness=liveness,
                finish_register=requests.finish_register,
                own_registers=requests.own_registers(),
            )
            self.delivery = repair.delivery
            loops = [
                asyncio.create_task(loop) for loop in (self.delivery.run(), topology.run(), self.watch.run())
            ]
            try:
                await topology.wait_formed()
                self.is_ready.set()
                await self._is_stopping.wait()
            finally:
                for loop in loops:
                    loop.cancel()

    async def _open_engine(self, core: Core, folder: str) -> Engine:
        core.doors.files.mkdir(folder)
        return self.engine.as_engine()

    def stop(self) -> None:
        self._is_stopping.set()


class World:
    """`World(...).run(story)`: the story is a coroutine function that gets the world with all nodes up."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        n: int = 3,
        r: int = 2,
        w: int = 2,
        seed: int = 1,
        options: NodeOptions | None = None,
        keyspaces: Sequence[KeyspaceEntry] = (),
        token: str = "",
    ) -> None:
        self.seed = seed
        self.token = token
        self.options = options or NodeOptions()
        self.loop = VirtualLoop(stream(seed, "schedule"))
        self.trace = Trace(self.loop.time)
        self.network = Network(self.loop, stream(seed, "network"), self.trace)
        self.names = [NodeId(f"n{i + 1}") for i in range(nodes)]
        members = [
            Member(name, DiskId(f"{i + 1:032x}"), f"127.0.0.1:{7101 + i}")
            for i, name in enumerate(self.names)
        ]
        self.topology: Topology = first_topology(
            "test", members, partitions=16, n=n, r=r, w=w, keyspaces=keyspaces
        )
        self.disks = {member.id: Disk(member.disk, ForgetfulEngine()) for member in members}
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
        disk = self.disks[NodeId(name)]
        disk.engine = self.nodes[name].engine.after_crash()
        disk.files = disk.files.cut_power(
            CrashModel.PREFIX, stream(self.seed, f"{name}/{disk.processes}/cut")
        )

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
            node.liveness.states[NodeId(name)] = MemberState(state)

    async def on(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Run something as part of a node's process."""
        return await self.loop.spawn(self.nodes[name].process, work)

    async def until(self, condition: Any, timeout_s: float = 60.0) -> None:
        """Let virtual time pass until a condition holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110  virtual time costs nothing
                await asyncio.sleep(0.01)
