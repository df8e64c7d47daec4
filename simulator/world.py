"""A whole cluster in one process: nodes, disks, network, clients and faults of one run, made from its seed.

`first_phase` puts everything under load and faults; `second_phase` heals, waits until hints are delivered,
reads every key from all owners and looks at what each owner holds.  What that means, checkers say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import ClassVar

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.topology import Member, Row, Topology, first_topology
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.simulator.clocks import SimulatedClock
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.faults import Fault
from ringmill.simulator.history import Final, History
from ringmill.simulator.injector import Injector
from ringmill.simulator.network import Network
from ringmill.simulator.node_process import NodeProcess, Surroundings
from ringmill.simulator.options import RunOptions
from ringmill.simulator.seeds import SeededEntropy, stream
from ringmill.simulator.sessions import DEFAULT_KEYSPACE, Session, SimulatedLink, insist
from ringmill.simulator.trace import Trace
from ringmill.simulator.transport import SimulatedTransport
from ringmill.simulator.tunables import Tunables
from ringmill.simulator.workload import Wish
from ringmill.simulator.world_loop import Process, VirtualLoop

__all__ = ["NotQuiet", "World"]

_FLIGHT_S = 6.0  # the longest a request may still be under way at its coordinator
_AT_REST_S = 0.25
_AT_ONCE = 1e12  # bytes a second
_BALANCED = 0.1  # of the clients have no say in whom they ask


class NotQuiet(RuntimeError):
    """The cluster did not come to rest in time after everything was healed."""


class World:
    node_type: ClassVar[type[NodeProcess]] = NodeProcess

    def __init__(self, seed: int, options: RunOptions, tunables: Tunables, *, story: bool = False) -> None:
        self.options = options
        self.loop = VirtualLoop(stream(seed, "schedule"))
        self.trace = Trace(self.loop.time, story=story)
        self.network = Network(
            self.loop, stream(seed, "network"), self.trace, repeats_all=options.repeats_forwards
        )
        self.history = History()
        self._seed = seed
        around = Surroundings(seed, self.loop, self.network, self.trace, tunables, self.history.coordinated)
        self.nodes = {
            name: self.node_type(NodeId(name), f"10.0.0.{number}:7100", around)
            for number, name in enumerate((f"n{i + 1}" for i in range(options.nodes)), 1)
        }
        self._clients = [f"s{number}" for number in range(options.sessions)]
        draws = stream(seed, "faults/effect")
        self.injector = Injector(self.nodes, self._clients, self.network, self.trace, draws)
        self._topology: Topology | None = None

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
            "simulated", members, partitions=options.partitions, n=options.n, r=options.r, w=options.w
        )
        document = self.injector.document = self._topology.encode()
        for process in self.nodes.values():
            node = await process.up()
            await process.inside(node.membership.topology.init(document))
        for process in self.nodes.values():
            await process.inside((await process.up()).membership.topology.wait_formed())

    async def first_phase(self, wishes: Sequence[Wish], faults: Sequence[Fault]) -> None:
        """Load and faults until both are over, or `longest_s` is."""
        drawn = stream(self._seed, "sessions")
        work = [
            self._session(name, [wish for wish in wishes if wish.session == name], drawn)
            for name in self._clients
        ]
        try:
            async with asyncio.timeout(self.options.longest_s):
                await asyncio.gather(self.injector.run(faults), *work)
        except TimeoutError:
            self.trace.note("driver", "ends the first phase before its work is done")

    async def second_phase(self, wishes: Sequence[Wish], lost: Sequence[str]) -> None:
        """Heal all but `lost`, come to rest, read everything.

        Raises NotQuiet when it takes longer than `quiet_s`.
        """
        self.trace.note("driver", "heals what can be healed")
        self.history.lost = list(lost)
        await self.injector.heal(lost)
        keys = sorted({wish.key for wish in wishes})
        try:
            async with asyncio.timeout(self.options.quiet_s):
                for process in self._living():
                    await process.inside((await process.up()).membership.topology.wait_formed())
                await asyncio.sleep(_FLIGHT_S)
                await self._write_beside_damage(keys)
                await asyncio.sleep(_FLIGHT_S)
                await self._set_lost_aside(keys)
                await self._damage_healed(keys)
                await self._hints_delivered()
                self.history.handed_over = await self._finals(keys)
                await self._read_all(keys)
                self.history.finals = await self._finals(keys)
        except TimeoutError:
            raise NotQuiet(f"{self._unrest()} {self.options.quiet_s:.0f} s after healing") from None
        finally:
            self.history.crashed = {name: list(node.crashes) for name, node in self.nodes.items()}

    def bugs(self) -> list[BaseException]:
        """What no node may ever raise, in the order of the nodes."""
        nodes = [*self.nodes.values(), *self.injector.folders.copies]
        return [error for node in nodes for error in node.bugs()]

    async def _session(self, name: str, wishes: Sequence[Wish], drawn: Random) -> None:
        process = self.loop.process(name)
        session = self._client(name, process, drawn.choice((0.3, 1.0, 5.0)))

        async def work() -> None:
            async with session:
                await session.work_off(wishes, self.history.operations)

        await self.loop.spawn(process, work())

    def _client(self, name: str, process: Process, timeout_s: float) -> Session:
        transport = SimulatedTransport(
            name,
            loop=self.loop,
            network=self.network,
            process=process,
            clock=SimulatedClock(self.loop),
            is_client=True,
        )
        transport.set_peers({NodeId(node): process.address for node, process in self.nodes.items()})
        nodes = {process.address: NodeId(node) for node, process in self.nodes.items()}
        entropy = SeededEntropy(self._seed, f"client/{name}")
        return Session(
            name,
            addresses=list(nodes),
            asks_anybody=stream(self._seed, f"client/{name}/balancer").random() < _BALANCED,
            dial=lambda address, last: SimulatedLink(transport, nodes[address], last),
            entropy=entropy,
            timeout_s=timeout_s,
        )

    async def _write_beside_damage(self, keys: Sequence[bytes]) -> None:
        """One write of every key while bits have turned on one node's disk and all others are sound."""
        self.history.damaged = [node.name for node in self._living() if node.disk.is_rotten]
        if not self.history.damaged:
            return
        process = self.loop.process("beside")
        session = self._client("beside", process, 5.0)
        operations = self.history.operations

        async def work() -> None:
            async with session:
                for key in keys:
                    self.history.beside_damage.append(len(operations))
                    value = b"beside damage %d" % len(operations)
                    wish = Wish(len(operations), session.name, "put", key, value, "none", "", "", 0.0)
                    await session.ask(wish, operations)

        await self.loop.spawn(process, work())

    async def _damage_healed(self, keys: Sequence[bytes]) -> None:
        """Nodes on whose disks bits have turned find them all, and fill what is damaged from the others."""
        for name in self.history.damaged:
            process = self.nodes[name]
            self.history.shown_by_lost += await self._shown(process, keys)
            node = await process.up()
            await process.inside(node.replica.engine.verify(bytes_per_s=_AT_ONCE))
            await process.inside(node.replica.engine.settle())
            while node.replica.engine.corrupt_ranges():  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(_AT_REST_S)

    async def _hints_delivered(self) -> None:
        """No node keeps a write for another any more, and none still has to find out who misses one."""
        while any(self._keeps_hints(node) or self._compares(node) for node in self._living()):  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_AT_REST_S)

    async def _set_lost_aside(self, keys: Sequence[bytes]) -> None:
        """See what nodes with damaged or foreign disks still show, and end them.

        One that serves as if nothing had happened is an owner like all others, and judged like them.
        """
        for name in self.history.lost:
            process = self.nodes[name]
            if name in self.injector.apart:
                self.history.shown_by_liars += await self._values(process, keys)
            elif process.node is not None and process.is_running and process.node.membership.topology.serving:
                self.history.shown_by_lost += await self._shown(process, keys)
            process.kill(CrashModel.PREFIX)
        for twin in self.injector.folders.copies:
            if twin.node is not None and twin.is_running and twin.node.membership.topology.serving:
                self.history.shown_by_lost += await self._shown(twin, keys)
            twin.kill(CrashModel.PREFIX)

    async def _shown(self, process: NodeProcess, keys: Sequence[bytes]) -> list[Final]:
        """What one node holds of the keys that it owns and can read."""
        shown: list[Final] = []
        for key in keys:
            if process.name in self._row(key).nodes:
                try:
                    shown.append(await self._held(process, key))
                except CorruptData:
                    self.trace.note(process.name, "refuses a damaged key")
        return shown

    async def _values(self, process: NodeProcess, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Every value that a node holds, as far as it runs and can read it."""
        found: list[tuple[bytes, bytes]] = []
        if process.node is None or not process.is_running:
            return found
        objects = process.node.replica.objects
        for key in keys:
            copy = Copy(self._partition(key), self._row(key).copy_epoch)
            try:
                stored = await process.inside(objects.read(Place(copy, DEFAULT_KEYSPACE, key)))
            except CorruptData:
                self.trace.note(process.name, "refuses a damaged key")
            else:
                found += [(key, each.value) for each in stored.siblings if each.value is not None]
        return found

    def _keeps_hints(self, process: NodeProcess) -> bool:
        """For somebody who can take them; or it is not up yet."""
        if process.node is None:
            return True
        return any(target not in self.history.lost for target in process.node.replica.hints.counts())

    def _compares(self, process: NodeProcess) -> bool:
        """Partitions whose owners can all be asked; the others wait for good."""
        if process.node is None:
            return True
        catch_up = process.node.repair.catch_up
        assert self._topology is not None, "the cluster was formed"
        rows = [self._topology.row(partition) for partition in catch_up.waiting]
        is_asked = not (catch_up.is_done or rows)
        return is_asked or any(not set(row.nodes) & set(self.history.lost) for row in rows)

    def _living(self) -> list[NodeProcess]:
        return [process for name, process in self.nodes.items() if name not in self.history.lost]

    async def _read_all(self, keys: Sequence[bytes]) -> None:
        """One read of every key from all its living owners, repeated until it is answered."""
        process = self.loop.process("last")
        session = self._client("last", process, 5.0)
        kept = [key for key in keys if self._owners(key)]
        reads = insist(session, kept, lambda key: str(len(self._owners(key))), self.history.operations)
        await self.loop.spawn(process, reads)

    async def _finals(self, keys: Sequence[bytes]) -> list[Final]:
        """What each owner of each key holds."""
        return [await self._held(self.nodes[owner], key) for key in keys for owner in self._owners(key)]

    async def _held(self, process: NodeProcess, key: bytes) -> Final:
        """What a node holds of a key.  Raises CorruptData."""
        copy = Copy(self._partition(key), self._row(key).copy_epoch)
        objects = (await process.up()).replica.objects
        stored = await process.inside(objects.read(Place(copy, DEFAULT_KEYSPACE, key)))
        return Final.of(key, process.name, stored)

    def _owners(self, key: bytes) -> list[NodeId]:
        """Those that are not lost."""
        return [node for node in self._row(key).nodes if node not in self.history.lost]

    def _row(self, key: bytes) -> Row:
        assert self._topology is not None, "the cluster was formed"
        return self._topology.row(self._partition(key))

    def _partition(self, key: bytes) -> PartitionId:
        assert self._topology is not None, "the cluster was formed"
        return self._topology.partition_of(DEFAULT_KEYSPACE, key)

    def _unrest(self) -> str:
        """What is still going on, in words."""
        ended = [node.name for node in self._living() if node.node is None or not node.is_running]
        hints = {name: node.node.replica.hints.counts() for name, node in self.nodes.items() if node.node}
        waiting = {name: counts for name, counts in hints.items() if counts}
        damaged = [
            node.name for node in self._living() if node.node and node.node.replica.engine.corrupt_ranges()
        ]
        return (
            f"not up: {ended or 'none'}; hints that wait: {waiting or 'none'}; damaged: {damaged or 'none'};"
        )
