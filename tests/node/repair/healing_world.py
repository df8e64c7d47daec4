"""Whole nodes of the production composition on simulated disks, to be damaged while they are down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring import topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.objects import StoredObject
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions
from ringmill.node.assembly import Node
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.requests.request_values import ReadRequest, WriteRequest
from ringmill.node.storage.log.log_format import BatchGroup, read_log
from ringmill.node.storage.names import parse_name
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.patching import function, patched
from ringmill.simulator.run import quiet
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import draw_tunables
from ringmill.simulator.world.world import DEFAULT_KEYSPACE, World

__all__ = ["HealingWorld", "registers_at", "run"]

T = TypeVar("T")


class HealingWorld:
    """Three nodes, or more; `inside` runs work as part of a node."""

    def __init__(
        self,
        nodes: int = 3,
        seed: int = 1,
        purge: PurgeOptions | None = None,
        keyspaces: Sequence[KeyspaceEntry] = (),
    ) -> None:
        drawn = draw_tunables(stream(seed, "tunables"))
        storage = replace(drawn.node.storage, memtable_bytes=1 << 16)
        node = replace(drawn.node, storage=storage, purge=purge or drawn.node.purge)
        tunables = replace(drawn, node=node)
        self.world = World(seed, SimulationOptions(nodes=nodes), tunables)
        self.world.keyspaces += keyspaces

    def __getitem__(self, name: str) -> Node:
        node = self.world.nodes[name].node
        assert node is not None, f"{name} is not up"
        return node

    async def inside(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await self.world.nodes[name].inside(work)

    async def put(self, name: str, key: bytes, value: bytes, level: str = "") -> None:
        request = WriteRequest("", key, value, WriteOptions(level))
        await self.inside(name, self[name].requests.write(request))

    async def delete(self, name: str, key: bytes, level: str = "") -> None:
        request = WriteRequest("", key, None, WriteOptions(level))
        await self.inside(name, self[name].requests.write(request))

    async def get(self, name: str, key: bytes, level: str = "") -> list[bytes | None]:
        found = await self.inside(name, self[name].requests.get(ReadRequest("", key, ReadOptions(level))))
        return [sibling.value for sibling in found.siblings]

    async def held(self, name: str, key: bytes) -> StoredObject:
        copy = Copy(self.world.partition(key), self.world.row(key).copy_epochs[0])
        return await self.inside(name, self[name].replica.objects.read(Place(copy, DEFAULT_KEYSPACE, key)))

    async def down(self, name: str) -> None:
        await self.world.nodes[name].stop()

    async def up(self, name: str) -> Node:
        """Start it; with others there to confirm the start, it serves then."""
        others = [node for each, node in self.world.nodes.items() if each != name]
        self.world.nodes[name].start()
        node = await self.world.nodes[name].up()
        if any(other.is_running for other in others):
            await self.inside(name, node.membership.topology.wait_formed())
        return node

    def damage(self, name: str, suffixes: Sequence[str], *, every: int = 1, at: float = 0.5) -> int:
        """Flip a bit in every file of the store whose name ends so; how many there were."""
        disk = self.world.nodes[name].disk
        disk.is_rotten = True
        names = [each for each in disk.lossy.list("/data/store") if each.endswith(tuple(suffixes))]
        paths = [path for path in (f"/data/store/{each}" for each in names) if disk.lossy.size(path)]
        for path in paths:
            disk.lossy.flip(path, int(disk.lossy.size(path) * at), 4)
        return len(paths)

    def damage_a_batch(self, name: str) -> None:
        """Flip a bit in one batch of every log, late in it: in a sync mark it would have no consequence."""
        disk = self.world.nodes[name].disk
        disk.is_rotten = True
        for each in disk.lossy.list("/data/store"):
            found = parse_name(each)
            if found is None or found.kind != "log":
                continue
            path = f"/data/store/{each}"
            data = disk.lossy.read_bytes(path)
            batches = [
                end
                for _, end, item in read_log(found.file_id, data)
                if isinstance(item, BatchGroup) and end < len(data) * 0.8
            ]
            assert batches, f"{each} holds no batch to be lost"
            disk.lossy.flip(path, batches[-1] - 1, 4)


@contextmanager
def registers_at(space: KeyspaceId) -> Iterator[None]:
    """Clusters that are formed within have the keyspace `registers` under this id."""
    first = topology._first_keyspaces

    def keyspaces(n: int, r: int, w: int) -> tuple[KeyspaceEntry, ...]:
        default, registers = first(n, r, w)
        return default, replace(registers, id=space)

    with patched(function(topology, first, keyspaces)):
        yield


def run(
    story: Callable[[HealingWorld], Awaitable[None]],
    *,
    nodes: int = 3,
    seed: int = 1,
    purge: PurgeOptions | None = None,
    keyspaces: Sequence[KeyspaceEntry] = (),
    forms: Callable[[HealingWorld], Awaitable[None]] | None = None,
) -> None:
    """Form a cluster, tell the story, and require that no node met a bug."""
    with quiet():
        _run(HealingWorld(nodes, seed, purge, keyspaces), story, forms)  # nobody here keeps the world


def _run(
    world: HealingWorld,
    story: Callable[[HealingWorld], Awaitable[None]],
    forms: Callable[[HealingWorld], Awaitable[None]] | None,
) -> None:
    async def told() -> None:
        await (world.world.form() if forms is None else forms(world))
        await story(world)

    try:
        world.world.loop.run_until_complete(told())
        assert not world.world.bugs(), world.world.bugs()
    finally:
        world.world.loop.drop_everything()
