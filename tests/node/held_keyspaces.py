"""Keyspaces in memory, in place of those of a cluster (node/contracts.py, KeyspaceAccess)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from ringmill.cluster.errors import InvalidArgument, NotFound, RingmillError
from ringmill.cluster.ids import DiskId, KeyspaceId, NodeId
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.files.keyspace_records import Content
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.ring.hashing import partition_of, position
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry, Member
from ringmill.cluster.versions.objects import OperationId

__all__ = ["HeldKeyspaces"]

PARTITIONS = 16


class HeldKeyspaces:
    """Shared by the nodes of a test.  `errors` are raised by the next puts, one each, after they are done if
    their outcome is unknown.
    """

    def __init__(self, **policies: str) -> None:
        names = {"default": "siblings", **policies}
        self.entries = {
            name: KeyspaceEntry(KeyspaceId(1, at), name, policy=policy)
            for at, (name, policy) in enumerate(names.items())
        }
        self.held: dict[str, dict[bytes, Content]] = {name: {} for name in names}
        self.puts: list[tuple[bytes, OperationId, bool]] = []
        self.errors: list[RingmillError] = []
        self.change_errors: list[RingmillError] = []
        self.page_keys = 3
        self.snapshots: dict[str, dict[str, dict[bytes, Content]]] = {}
        self.kept: list[str] = []
        self.released: list[str] = []
        members = [Member(NodeId(f"n{n}"), DiskId(f"{n:032x}"), f"h:{n}") for n in range(1, 4)]
        self._document = first_topology("held", members, partitions=PARTITIONS)

    async def find(self, name: str) -> tuple[KeyspaceEntry, range]:
        if name not in self.entries:
            raise InvalidArgument(f"there is no keyspace {name!r}")
        return self.entries[name], range(PARTITIONS)

    async def read(
        self, source: KeyspacePath, span: PartitionSpan, level: str, patience_s: float
    ) -> AsyncGenerator[Sequence[tuple[bytes, Content]], None]:
        if source.keyspace not in self.entries:
            raise NotFound(f"keyspace {source.keyspace!r} is there no more")
        if span.snapshot and span.snapshot not in self.snapshots:
            raise NotFound(f"snapshot {span.snapshot} cannot be read any more")
        shown = self.snapshots[span.snapshot] if span.snapshot else self.held
        id, held = self.entries[source.keyspace].id, shown[source.keyspace]
        placed = sorted((partition_of(position(id, key), PARTITIONS), key) for key in held)
        page: list[tuple[bytes, Content]] = []
        for partition, key in placed:
            if span.first <= partition <= span.last and key.startswith(source.prefix):
                page.append((key, held[key]))
            if len(page) == self.page_keys:
                yield page
                page = []
        yield page

    async def hold_snapshot(self, name: str, keyspace: KeyspaceEntry) -> int:
        self.snapshots[name] = {each: dict(held) for each, held in self.held.items()}
        return self.now_ms()

    async def keep_snapshot(self, name: str) -> None:
        self.kept.append(name)

    async def release_snapshot(self, name: str) -> None:
        self.released.append(name)
        self.snapshots.pop(name, None)

    async def put(
        self,
        keyspace: str,
        wanted: KeyspaceId,
        key: bytes,
        value: bytes,
        operation: OperationId,
        *,
        is_again: bool,
    ) -> None:
        if self.entries[keyspace].id != wanted:
            raise NotFound(f"keyspace {keyspace!r} was dropped, and another one has its name")
        error = self.errors.pop(0) if self.errors else None
        if error is None or error.outcome == "unknown":
            self.held[keyspace][key] = [value]
        self.puts.append((key, operation, is_again))
        if error is not None:
            raise error

    async def change(self, change: Callable[[Topology], Topology | None], within_s: float) -> Topology:
        """As a document of one member says it; what a keyspace holds goes with its id."""
        present = replace(self._document, keyspaces=tuple(self.entries.values()))
        error = self.change_errors.pop(0) if self.change_errors else None
        if error is not None and error.outcome == "failed":
            raise error
        made = change(present) or present
        by_id = {entry.id: self.held[name] for name, entry in self.entries.items()}
        self.entries = {entry.name: entry for entry in made.keyspaces}
        self.held = {entry.name: by_id.get(entry.id, {}) for entry in made.keyspaces}
        self._document = made
        if error is not None:
            raise error
        return made

    def now_ms(self) -> int:
        return 1_700_000_000_000 + len(self.puts)
