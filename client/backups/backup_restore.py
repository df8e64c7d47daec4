"""Brings what a backup holds into the present cluster, to all owners of each key.

Nothing is written before all tables were read and their hashes fit, all members answer, and the keyspaces
are known to be empty.  Rules B4 and B5: docs/protocol/backups.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol, cast

from ringmill.client.administration.keyspaces import KeyspaceInfo
from ringmill.client.arguments import Durability
from ringmill.client.backups.backup_calls import BackupCalls, DialBackup, ask_again
from ringmill.client.backups.backup_manifest import BackupManifest
from ringmill.client.backups.backup_progress import BackupProgress, BytePace
from ringmill.cluster.errors import (
    Conflict,
    DeadlineExceeded,
    Overloaded,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.gathering import first_error, gather_all
from ringmill.cluster.ids import KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import majority
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.cluster.wire.stubs.backup_pb2 import BringObjectsRequest, BringRegistersRequest, LookResponse

__all__ = ["BackupRow", "KeyspaceMaker", "restore_backup", "restored_levels", "wanted_keyspaces"]

PARTITION_BYTES: Final = 256 << 10
"""Brought to the owners of a partition at a time."""
REGISTERS: Final = 200
"""The most registers in one request; each takes a round of its owners."""
HELD_BYTES: Final = 32 << 20
"""Held in all, of partitions that are not full yet."""
_AT_ONCE: Final = 4
_TRIES: Final = 20
_ITEM_BYTES: Final = 64  # beside its key and value
_PASSING: Final = (Unavailable, DeadlineExceeded, Overloaded, WrongEpoch)


class BackupRow(NamedTuple):
    """`keyspace` is the id that the keyspace had in the backup; `value` an object or a register."""

    keyspace: KeyspaceId
    key: bytes
    value: bytes


class KeyspaceMaker(Protocol):
    """The keyspaces of the present cluster (client/administration/keyspaces.py)."""

    async def create(
        self, name: str, *, kind: str, policy: str, r: int | None, w: int | None,
        ttl: float | None, durability: Durability, quorum: Literal["strict", "sloppy"],
    ) -> KeyspaceInfo: ...  # fmt: skip

    async def alter(self, name: str, *, ttl: float | None, durability: Durability) -> KeyspaceInfo: ...


def wanted_keyspaces(manifest: BackupManifest, names: Collection[str]) -> list[KeyspaceEntry]:
    """The keyspaces of the backup, or the named ones.  Raises InvalidArgument for one that is not in it."""
    document = manifest.topology
    return [document.keyspace_named(name) for name in dict.fromkeys(names)] or list(document.keyspaces)


async def restore_backup(
    manifest: BackupManifest,
    wanted: Sequence[KeyspaceEntry],
    rows: AsyncIterator[list[BackupRow]],
    dial: DialBackup,
    keyspaces: KeyspaceMaker,
    topology: Callable[[], Topology],
    *,
    check_tables: Callable[[], Awaitable[None]],
    is_resumed: bool,
    clock: Clock,
    pace: BytePace,
    progress: BackupProgress,
) -> None:
    """Make the wanted keyspaces and bring all rows, which are of these, to the owners of their keys; durable
    there on return.

    `topology` gives the newest document that is known; `check_tables` is called before anything is changed,
    once nothing else is in the way.  With `is_resumed` keyspaces may hold something: what an interrupted
    restore has brought.  Raises Conflict for keyspaces that do, or have other settings, for nodes that still
    run in the start of the backup, and while partitions move; Unavailable for a member that is down; what the
    tables and rows raise.
    """
    async with AsyncExitStack() as links:
        members = {
            member.id: BackupCalls(member, await links.enter_async_context(dial(member.address)))
            for member in topology().members
        }
        names = [each.name for each in wanted]
        looks = await gather_all(calls.look(names) for calls in members.values())
        _check_starts(manifest, looks, clock)
        if topology().is_moving:
            raise Conflict("partitions move: nothing is restored meanwhile", hint="`ringmill cluster moves`")
        if not is_resumed:
            _check_empty(looks)
        await check_tables()
        await _make_keyspaces(wanted, manifest.topology.n, topology(), keyspaces)
        bringing = _Bringing(topology(), members, wanted, pace, progress)
        then, progress.partitions = manifest.topology, manifest.topology.partitions
        try:
            async with asyncio.TaskGroup() as group:
                bringing.start = group.create_task
                async for several in rows:
                    for row in several:
                        await bringing.take(row)
                        progress.partition = then.partition_of(row.keyspace, row.key)
                await bringing.end()
        except BaseExceptionGroup as failed:
            raise first_error(failed) from failed


def _check_starts(manifest: BackupManifest, looks: list[LookResponse], clock: Clock) -> None:
    """A node that has not been restarted since the backup would give its next writes names that restored
    objects cover (rule V8).  Of a member that the backup was made without, the time tells."""
    starts = {(node.disk, node.boot) for node in manifest.nodes}
    unread = {str(member.disk) for member in manifest.topology.members} - {
        node.disk for node in manifest.nodes
    }
    since_ms = clock.wall() * 1000 - manifest.ended_ms
    left_out = [look for look in looks if look.disk in unread]
    if left_out and since_ms < 0:
        raise Conflict(
            f"the clock of this machine is {-since_ms / 1000:.0f} s behind the end of the backup: nothing "
            f"tells whether these nodes were restarted since: {_names(left_out)}",
            hint="set the clock, or restore from a machine whose clock is right",
        )
    same = [look for look in looks if (look.disk, look.boot) in starts]
    same += [look for look in left_out if look.up_ms > since_ms]
    if same:
        raise Conflict(
            f"these nodes have not been restarted since the backup was made: {_names(same)}",
            hint="restart them first, one after another: `ringmill cluster restart --rolling`",
        )
    if untold := [look for look in left_out if not look.up_ms]:
        raise Conflict(
            "the backup was made without these nodes, and they run an earlier release, which does not tell "
            f"how long it has been running: {_names(untold)}",
            hint="restart them with this release first: `ringmill cluster restart --rolling`",
        )


def _names(looks: Sequence[LookResponse]) -> str:
    return ", ".join(sorted(look.node for look in looks))


def _check_empty(looks: list[LookResponse]) -> None:
    found = {name: look.node for look in looks for name in look.holding}
    if found:
        where = ", ".join(f"{name} on {node}" for name, node in sorted(found.items()))
        raise Conflict(
            f"keyspaces that the backup holds are not empty here: {where} (deleted keys count)",
            hint="restore into a new cluster, or drop the keyspace first; --resume goes on with a restore "
            "that was interrupted",
        )


async def _make_keyspaces(
    wanted: Sequence[KeyspaceEntry], then_n: int, now: Topology, keyspaces: KeyspaceMaker
) -> None:
    """Raises Conflict when one exists with another kind or policy."""
    for each in wanted:
        if not now.has_keyspace(each.name):
            r, w = restored_levels(each.r, each.w, then_n, now.n)
            await keyspaces.create(
                each.name,
                kind=each.kind,
                policy=each.policy,
                r=r,
                w=w,
                ttl=each.ttl_ms / 1000 or None,
                durability=cast("Durability", each.durability),
                quorum="sloppy" if each.is_sloppy else "strict",
            )
            continue
        present = now.keyspace_named(each.name)
        if _nature(present) != _nature(each):
            raise Conflict(
                f"keyspace {each.name} is one of {' '.join(_nature(present))}, and in the backup of "
                f"{' '.join(_nature(each))}",
                hint="drop it first",
            )
        if (present.ttl_ms, present.durability) != (each.ttl_ms, each.durability):
            await keyspaces.alter(
                each.name, ttl=each.ttl_ms / 1000, durability=cast("Durability", each.durability)
            )


def _nature(entry: KeyspaceEntry) -> tuple[str, str, str]:
    return entry.kind, entry.policy, entry.quorum


def restored_levels(r: int, w: int, then_n: int, now_n: int) -> tuple[int | None, int | None]:
    """The r and w of a keyspace for another number of replicas; None for a majority.

    A majority stays one, all stay all, another level is at most their number.  Where each read met each
    acknowledged write it still does: else w is raised, as levels cannot be changed later.
    """

    def scaled(level: int) -> int:
        if level == majority(then_n):
            return majority(now_n)
        return now_n if level == then_n else min(level, now_n)

    new_r, new_w = scaled(r), scaled(w)
    if r + w > then_n:
        new_w = max(new_w, now_n - new_r + 1)
    most = majority(now_n)
    return None if new_r == most else new_r, None if new_w == most else new_w


class _Waiting:
    """What is to be brought of one keyspace to one partition."""

    __slots__ = ("keys", "size_bytes", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        self.size_bytes = 0


class _Bringing:
    """Gathers rows by partition, and brings each to all of its owners."""

    def __init__(
        self,
        topology: Topology,
        members: dict[NodeId, BackupCalls],
        wanted: Sequence[KeyspaceEntry],
        pace: BytePace,
        progress: BackupProgress,
    ) -> None:
        self._topology = topology
        self._members = members
        self._now = {entry.id: topology.keyspace_named(entry.name) for entry in wanted}
        self._pace = pace
        self._progress = progress
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting: dict[tuple[KeyspaceId, PartitionId], _Waiting] = {}
        self._held_bytes = 0
        self.start: Callable[[Coroutine[Any, Any, None]], object]

    async def take(self, row: BackupRow) -> None:
        keyspace = self._now[row.keyspace]
        place = keyspace.id, self._topology.partition_of(keyspace.id, row.key)
        waiting = self._waiting.setdefault(place, _Waiting())
        waiting.keys.append(row.key)
        waiting.values.append(row.value)
        size = len(row.key) + len(row.value) + _ITEM_BYTES
        waiting.size_bytes += size
        self._held_bytes += size
        is_many = keyspace.kind == "registers" and len(waiting.keys) >= REGISTERS
        if waiting.size_bytes >= PARTITION_BYTES or is_many:
            await self._send(place)
        elif self._held_bytes >= HELD_BYTES:
            await self.end()

    async def end(self) -> None:
        """Send all that is held."""
        for place in list(self._waiting):
            await self._send(place)

    async def _send(self, place: tuple[KeyspaceId, PartitionId]) -> None:
        waiting = self._waiting.pop(place)
        self._held_bytes -= waiting.size_bytes
        await self._pace.spend(waiting.size_bytes)
        await self._turns.acquire()
        self.start(self._bring(self._topology.keyspace(place[0]), place[1], waiting))

    async def _bring(self, keyspace: KeyspaceEntry, partition: PartitionId, waiting: _Waiting) -> None:
        try:
            if keyspace.kind == "registers":
                await self._bring_registers(keyspace.name, partition, waiting)
                self._progress.registers += len(waiting.keys)
            else:
                await self._bring_objects(keyspace.name, partition, waiting)
                self._progress.objects += len(waiting.keys)
            self._progress.done_bytes += waiting.size_bytes
            self._progress.step()
        finally:
            self._turns.release()

    async def _bring_objects(self, keyspace: str, partition: PartitionId, waiting: _Waiting) -> None:
        request = BringObjectsRequest(
            epoch=self._topology.epoch,
            partition=partition,
            keyspace=keyspace,
            keys=waiting.keys,
            objects=waiting.values,
        )
        owners = [self._members[node] for node in self._topology.owners(partition)]
        await gather_all(_patiently(partial(each.bring_objects, request)) for each in owners)

    async def _bring_registers(self, keyspace: str, partition: PartitionId, waiting: _Waiting) -> None:
        request = BringRegistersRequest(keyspace=keyspace, keys=waiting.keys, registers=waiting.values)
        owner = self._members[self._topology.owners(partition)[0]]
        await _patiently(partial(owner.bring_registers, request))


async def _patiently(ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Ask again after errors that may pass: to bring something twice changes nothing."""
    try:
        await ask_again(ask, _TRIES, _PASSING)
    except _PASSING as error:
        raise _restore_error(error) from error


def _restore_error(error: RingmillError) -> RingmillError:
    node = error.detail.get("node", "a node")
    return Unavailable(
        f"{node} does not take what is restored: {error.message}",
        detail=dict(error.detail),
        hint="all members have to be up; run the restore again with --resume",
        outcome="unknown",
    )
