"""Watches whether fallbacks keep what they have counted for: on their disk, until the owner has it.

A look asks the fallback first and the owner then.  So what has been delivered meanwhile is found there.
Once the owners are others than those of the receipt, a hint may have gone to any of them (rules H1 and M6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.versions.dots import parse_dot
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.node.assembly import Node
from ringmill.node.replica.stored_key import Copy, HintKey, Place
from ringmill.simulator.subjects.sloppy.record import SloppyCall
from ringmill.simulator.subjects.sloppy.workload import KEYS, SPACE
from ringmill.simulator.world.node_process import NodeProcess
from ringmill.simulator.world.world import World

__all__ = ["Keepers"]

_PATIENCE_S: Final = 2.0
T = TypeVar("T")


class Keepers:
    def __init__(self, world: World, calls: Sequence[SloppyCall]) -> None:
        self._world = world
        self._calls = calls
        self.keyspace = next(space.id for space in world.keyspaces if space.name == SPACE)
        self.broken: dict[tuple[str, str, str], SloppyCall] = {}
        """By dot, fallback and owner: writes that neither of the two holds, though the fallback counted."""
        self._rows: dict[PartitionId, dict[Epoch, Row]] = {}
        world.on_topology.append(self._note)

    def owners(self, key: bytes) -> tuple[NodeId, ...]:
        topology = self._world.topology
        return topology.owners(self._partition(key))

    def row_of(self, call: SloppyCall) -> Row:
        """The row under which a write was acknowledged."""
        rows = self._rows[self._partition(call.key)]
        return rows[max(epoch for epoch in rows if epoch <= call.epoch)]

    def owners_ever(self, key: bytes) -> set[str]:
        """All who have owned a key or joined its owners in this run."""
        return {node for row in self._rows.get(self._partition(key), {}).values() for node in row.nodes}

    def _partition(self, key: bytes) -> PartitionId:
        return self._world.topology.partition_of(self.keyspace, key)

    def _note(self, _: str, topology: Topology) -> None:
        for number in sorted({topology.partition_of(self.keyspace, key) for key in KEYS}):
            row = topology.rows[number]
            self._rows.setdefault(number, {})[row.row_epoch] = row

    async def check_promises(self) -> None:
        for call in [each for each in self._calls if each.is_acked]:
            for ack in call.replicas:
                if ack.role == "fallback" and await self._find_missing(call, ack.node, ack.stands_for):
                    self.broken.setdefault((call.dot, ack.node, ack.stands_for), call)

    async def held_by(self, name: str, key: bytes) -> tuple[bytes, ...] | None:
        """The values that an owner holds; None when it cannot be asked."""
        process = self._world.nodes[name]
        if self._is_in_doubt(process) or process.node is None:
            return None
        stored = await self._ask(process, process.node.replica.objects.read(self._place(key, process.name)))
        return None if stored is None else tuple(each.value for each in stored.siblings if each.value)

    async def _find_missing(self, call: SloppyCall, fallback: str, owner: str) -> bool:
        """Ask all nodes that may have the write by now.  Returns whether all answered and none has it."""
        dot, row = parse_dot(call.dot), self._world.topology.row(self._partition(call.key))
        is_same = row.row_epoch <= call.epoch
        holders = [owner] if is_same else row.nodes
        for name, read in ((fallback, self._read_hint), *((each, self._read_copy) for each in holders)):
            process = self._world.nodes[name]
            if self._is_in_doubt(process):
                return False
            node = process.node
            if node is None:
                return False
            encoded = await self._ask(process, read(node, call.key))
            if encoded is None:
                return False
            if encoded and decode_object(encoded).context.covers(dot):
                return False
        return True

    def _is_in_doubt(self, process: NodeProcess) -> bool:
        """Its disk was changed behind its back, or it does not run."""
        return process.disk.is_rotten or not process.is_running or process.name in self._world.ground.apart

    async def _read_hint(self, node: Node, key: bytes) -> bytes:
        partition = self._world.topology.partition_of(self.keyspace, key)
        hint = await node.replica.hints.get(HintKey(partition, self.keyspace, key))
        return b"" if hint is None else hint.encoded

    async def _read_copy(self, node: Node, key: bytes) -> bytes:
        return await node.replica.objects.read_synced(self._place(key, node.core.node))

    def _place(self, key: bytes, node: NodeId) -> Place:
        topology = self._world.topology
        partition = topology.partition_of(self.keyspace, key)
        return Place(Copy(partition, topology.row(partition).copy_epoch_of(node)), self.keyspace, key)

    async def _ask(self, process: NodeProcess, question: Coroutine[Any, Any, T]) -> T | None:
        """None when it is damaged, or has ended or stopped meanwhile."""
        task = process.inside(question)
        done, _ = await asyncio.wait([task], timeout=_PATIENCE_S)
        if not done or task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, RingmillError | OSError):
            return None
        raise error
