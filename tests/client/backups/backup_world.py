"""Backups of clusters in one process: real services on simulated nodes, and a store on a simulated disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from google.protobuf.message import Message

from ringmill.client.administration.keyspaces import KeyspaceInfo
from ringmill.client.backups.backup_calls import BackupLink
from ringmill.client.backups.backup_creation import create_backup
from ringmill.client.backups.backup_manifest import BackedNode, BackupManifest
from ringmill.client.backups.backup_progress import BackupProgress, BytePace
from ringmill.client.backups.backup_restore import BackupRow, restore_backup, wanted_keyspaces
from ringmill.client.backups.backup_store import BackupStore
from ringmill.cluster.access.raw_tokens import TOKEN_KEY
from ringmill.cluster.consensus.remains import holds_own
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.topology import KeyspaceEntry
from ringmill.cluster.wire.stubs.backup_pb2 import LookResponse, PinResponse
from ringmill.node.assembly import Node
from ringmill.node.backups.merged_rows import CopiedNode, WantedKeyspace, merged_rows
from ringmill.node.service_tables import service_tables
from ringmill.node.services.table import Call, Unary
from ringmill.node.storage.names import table_name
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.seeds import SeededEntropy
from ringmill.simulator.world.services import PROCESS, TOKEN
from tests.node.repair.healing_world import HealingWorld

__all__ = ["BackedWorld", "methods_of", "of_the_release_before", "read_rows"]

Answer = TypeVar("Answer", bound=Message)


class BackedWorld:
    """`asked` is called with a node and a method before each call, and may raise; `told` with the node and
    its answer, and may change it."""

    def __init__(self, world: HealingWorld, disk: LossyDisk) -> None:
        self.world = world
        self.store = BackupStore(disk, "backups", SeededEntropy(1, "backups"))
        self.asked: Callable[[str, str], None] = lambda node, method: None
        self.told: Callable[[str, Message], None] = lambda node, answer: None
        self.progress = BackupProgress()
        self.pace = BytePace()

    async def create(self, name: str) -> BackupManifest:
        self.progress = BackupProgress()
        return await create_backup(
            self.world.world.topology,
            self._dial,
            self.store,
            name,
            clock=SimulatedClock(self.world.world.loop),
            pace=self.pace,
            progress=self.progress,
        )

    async def restore(
        self, manifest: BackupManifest, *keyspaces: str, is_resumed: bool = False
    ) -> BackupProgress:
        progress = BackupProgress()
        wanted = wanted_keyspaces(manifest, keyspaces)
        await restore_backup(
            manifest,
            wanted,
            read_rows(self.store, manifest, wanted),
            self._dial,
            KeyspacesOf(self),
            lambda: self.world.world.topology,
            check_tables=self._check_tables,
            is_resumed=is_resumed,
            clock=SimulatedClock(self.world.world.loop),
            pace=BytePace(),
            progress=progress,
        )
        return progress

    async def _check_tables(self) -> None:
        """They are read one after another here."""

    async def create_keyspace(self, new: NewKeyspace) -> None:
        name = next(name for name, each in self.world.world.nodes.items() if each.is_running)
        change = self.world[name].membership.epochs.change(lambda topology, _: created(topology, new), 10.0)
        await self.world.inside(name, change)

    @asynccontextmanager
    async def _dial(self, address: str) -> AsyncIterator[BackupLink]:
        yield _Link(self, self.world.world.addresses[address])


class KeyspacesOf:
    """The keyspaces of a world, as a restore uses them."""

    def __init__(self, backed: BackedWorld) -> None:
        self._backed = backed

    async def create(
        self, name: str, *, kind: str, policy: str, r: int | None, w: int | None,
        ttl: float | None, durability: Any, quorum: str,
    ) -> KeyspaceInfo:  # fmt: skip
        new = NewKeyspace(
            name, kind=kind, policy=policy, r=r or 0, w=w or 0,
            ttl_ms=round((ttl or 0) * 1000), durability=durability, quorum=quorum,
        )  # fmt: skip
        await self._backed.create_keyspace(new)
        return KeyspaceInfo(name, kind, policy, r or 0, w or 0, ttl or 0.0, durability, quorum, 0, 0)

    async def alter(self, name: str, *, ttl: float | None, durability: Any) -> KeyspaceInfo:
        raise AssertionError("the keyspaces of a new cluster have the usual settings")


def methods_of(node: Node) -> dict[str, Unary]:
    """Of a node's service of backups."""
    (service,) = [each for each in service_tables(node, PROCESS) if each.name == "ringmill.v1.Backup"]
    return {name: method for name, method in service.methods.items() if isinstance(method, Unary)}


class _Link:
    def __init__(self, backed: BackedWorld, node: str) -> None:
        self._backed = backed
        self._node = node

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        method, process = path.rpartition("/")[2], self._backed.world.world.nodes[self._node]
        self._backed.asked(self._node, method)
        if process.node is None or not process.is_running:
            raise Unavailable(f"{self._node} is down")
        served = methods_of(process.node)[method]
        call = Call(timeout_s, {TOKEN_KEY: TOKEN})

        async def answered() -> bytes:
            return await served.run(request.SerializeToString(), call)

        told = answer.FromString(await process.inside(answered()))
        self._backed.told(self._node, told)
        return told


def of_the_release_before(told: Message) -> None:
    """It tells neither how long it runs nor whether it keeps a former copy."""
    look = told.node if isinstance(told, PinResponse) else told
    if isinstance(look, LookResponse):
        look.ClearField("up_ms")
        look.ClearField("is_owing")


async def read_rows(
    store: BackupStore,
    manifest: BackupManifest,
    wanted: Sequence[KeyspaceEntry],
    nodes: Sequence[BackedNode] | None = None,
) -> AsyncIterator[list[BackupRow]]:
    """As the program does it that a restore starts, from the tables of all nodes or of these."""
    files, sources = store.files, []
    for node in manifest.nodes if nodes is None else nodes:
        folder = f"read/{manifest.name}/{node.node}"
        files.mkdir(folder)
        for table in node.tables:
            path = f"{folder}/{table_name(table.file)}"
            if files.exists(path):
                continue
            file = files.create(path)
            async for piece in store.read_table(table):
                file.append(piece)
            file.close()
        copies = node.copies(manifest.topology)
        sources.append(CopiedNode(folder, node.edit, node.sequence, copies, not node.lacks_hints))
    keyspaces = [WantedKeyspace(each.id, each.kind, each.is_sloppy, holds_own(each)) for each in wanted]
    async with aclosing(merged_rows(files, sources, keyspaces, manifest.topology.partitions)) as rows:
        async for row in rows:
            yield [BackupRow(*row)]
