"""Tables of this node that are kept while a client copies them.

A pin shows one moment of the store: every write that this node held then is in its tables.  Entries that the
node removes later, because all owners hold them or nobody needs them any more, are counted: a backup pins all
nodes again when one of them has removed something before its pin, as the entry may have come to a node that
was pinned earlier.  A former copy that is owed is not part of a backup, so a pin tells that there is one.
Rules B1 and B2: docs/protocol/backups.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

from ringmill.cluster.consensus.remains import OWN_PREFIX, holds_own
from ringmill.cluster.errors import InvalidArgument, NotFound, Overloaded
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ports import Clock, FileSystem
from ringmill.cluster.ring.topology import Topology
from ringmill.node.contracts import TopologyView
from ringmill.node.replica.room import Replica
from ringmill.node.replica.stepping import first_key
from ringmill.node.replica.stored_key import (
    Copy,
    Kind,
    copy_prefix,
    keyspace_prefix,
    kind_prefix,
    prefix_end,
    registers_prefix,
)
from ringmill.node.storage.check.pinned_tables import PinnedTables

__all__ = ["PIECE_BYTES", "OwedView", "Pin", "Pins"]

PIECE_BYTES: Final = 1 << 20
UNUSED_S: Final = 120.0
"""A client that is gone keeps the space of replaced tables for so long.  Chosen, not measured."""
MOST_PINS: Final = 4
_MOST_HASHES: Final = 65_536
_FIRST, _LAST = kind_prefix(Kind.OBJECT), prefix_end(kind_prefix(Kind.HINT))


class OwedView(Protocol):
    """Former copies that are kept, as owners may lack what they hold (rule M6)."""

    @property
    def settled(self) -> int: ...

    @property
    def is_settled(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Pin:
    """`removals`, `topology` and `is_owing` are of the moment that the tables show."""

    name: str
    tables: PinnedTables
    removals: int
    topology: Topology
    lacking: list[PartitionId]  # owned ones of which something may be damaged, or not filled yet
    lacks_hints: bool
    is_owing: bool  # a former copy may hold what the owners lack


@dataclass(slots=True)
class _Kept:
    pin: Pin
    ending: asyncio.TimerHandle | None = None
    users: int = field(default=0)


class Pins:
    def __init__(
        self,
        node: NodeId,
        boot: str,
        *,
        files: FileSystem,
        replica: Replica,
        topology: TopologyView,
        owed: OwedView,
        clock: Clock,
    ) -> None:
        self._files = files
        self._node = node
        self._boot = boot
        self._replica = replica
        self._topology = topology
        self._owed = owed
        self._clock = clock
        self._up_since = clock.boottime()
        self._kept: dict[str, _Kept] = {}
        self._begun = 0
        self._under_way = 0
        self._hashes: OrderedDict[int, str] = OrderedDict()  # a table never changes, nor does its number

    @property
    def removals(self) -> int:
        """Entries that this start has removed as others hold them, or as nobody needs them any more."""
        replica = self._replica
        return sum(
            (
                replica.objects.forgotten,
                replica.registers.removed,
                replica.hints.delivered,
                self._owed.settled,
            )
        )

    @property
    def up_s(self) -> float:
        """How long this start of the node has lasted."""
        return self._clock.boottime() - self._up_since

    @property
    def is_owing(self) -> bool:
        return not self._owed.is_settled

    async def pin(self) -> Pin:
        """Raises Overloaded, Unavailable before there is a topology, StorageFailed."""
        if len(self._kept) + self._under_way >= MOST_PINS:
            raise Overloaded(
                f"{self._node} keeps its tables for {MOST_PINS} backups already",
                hint=f"wait for them; what a killed one has left ends after {UNUSED_S:g} s",
            )
        topology, removals = self._topology.serving_topology(), self.removals  # no await from here to the pin
        is_owing = self.is_owing
        self._begun += 1
        name = f"{self._boot}.{self._begun}"
        self._under_way += 1
        try:
            pinned = await self._replica.engine.pin_tables(_FIRST, _LAST)
        finally:
            self._under_way -= 1
        hints = kind_prefix(Kind.HINT)
        pin = Pin(
            name,
            pinned,
            removals,
            topology,
            [copy.partition for copy in self._copies(topology) if _lacks(pinned, copy)],
            pinned.may_lack(hints, prefix_end(hints)),
            is_owing,
        )
        self._kept[name] = kept = _Kept(pin)
        self._end_later(kept)
        return pin

    async def sha256(self, name: str, file_id: int) -> str:
        """The hash of a whole table in hexadecimal digits.  Raises NotFound, InvalidArgument, OSError."""
        if (known := self._hashes.get(file_id)) is not None:
            self._end_later(self._found(name))
            return known
        digest, offset = sha256(), 0
        while piece := await self.read(name, file_id, offset):
            await self._files.off_loop(digest.update, piece)
            offset += len(piece)
        self._hashes[file_id] = found = digest.hexdigest()
        if len(self._hashes) > _MOST_HASHES:
            self._hashes.popitem(last=False)
        return found

    async def read(self, name: str, file_id: int, offset: int) -> bytes:
        """A piece of a table, none at its end.

        Raises NotFound for a pin that has ended, InvalidArgument for a table that it does not name, OSError.
        """
        kept = self._found(name)
        if not any(meta.file_id == file_id for meta in kept.pin.tables.tables):
            raise InvalidArgument(f"table {file_id} does not belong to pin {name[:80]}")
        kept.users += 1
        try:
            return await kept.pin.tables.read(file_id, PIECE_BYTES, offset)
        finally:
            kept.users -= 1
            self._end_later(kept)

    def unpin(self, name: str) -> None:
        """Let the engine delete what it has replaced.  A pin that has ended is not an error."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            if kept.ending is not None:
                kept.ending.cancel()
            kept.pin.tables.release()

    async def holding(self, keyspaces: list[str]) -> list[str]:
        """Those of the keyspaces of which this node stores something, deletes too; not one that is unknown.

        The cluster's own registers do not count.  Raises CorruptData, OSError.
        """
        topology = self._topology.serving_topology()
        found = []
        for name in keyspaces:
            if not topology.has_keyspace(name):
                continue
            keyspace = topology.keyspace_named(name)
            suffix = keyspace_prefix(keyspace.id)
            prefix_of = registers_prefix if keyspace.kind == "registers" else copy_prefix
            for copy in self._copies(topology):
                if await self._holds(prefix_of(copy) + suffix, has_own=holds_own(keyspace)):
                    found.append(name)
                    break
        return found

    async def _holds(self, prefix: bytes, *, has_own: bool) -> bool:
        own = prefix + OWN_PREFIX
        end_of_all = prefix_end(prefix)
        spans = ((prefix, own), (prefix_end(own), end_of_all)) if has_own else ((prefix, end_of_all),)
        for start, end in spans:
            if await first_key(self._replica.engine, start, end) is not None:
                return True
        return False

    def _copies(self, topology: Topology) -> list[Copy]:
        return [
            Copy(PartitionId(number), row.copy_epoch_of(self._node))
            for number, row in enumerate(topology.rows)
            if self._node in row.whole
        ]

    def _found(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise NotFound(
                f"{self._node} does not keep tables as {name[:80]!r} any more: it was restarted, or was "
                f"not asked about them for {UNUSED_S:g} s",
                hint="run the backup again: it copies only what is missing",
            )
        return kept

    def _end_later(self, kept: _Kept) -> None:
        if kept.ending is not None:
            kept.ending.cancel()
        kept.ending = asyncio.get_running_loop().call_later(UNUSED_S, self._end, kept)

    def _end(self, kept: _Kept) -> None:
        if kept.users:
            self._end_later(kept)
        else:
            self.unpin(kept.pin.name)


def _lacks(pinned: PinnedTables, copy: Copy) -> bool:
    return any(
        pinned.may_lack(prefix, prefix_end(prefix)) for prefix in (copy_prefix(copy), registers_prefix(copy))
    )
