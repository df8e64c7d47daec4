"""How a healed cluster comes to rest, and what each owner holds then.

Order: writes beside damage, lost nodes set aside, damage healed, hints delivered and owners compared; then
each owner's copy is looked at, every key is read from all its owners, and the copies are looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final as Constant

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.node.assembly import Node
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.history import BesideDamage, Final
from ringmill.simulator.subjects.objects.sessions import Session, insist
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.world.node_process import NodeProcess
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import DEFAULT_KEYSPACE, World

__all__ = ["Rest"]

_FLIGHT_S: Constant = 6.0  # the longest a request may still be under way at its coordinator
_AT_REST_S: Constant = 0.25


class Rest:
    """`client` makes a session of its own for each name, with a timeout in seconds."""

    def __init__(
        self, world: World, keys: Sequence[bytes], client: Callable[[str, float], tuple[Process, Session]]
    ) -> None:
        self._world = world
        self._history = world.history
        self._keys = keys
        self._client = client
        self._awaited = ""
        self._uncompared: Collection[tuple[str, PartitionId, NodeId]] = ()

    async def wait_idle(self) -> None:
        self._awaited = "requests under way"
        await asyncio.sleep(_FLIGHT_S)
        self._awaited = "writes beside damage"
        await self._write_beside_damage()
        self._awaited = "what lost nodes still show"
        await self._set_lost_aside()
        await self._heal_damage()
        self._awaited = "hints, and owners that may lack something"
        await self._wait_hints_delivered()
        self._awaited = "each pair of owners to be found equal"
        await self._wait_compared()

    async def read_final_state(self) -> None:
        self._awaited = "what owners hold"
        self._history.handed_over += await self._finals()
        self._awaited = "a read of every key"
        await self._read_all()
        self._awaited = "what owners hold after a read of every key"
        self._history.finals += await self._finals()

    def unrest(self) -> str:
        """What was waited for, and what is still going on, in words."""
        living = self._world.living()
        ended = [each.name for each in living if each.node is None or not each.is_running]
        up = {each.name: each.node for each in self._world.nodes.values() if each.node}
        hints = {name: counts for name, node in up.items() if (counts := node.replica.hints.counts())}
        stories = {
            "not up": ended,
            "hints that wait": hints,
            "damaged": [name for name, node in up.items() if node.replica.engine.corrupt_ranges()],
            "owners that may lack a write": self._owed(),
            "pairs not found equal": [
                f"{asker} with {other} ({at})" for asker, at, other in self._uncompared
            ],
            "memtables to flush": [name for name, node in up.items() if _is_flushing(node)],
            "stepped clocks": [name for name, node in up.items() if node.core.hybrid.jumped_ms],
        }
        told = "; ".join(f"{what}: {which or 'none'}" for what, which in stories.items())
        return f"waits for {self._awaited}; {told};"

    def _owed(self) -> list[str]:
        """Which pairs of owners nodes still want to compare, and why those could not be compared."""
        repairs = [each.node.repair.anti_entropy for each in self._world.living() if each.node]
        return [
            f"{other} ({partition}: {repair.held_back.get((partition, other), 'not asked yet')})"
            for repair in repairs
            for partition, other in repair.waiting
        ]

    async def _write_beside_damage(self) -> None:
        """One write of every key while bits have turned on one node's disk and all others are sound."""
        damaged = self._history.damaged = [node.name for node in self._world.living() if node.disk.is_rotten]
        if not damaged:
            return
        w = self._world.options.w
        process, session = self._client("beside", 5.0)
        operations = self._history.operations

        async def work() -> None:
            async with session:
                for key in self._keys:
                    sound = [owner for owner in self._world.owners(key) if owner not in damaged]
                    self._history.beside_damage.append(BesideDamage(len(operations), w, len(sound)))
                    value = b"beside damage %d" % len(operations)
                    plan = PlannedOperation(
                        len(operations), session.name, "put", key, value, "none", "", "", 0.0
                    )
                    await session.ask(plan, operations)

        await self._world.loop.spawn(process, work())
        await asyncio.sleep(_FLIGHT_S)

    async def _heal_damage(self) -> None:
        """Have nodes on whose disks bits have turned find all damage, and fill it from the others."""
        for name in self._history.damaged:
            process = self._world.nodes[name]
            self._awaited = f"damage of {name} to be found and healed"
            self._history.shown_by_lost += await self._shown(process)
            await self._world.heal_damage(process)

    async def _wait_hints_delivered(self) -> None:
        """Wait until no node keeps a write for another, and none still has to find out who lacks one."""
        living = self._world.living()
        while any(self._keeps_hints(node) or self._compares(node) for node in living):  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_AT_REST_S)

    async def _wait_compared(self) -> None:
        """Wait until each pair of living owners, which compare now and then, has done so since this began."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._uncompared = before = {pair: self._equal_s_ago(*pair) for pair in self._pairs()}
        while before:
            await asyncio.sleep(_AT_REST_S)
            since_s = loop.time() - began
            for pair, former in list(before.items()):
                ago = self._equal_s_ago(*pair)  # by the clock of a node, which is fast or slow
                if ago is not None and (former is None or ago < former + since_s / 2):
                    del before[pair]

    def _pairs(self) -> list[tuple[str, PartitionId, NodeId]]:
        """Living owners of a partition of some key, the one that asks first."""
        places = {self._world.partition(key): self._world.owners(key) for key in self._keys}
        return [
            (asker, partition, NodeId(other))
            for partition, owners in places.items()
            for asker in owners
            for other in owners
            if asker < other
        ]

    def _equal_s_ago(self, asker: str, partition: PartitionId, other: NodeId) -> float | None:
        node = self._world.nodes[asker].node
        return None if node is None else node.replica.comparisons.equal_s_ago(partition, other)

    async def _set_lost_aside(self) -> None:
        """See what nodes with damaged or foreign disks still show, and end them.

        One that serves as if nothing had happened is an owner like all others, and judged like them.
        """
        ground = self._world.ground
        for name in self._history.lost:
            process = self._world.nodes[name]
            if name in ground.apart:
                self._history.shown_by_liars += await self._values(process)
            elif process.serves:
                self._history.shown_by_lost += await self._shown(process)
            process.kill(CrashModel.PREFIX)
        for twin in ground.copies:
            if twin.serves:
                self._history.shown_by_lost += await self._shown(twin)
            twin.kill(CrashModel.PREFIX)

    async def _shown(self, process: NodeProcess) -> list[Final]:
        """What one node holds of the keys that it owns and can read."""
        shown: list[Final] = []
        for key in self._keys:
            if process.name in self._world.row(key).nodes:
                try:
                    shown.append(await self._held(process, key))
                except (CorruptData, StorageFailed):  # an error, and nothing that is wrong
                    self._world.trace.note(process.name, "refuses a damaged key")
        return shown

    async def _values(self, process: NodeProcess) -> list[tuple[bytes, bytes]]:
        """Every value that a node holds, as far as it runs and can read it."""
        found: list[tuple[bytes, bytes]] = []
        if process.node is None or not process.is_running:
            return found
        objects = process.node.replica.objects
        for key in self._keys:
            try:
                stored = await process.inside(objects.read(self.place(key, process.name)))
            except (CorruptData, StorageFailed):  # an error, and nothing that is wrong
                self._world.trace.note(process.name, "refuses a damaged key")
            else:
                found += [(key, each.value) for each in stored.siblings if each.value is not None]
        return found

    def _keeps_hints(self, process: NodeProcess) -> bool:
        """For somebody who can take them; or it is not up yet."""
        if process.node is None:
            return True
        return any(target not in self._history.lost for target in process.node.replica.hints.counts())

    def _compares(self, process: NodeProcess) -> bool:
        """Whether a pair of owners that can both be asked has still to be compared; others wait forever."""
        if process.node is None:
            return True
        anti_entropy = process.node.repair.anti_entropy
        waiting = anti_entropy.waiting
        is_asked = not (anti_entropy.is_done or waiting)
        return is_asked or any(node not in self._history.lost for _, node in waiting)

    async def _read_all(self) -> None:
        """One read of every key from all its living owners, repeated until it is answered."""
        process, session = self._client("last", 5.0)
        owners = {key: self._world.owners(key) for key in self._keys}

        async def work() -> None:
            kept = [key for key in self._keys if owners[key]]
            await insist(session, kept, lambda key: str(len(owners[key])), self._history.operations)

        await self._world.loop.spawn(process, work())

    async def _finals(self) -> list[Final]:
        """What each owner of each key holds."""
        world = self._world
        return [
            await self._held(world.nodes[owner], key) for key in self._keys for owner in world.owners(key)
        ]

    async def _held(self, process: NodeProcess, key: bytes) -> Final:
        """What a node holds of a key.  Raises CorruptData."""
        objects = (await process.up()).replica.objects
        stored = await process.inside(objects.read(self.place(key, process.name)))
        return Final.of(key, process.name, stored)

    def place(self, key: bytes, node: NodeId) -> Place:
        """Where a key lies on one of its owners."""
        copy = Copy(self._world.partition(key), self._world.row(key).copy_epoch_of(node))
        return Place(copy, DEFAULT_KEYSPACE, key)


def _is_flushing(node: Node) -> bool:
    return node.replica.engine.stats().sealed_memtables > 0
