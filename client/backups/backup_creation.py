"""Makes a backup: pins the tables of all members at once, and copies those that are not there yet.

A member that does not answer, goes away meanwhile or cannot read a table is left out as long as the others
hold every write that a majority has acknowledged (backup_coverage.py).  Rules B1, B2 and B3:
docs/protocol/backups.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from ringmill.client.backups.backup_calls import BackupCalls, DialBackup
from ringmill.client.backups.backup_coverage import held_level, missing_members
from ringmill.client.backups.backup_manifest import BackedNode, BackedTable, BackupManifest
from ringmill.client.backups.backup_progress import BackupProgress, BytePace
from ringmill.client.backups.backup_store import BackupStore
from ringmill.cluster.errors import (
    Conflict,
    CorruptData,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PermissionDenied,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.stubs.backup_pb2 import LookResponse, PinResponse

__all__ = ["create_backup"]

T = TypeVar("T")
_TRIES: Final = 30
_WAITS_FOR_ALL: Final = 10  # attempts, until a member with an old topology is left out
_WAITS_FOR_OWED: Final = 25  # and one that keeps a former copy
_PAUSE_S: Final = 1.0
_OWES: Final = "still brings what a former copy alone may hold, see `ringmill cluster moves`"


@dataclass(frozen=True, slots=True)
class _Pinned:
    """`kept` asks about it from its beginning: other members may take long, and so may their tables."""

    calls: BackupCalls
    pin: PinResponse
    kept: asyncio.Future[None]


async def create_backup(
    topology: Topology,
    dial: DialBackup,
    store: BackupStore,
    name: str,
    *,
    clock: Clock,
    pace: BytePace,
    progress: BackupProgress,
) -> BackupManifest:
    """Make the backup `name`; `topology` tells whom to ask.

    Raises Conflict when there is one of that name, partitions move, or all members still bring former
    copies; Unavailable when too few members answer, or something is removed in every attempt;
    PermissionDenied without the token; OSError of the store.  Then it does not exist, and what was copied is
    used by the next attempt.
    """
    await store.check_free(name)
    async with AsyncExitStack() as links:
        members = [
            BackupCalls(member, await links.enter_async_context(dial(member.address)))
            for member in topology.members
        ]
        reasons: dict[str, str] = {}  # why a member is left out
        began_ms, pinned = await _pin_all(members, clock, reasons, links)
        try:
            document = _document(pinned)
            held_level(document, [_without_tables(each) for each in pinned], reasons)
            progress.untold = _untold(pinned)
            nodes = await _copy_tables(pinned, store, pace, progress, reasons)
            manifest = BackupManifest(
                name=name,
                began_ms=began_ms,
                ended_ms=round(clock.wall() * 1000),
                holds_w=held_level(document, nodes, reasons, progress.untold),
                missing=tuple(missing_members(document, nodes)),
                topology=document,
                nodes=tuple(nodes),
            )
            await store.check_free(name)
            await store.write(manifest)
        finally:
            await _unpin(pinned)
    return manifest


async def _pin_all(
    members: list[BackupCalls], clock: Clock, reasons: dict[str, str], links: AsyncExitStack
) -> tuple[int, list[_Pinned]]:
    """Pins between whose moments nothing was removed, and a moment before them (rule B2).

    Who had an older topology than others in each of the first attempts is left out, as one that is silent.
    Who keeps a former copy that is owed is waited for, then left out, too; Conflict when that would be all
    (rule B1).
    """
    always = {calls.member.id for calls in members}
    differing: dict[NodeId, str] = {}
    owing: list[NodeId] = []
    for attempt in range(_TRIES):
        began_ms = round(clock.wall() * 1000)
        looks = await _ask_all(members, lambda calls: calls.look([]), reasons)
        there = [calls for calls in members if calls.member.id in looks]
        pinned: list[_Pinned] = []
        try:
            await _ask_all(there, partial(_pin, pinned, links), reasons)
        except RingmillError:
            await _unpin(pinned)
            raise
        pinned.sort(key=lambda each: there.index(each.calls))
        if not pinned:
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise Unavailable(f"no member can be read ({why})", hint="see `ringmill cluster status`")
        behind = _behind(pinned)
        always &= behind.keys()
        if always and attempt >= _WAITS_FOR_ALL:
            left = {str(name): behind.pop(name) for name in always}
            pinned = await _without(pinned, left, reasons)
        owing = _owing(pinned)
        if attempt >= _WAITS_FOR_OWED and len(owing) < len(pinned):
            pinned = await _without(pinned, {str(name): _OWES for name in owing}, reasons)
            owing = []
        changed = [each for each in pinned if not _is_same(looks[each.calls.member.id], each.pin.node)]
        if not (changed or behind or owing):
            return began_ms, pinned
        differing = behind | {each.calls.member.id: "removed something or was restarted" for each in changed}
        await _unpin(pinned)
        await asyncio.sleep(_PAUSE_S)
    if not differing:
        raise Conflict(
            f"former copies at {', '.join(owing)} may hold what the owners lack, and no backup would have it",
            hint="`ringmill cluster moves` says what they wait for; run the backup again afterwards",
        )
    last_seen = "; ".join(f"{name} {why}" for name, why in differing.items())
    raise Unavailable(
        f"in each of {_TRIES} attempts a node removed something while the tables were pinned, or was "
        f"restarted, or the topology changed; at last {last_seen}",
        hint="hints are delivered to a node that is back, or deletes are forgotten: try again later",
    )


async def _without(
    pinned: Sequence[_Pinned], left: Mapping[str, str], reasons: dict[str, str]
) -> list[_Pinned]:
    """Give back the pins of `left`, and return the others."""
    reasons |= left
    await _unpin([each for each in pinned if each.calls.member.id in left])
    return [each for each in pinned if each.calls.member.id not in left]


async def _pin(pinned: list[_Pinned], links: AsyncExitStack, calls: BackupCalls) -> None:
    """Pin a member's tables, and add the pin to `pinned`: so it is known even if another member refuses.

    It is kept until its link is closed at most.
    """
    pin = await calls.pin()
    keeping = asyncio.ensure_future(_keep(calls, pin))
    links.callback(keeping.cancel)
    pinned.append(_Pinned(calls, pin, keeping))


async def _keep(calls: BackupCalls, pin: PinResponse) -> None:
    """Keep a pin by reading of its first table; one without tables is not kept."""
    for first in pin.tables[:1]:
        await calls.keep(pin.pin, first)


def _behind(pinned: Sequence[_Pinned]) -> dict[NodeId, str]:
    """The members pinned under another topology than the newest, and what that is."""
    newest = max((each.pin for each in pinned), key=lambda pin: pin.node.epoch)
    return {
        each.calls.member.id: f"has topology epoch {each.pin.node.epoch}, others {newest.node.epoch}"
        for each in pinned
        if each.pin.topology != newest.topology
    }


def _owing(pinned: Sequence[_Pinned]) -> list[NodeId]:
    """Who keeps a former copy that owners may lack something of; nobody while partitions move, as that ends
    the command."""
    if not pinned or Topology.decode(pinned[0].pin.topology).is_moving:
        return []
    return [each.calls.member.id for each in pinned if each.pin.node.is_owing]


def _untold(pinned: Sequence[_Pinned]) -> tuple[str, ...]:
    """The members that run a release that tells neither how long it runs nor whether it keeps a former
    copy."""
    return tuple(each.calls.member.id for each in pinned if not each.pin.node.up_ms)


async def _ask_all(
    members: Sequence[BackupCalls], ask: Callable[[BackupCalls], Awaitable[T]], reasons: dict[str, str]
) -> dict[NodeId, T]:
    """Ask all members; the answers of those that answer.  Raises PermissionDenied, Overloaded."""

    async def one(calls: BackupCalls) -> T | RingmillError:
        try:
            return await ask(calls)
        except RingmillError as error:
            reasons[calls.member.id] = error.message
            return error

    answers = await gather_all(map(one, members))
    for answer in answers:
        if isinstance(answer, PermissionDenied | Overloaded):
            raise answer
    return {
        calls.member.id: answer
        for calls, answer in zip(members, answers, strict=True)
        if not isinstance(answer, RingmillError)
    }


def _is_same(before: LookResponse, at_pin: LookResponse) -> bool:
    """Whether the same start of the node has removed nothing in between."""
    return (before.disk, before.boot, before.removals) == (at_pin.disk, at_pin.boot, at_pin.removals)


async def _unpin(pinned: Sequence[_Pinned]) -> None:
    for each in pinned:
        each.kept.cancel()
    await gather_all(each.calls.unpin(each.pin.pin) for each in pinned)


def _document(pinned: Sequence[_Pinned]) -> Topology:
    """Raises Conflict while partitions move: then no node has all that is to be known of one."""
    document = Topology.decode(pinned[0].pin.topology)
    if document.is_moving:
        raise Conflict(
            "partitions move, and no backup is made meanwhile",
            hint="`ringmill cluster moves` shows how far they are; run the backup again afterwards",
        )
    return document


def _without_tables(pinned: _Pinned) -> BackedNode:
    pin, card = pinned.pin, pinned.pin.node
    return BackedNode(
        node=card.node,
        disk=card.disk,
        start=card.start,
        boot=card.boot,
        sequence=pin.sequence,
        edit=pin.edit,
        tables=(),
        lacking=tuple(pin.lacking),
        lacks_hints=pin.lacks_hints,
    )


async def _copy_tables(
    pinned: Sequence[_Pinned],
    store: BackupStore,
    pace: BytePace,
    progress: BackupProgress,
    reasons: dict[str, str],
) -> list[BackedNode]:
    """Copy the tables to the store; the nodes of which all are there now.  Raises OSError of the store."""
    tables = [table for each in pinned for table in each.pin.tables]
    progress.tables, progress.total_bytes = len(tables), sum(table.bytes for table in tables)
    copying = _Copying(store, pace, progress)

    async def one(each: _Pinned) -> BackedNode | None:
        try:
            return await copying.node(each)
        except (Unavailable, DeadlineExceeded, NotFound, CorruptData) as error:  # its disk may be failing
            reasons[each.calls.member.id] = error.message
            return None

    return [node for node in await gather_all(map(one, pinned)) if node is not None]


class _Copying:
    """Tables on their way, one of each node at a time."""

    def __init__(self, store: BackupStore, pace: BytePace, progress: BackupProgress) -> None:
        self._store = store
        self._pace = pace
        self._progress = progress
        self._turns: dict[str, asyncio.Lock] = {}  # two nodes may have equal tables

    async def node(self, pinned: _Pinned) -> BackedNode:
        tables = [await self._table(pinned, each.file, each.bytes) for each in pinned.pin.tables]
        return replace(_without_tables(pinned), tables=tuple(tables))

    async def _table(self, pinned: _Pinned, file: int, size: int) -> BackedTable:
        digest = await pinned.calls.sha256(pinned.pin.pin, file)
        table = BackedTable(file, size, digest)
        async with self._turns.setdefault(digest, asyncio.Lock()):
            if await self._store.has_table(table):  # an earlier backup may name it, and have lost it
                self._progress.done_bytes += size
            else:
                await self._store.put_table(table, self._pieces(pinned, table))
                self._progress.copied_tables += 1
        self._progress.step()
        return table

    async def _pieces(self, pinned: _Pinned, table: BackedTable) -> AsyncIterator[bytes]:
        async for piece in pinned.calls.table(pinned.pin.pin, table.file):
            await self._pace.spend(len(piece))
            yield piece
            self._progress.copied_bytes += len(piece)
            self._progress.done_bytes += len(piece)
            self._progress.step()
