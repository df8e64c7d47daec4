"""A whole cluster in one process: nodes, disks, network and the faults' ground, made from a run's seed.

What is asked of it, and what that means, subjects say (simulator/subjects); a run may have several.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import KeyspaceId, NodeId, PartitionId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Row, Topology, first_topology
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.assembly import Node
from ringmill.node.replica.stored_key import Place
from ringmill.node.storage.storage_errors import NotCached
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.history import History, Purged
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.network import Network
from ringmill.simulator.world.node_process import SHARED, NodeEnvironment, NodeProcess
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tasks import TaskPace
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

__all__ = ["DEFAULT_KEYSPACE", "World"]

DEFAULT_KEYSPACE = KeyspaceId(1, 0)
_LOOK_EVERY_S: Final = 0.1
_AT_REST_S: Final = 0.25
_SURELY: Final = 0.9  # of the time for which a step of all clocks holds back what is forgotten
_AT_ONCE: Final = 1e12  # bytes a second


class World:
    """`form` first; `close` drops all that is left of it."""

    def __init__(
        self, seed: int, options: SimulationOptions, tunables: Tunables, *, story: bool = False
    ) -> None:
        self.seed = seed
        self.options = options
        self.tunables = tunables
        is_drawn = options.callbacks == "drawn"
        self.loop = VirtualLoop(stream(seed, "schedule"), stream(seed, "callbacks") if is_drawn else None)
        self.trace = Trace(self.loop.time, story=story)
        self.network = Network(
            self.loop, stream(seed, "network"), self.trace, repeats_all=options.repeats_forwards
        )
        self.shared = FolderTree()
        self.shared.mkdir(SHARED)  # where it is mounted, which no power cut changes
        self.shared.fsync_dir("")
        self.history = History(default_w=options.w)
        environment = NodeEnvironment(
            seed,
            self.loop,
            self.network,
            self.trace,
            tunables,
            self.shared,
            TaskPace.draw(stream(seed, "tasks"), options.task_pause_s),
            self.history.coordinated,
        )
        environment.on_purged = self._note_purged
        self._environment = environment
        self.on_up = environment.on_up
        """Called with each start of a node once its rooms are open, before it answers anybody."""
        self.on_topology: list[Callable[[str, Topology], None]] = []
        """Called with a node and a topology of this cluster (not of another one) that it adopts."""
        self.nodes = {
            name: NodeProcess(NodeId(name), f"10.0.0.{number}:7100", environment)
            for number, name in enumerate(node_names(options), 1)
        }
        self.addresses = {process.address: NodeId(name) for name, process in self.nodes.items()}
        """Which node answers where."""
        self._clients: list[SimulatedTransport] = []
        draws = stream(seed, "faults/effect")
        self.ground = Ground(self.nodes, self.network, self.shared, self.trace, draws)
        self.keyspaces: list[KeyspaceEntry] = []  # beside those that every cluster begins with
        self._topology: Topology | None = None
        self.guests: dict[str, NodeProcess] = {}
        """Nodes that were started since the cluster was formed, also those that are gone again."""

    @property
    def topology(self) -> Topology:
        assert self._topology is not None, "the cluster was formed"
        return self._topology

    async def form(self) -> None:
        """Start all nodes and give them their first topology."""
        for process in self.nodes.values():
            process.start()
        members: list[Member] = []
        for name, process in self.nodes.items():
            node = await process.up()
            members.append(Member(NodeId(name), node.identity.disk, process.address, zone=name))
        options = self.options
        self._topology = first_topology(
            "simulated",
            members,
            partitions=options.partitions,
            n=options.n,
            r=options.r,
            w=options.w,
            keyspaces=self.keyspaces,
        )
        document = self.ground.document = self._topology.encode()
        self.on_up.append(self._follow)
        for name, process in self.nodes.items():
            self._follow(name, await process.up())
        for process in self.nodes.values():
            node = await process.up()
            await process.inside(node.membership.topology.take_first(document))
        await self.all_serve(self.nodes.values())

    async def admit(self, name: str) -> Member:
        """Start one more node, on an empty disk and in no cluster.  Returns it as a member to be."""
        address = f"10.0.1.{len(self.guests) + 1}:7100"
        self.guests[name] = process = NodeProcess(NodeId(name), address, self._environment)
        self.nodes[name] = process
        self.addresses[address] = process.name
        for client in self._clients:
            client.set_peers({node: at for at, node in self.addresses.items()})
        process.start()
        node = await process.up()
        return Member(NodeId(name), node.identity.disk, address, zone=name)

    def dismiss_strangers(self, given_up: Collection[str] = ()) -> None:
        """End the nodes that were admitted and are no members, or are none any more.  Those that were not
        given up owe nothing to anybody."""
        for name, process in self.guests.items():
            if name in self.nodes and not self.topology.has_member(process.name):
                process.kill(None, is_crash=name in given_up)
                del self.nodes[name]

    def _follow(self, name: str, node: Node) -> None:
        node.membership.topology.on_change(partial(self._note_adopted, name))

    def _note_adopted(self, name: str, topology: Topology) -> None:
        if topology.cluster != self.topology.cluster:
            return
        if topology.epoch > self.topology.epoch:
            self._topology = topology
        for listener in self.on_topology:
            listener(name, topology)

    def _note_purged(self, name: str, place: Place, old: bytes) -> None:
        """A node forgets an object: note it, and who still shows what it had replaced."""
        if place.keyspace != DEFAULT_KEYSPACE:
            return
        stored = decode_object(old)
        alive = []
        owners = self.topology.row(place.copy.partition).nodes
        for owner in owners:
            node = self.nodes[owner].node
            if node is None or not node.membership.topology.serving:  # an old folder shows nobody anything
                continue
            try:
                encoded = node.replica.objects.read_now(place)[0]
            except (NotCached, RingmillError, OSError):
                continue
            held = decode_object(encoded).siblings if encoded else ()
            gone = {sibling.dot for sibling in stored.siblings}
            if any(stored.context.covers(one.dot) and one.dot not in gone for one in held):
                alive.append(owner)
        now_ms = round(SimulatedClock(self.loop).wall() * 1000)
        is_alive = any(sibling.is_live(now_ms) for sibling in stored.siblings)
        stepped_s = max(self.nodes[owner].was_set_forwards_s for owner in owners)
        is_held_back = stepped_s < _SURELY * self._environment.tunables.node.purge.after_s
        seen = {str(actor): count for actor, count in stored.context.entries}
        dots = tuple(str(sibling.dot) for sibling in stored.siblings)
        self.history.purged.append(
            Purged(self.loop.time(), name, place.key, seen, dots, tuple(alive), is_alive, is_held_back)
        )

    async def all_serve(self, nodes: Iterable[NodeProcess]) -> None:
        """Wait until each of them is up and serves."""
        for process in nodes:
            served = process.inside((await process.up()).membership.topology.wait_formed())
            while process.name in self.guests and self._is_member(process.name) and not served.done():
                await asyncio.wait([served], timeout=_LOOK_EVERY_S)  # it may leave before
            if process.name not in self.guests:
                await served

    async def all_seen_up(self, within_s: float) -> list[str]:
        """Wait until each member that is there is seen up by all others; returns who is not by then."""
        until = self.loop.time() + within_s
        while (unseen := list(self._seen_otherwise())) and self.loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        return unseen

    def _seen_otherwise(self) -> Iterator[str]:
        away = {*self.ground.apart, *self.ground.cut_off}
        there = [process for process in self.living() if process.serves and process.name not in away]
        for one in there:
            assert one.node is not None, "it serves"
            for other in there:
                state = one.node.membership.liveness.state(other.name)
                if state is not MemberState.UP:
                    yield f"{one.name} sees {other.name} {state}, which serves"

    async def all_take_writes(self, nodes: Iterable[NodeProcess]) -> None:
        """Wait until none of them refuses writes because its clock has jumped, or its disk was full."""
        for process in nodes:
            while not process.takes_writes:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(_LOOK_EVERY_S)

    async def heal_damage(self, process: NodeProcess) -> None:
        """Have a node find all that is damaged on its disk, and wait until others have filled it again."""
        node = await process.up()
        await process.inside(node.replica.engine.verify(bytes_per_s=_AT_ONCE))
        await process.inside(node.replica.engine.wait_idle())
        while node.replica.engine.corrupt_ranges():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_AT_REST_S)

    def client(self, name: str) -> tuple[Process, SimulatedTransport]:
        """A process that asks: a fresh one, on the network under its name."""
        process = self.loop.process(name)
        transport = SimulatedTransport(
            name,
            loop=self.loop,
            network=self.network,
            process=process,
            clock=SimulatedClock(self.loop),
            is_client=True,
            gather_s=self.tunables.gather_s,
        )
        transport.set_peers({node: address for address, node in self.addresses.items()})
        self._clients.append(transport)
        return process, transport

    def living(self) -> list[NodeProcess]:
        """Members that are not lost permanently."""
        return [
            process
            for name, process in self.nodes.items()
            if name not in self.history.lost and self._is_member(name)
        ]

    def _is_member(self, name: str) -> bool:
        return name not in self.guests or self.topology.has_member(NodeId(name))

    def owners(self, key: bytes) -> list[NodeId]:
        """The owners of a key that are not lost."""
        return [node for node in self.row(key).nodes if node not in self.history.lost]

    def row(self, key: bytes) -> Row:
        return self.topology.row(self.partition(key))

    def partition(self, key: bytes) -> PartitionId:
        return self.topology.partition_of(DEFAULT_KEYSPACE, key)

    def bugs(self) -> list[BaseException]:
        """What no node may ever raise, in the order of the nodes."""
        return [error for node in (*self._every_node(), *self.ground.copies) for error in node.bugs()]

    def close(self) -> None:
        self.history.crashed = {node.name: list(node.crashes) for node in self._every_node()}
        self.history.power_cuts = {node.name: list(node.power_cuts) for node in self._every_node()}
        for node in self._every_node():
            if node.spawner is not None:
                node.spawner.kill_all()

    def _every_node(self) -> list[NodeProcess]:
        return list({**self.nodes, **self.guests}.values())


def node_names(options: SimulationOptions) -> list[str]:
    return [f"n{number + 1}" for number in range(options.nodes)]
