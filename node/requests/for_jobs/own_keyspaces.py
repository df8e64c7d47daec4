"""Keyspaces for the jobs of this node: pages of records, and puts under names that the job has given.

What a job reads is what a scan shows (rules L1 to L5), and what it writes is written as a client's put (rules
W1 to W6).  Rules J15 and J18: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    QuorumNotReached,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath
from ringmill.cluster.mapreduce.files.keyspace_records import Content
from ringmill.cluster.mapreduce.files.splits import PartitionSpan
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, millis
from ringmill.cluster.versions.mergeable import count_of, elements_of, entries_of
from ringmill.cluster.versions.objects import OperationId, Sibling
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, encode_cursor
from ringmill.node.contracts import TopologyChanges
from ringmill.node.replica.routes import Routes
from ringmill.node.requests.for_jobs.job_snapshots import SNAPSHOT_LEVEL, JobSnapshots
from ringmill.node.requests.request_values import ANY_EPOCH, WriteRequest
from ringmill.node.requests.scans.scan_values import HeldAt, ScanRequest, ScanResult
from ringmill.node.requests.scans.scanner import Scanner
from ringmill.node.requests.write import Writer

__all__ = ["OwnKeyspaces"]

FIND_S = 2.0
PAGE_S = 10.0
PUT_S = 10.0
_AGAIN_S = 0.5


class OwnKeyspaces:
    """A KeyspaceAccess (node/contracts.py)."""

    def __init__(
        self,
        *,
        routes: Routes,
        scanner: Scanner,
        writer: Writer,
        hybrid: HybridClock,
        clock: Clock,
        changes: TopologyChanges,
        snapshots: JobSnapshots,
    ) -> None:
        self._routes = routes
        self._scanner = scanner
        self._writer = writer
        self._hybrid = hybrid
        self._clock = clock
        self._changes = changes
        self._snapshots = snapshots

    async def find(self, name: str) -> tuple[KeyspaceEntry, range]:
        topology, keyspace = await self._routes.objects_named(name, ANY_EPOCH, FIND_S)
        return keyspace, range(topology.partitions)

    async def read(
        self, source: KeyspacePath, span: PartitionSpan, level: str, patience_s: float
    ) -> AsyncGenerator[Sequence[tuple[bytes, Content]], None]:
        wanted, bounds = KeyspaceId(*span.keyspace), ScanBounds(source.prefix)
        snapshot = HeldAt(span.snapshot, span.at_ms) if span.snapshot else None
        cursor = encode_cursor(ScanCursor(wanted, PartitionId(span.first), source.prefix, bounds))
        while cursor:
            keyspace = await self._found(source.keyspace, wanted)
            request = ScanRequest(
                source.keyspace,
                cursor=cursor,
                options=ReadOptions(SNAPSHOT_LEVEL if level == "snapshot" else level, PAGE_S),
                until=PartitionId(span.last),
                snapshot=snapshot,
            )
            page = await self._patiently(request, patience_s)
            cursor = page.cursor
            yield [(item.key, _content(keyspace.policy, item.siblings)) for item in page.items]

    async def hold_snapshot(self, name: str, keyspace: KeyspaceEntry) -> int:
        return await self._snapshots.hold(name, keyspace)

    async def keep_snapshot(self, name: str) -> None:
        await self._snapshots.keep(name)

    async def release_snapshot(self, name: str) -> None:
        await self._snapshots.release(name)

    async def _patiently(self, request: ScanRequest, patience_s: float) -> ScanResult:
        ends_at = self._clock.monotonic() + patience_s
        while True:
            try:
                return await self._scanner.page(request)
            except (QuorumNotReached, DeadlineExceeded, Unavailable, WrongEpoch):
                if self._clock.monotonic() >= ends_at:
                    raise
                await asyncio.sleep(_AGAIN_S)

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
        await self._found(keyspace, wanted)  # another one of its name is not to have what was meant for it
        request = WriteRequest(keyspace, key, value, WriteOptions(timeout_s=PUT_S), operation, wanted=wanted)
        try:
            await self._writer.write(request._replace(attempt=int(is_again)))
        except DeadlineExceeded as error:
            earlier = error.detail.get("earlier")
            if earlier is None:
                raise
            sometimes("a record that was put before is found, and put no more")
            if earlier == "unknown":  # a record that is put twice can be put right, one that is lost cannot
                await self._found(keyspace, wanted)
                await self._writer.write(request)

    async def change(self, change: Callable[[Topology], Topology | None], within_s: float) -> Topology:
        made = await self._changes.change(lambda topology, _: change(topology), within_s)
        return made.topology

    def now_ms(self) -> int:
        return millis(self._hybrid.now())

    async def _found(self, name: str, wanted: KeyspaceId) -> KeyspaceEntry:
        """Raises NotFound when the keyspace has been dropped, also if another one has its name."""
        try:
            keyspace, _ = await self.find(name)
        except InvalidArgument as error:
            raise NotFound(f"keyspace {name!r} is there no more") from error
        if keyspace.id != wanted:
            raise NotFound(f"keyspace {name!r} was dropped, and another one has its name")
        return keyspace


def _content(policy: str, newest_first: Sequence[Sibling]) -> Content:
    values = [sibling.value for sibling in newest_first if sibling.value is not None]
    match policy:
        case "counter":
            return count_of(values)
        case "set":
            return elements_of(values)
        case "map":
            return entries_of(values)
        case _:
            return values
