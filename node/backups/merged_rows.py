"""What a backup holds, key by key: the copies of all its nodes, merged as the nodes themselves would.

Objects of one key are merged; of a register the value of the highest accepted ballot counts; hints count for
keyspaces with sloppy quorums, where they stand for an owner's copy (rule W7).  What nobody needs in an empty
cluster is left out: deleted objects, and the cluster's own registers.  Rule B1: docs/protocol/backups.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from operator import attrgetter
from typing import Final, NamedTuple

from ringmill.cluster.consensus.register import Register
from ringmill.cluster.consensus.register_codec import decode_acceptor, decode_register
from ringmill.cluster.consensus.remains import OWN_PREFIX
from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.versions.object_codec import decode_object, encode_object, outline
from ringmill.cluster.versions.objects import merge_all
from ringmill.node.replica.hinted.hint_codec import decode_hint
from ringmill.node.replica.stored_key import (
    Copy,
    copy_prefix,
    hints_prefix,
    parse_object_key,
    prefix_end,
    registers_prefix,
)
from ringmill.node.storage.check.pinned_tables import CopiedTables, opened_copies

__all__ = ["MergedRow", "CopiedNode", "WantedKeyspace", "merged_rows"]

_NO_COPY: Final = Copy(PartitionId(0), Epoch(0))


@dataclass(frozen=True, slots=True)
class CopiedNode:
    """A node's tables, copied into `folder` under their former names.

    `copies` has the epoch of its copy of each partition for which it counts; `has_hints`: its hints count.
    """

    folder: str
    edit: bytes
    sequence: int
    copies: dict[int, int]
    has_hints: bool


class WantedKeyspace(NamedTuple):
    id: KeyspaceId
    kind: str
    is_sloppy: bool
    holds_own: bool  # registers of the cluster itself, which are left out


class MergedRow(NamedTuple):
    """`value` is an object (docs/formats/object.md), or a register (docs/formats/register.md)."""

    keyspace: KeyspaceId
    key: bytes
    value: bytes


async def merged_rows(
    files: FileSystem, sources: Sequence[CopiedNode], keyspaces: Sequence[WantedKeyspace], partitions: int
) -> AsyncGenerator[MergedRow, None]:
    """All rows of these keyspaces.  Raises CorruptData for damage, which names the file; OSError."""
    with ExitStack() as opened:
        tables = [
            (each, opened.enter_context(opened_copies(files, each.folder, each.edit, each.sequence)))
            for each in sources
        ]
        objects = {each.id for each in keyspaces if each.kind == "objects"}
        sloppy = {each.id for each in keyspaces if each.is_sloppy}
        registers = {each.id for each in keyspaces if each.kind == "registers"}
        with_own = {each.id for each in keyspaces if each.holds_own}
        for number in range(partitions):
            partition = PartitionId(number)
            async for suffix, values in _merged(_of_objects(tables, partition, sloppy)):
                keyspace, key = _parsed(suffix)
                if keyspace in objects and (encoded := _merged_object(values)) is not None:
                    yield MergedRow(keyspace, key, encoded)
            async for suffix, values in _merged(_of_registers(tables, partition)):
                keyspace, key = _parsed(suffix)
                is_own = keyspace in with_own and key.startswith(OWN_PREFIX)
                if keyspace in registers and not is_own:
                    newest = max(map(decode_acceptor, values), key=attrgetter("accepted"))
                    if decode_register(newest.value) != Register():
                        yield MergedRow(keyspace, key, newest.value)


_Rows = AsyncGenerator[list[tuple[bytes, bytes]], None]
_Opened = Sequence[tuple[CopiedNode, CopiedTables]]


def _of_objects(tables: _Opened, partition: PartitionId, sloppy: set[KeyspaceId]) -> list[_Rows]:
    found = []
    for source, copies in tables:
        epoch = source.copies.get(partition)
        if epoch is not None:
            found.append(_suffixes(copies, copy_prefix(Copy(partition, Epoch(epoch)))))
        if sloppy and source.has_hints:
            found.append(_hinted(copies, partition, sloppy))
    return found


def _of_registers(tables: _Opened, partition: PartitionId) -> list[_Rows]:
    return [
        _suffixes(copies, registers_prefix(Copy(partition, Epoch(epoch))))
        for source, copies in tables
        if (epoch := source.copies.get(partition)) is not None
    ]


async def _suffixes(copies: CopiedTables, prefix: bytes) -> _Rows:
    """Rows of one copy, by keyspace and key."""
    cut = len(prefix)
    async with aclosing(copies.scan(prefix, prefix_end(prefix))) as scan:
        async for rows in scan:
            yield [(key[cut:], value) for key, value in rows]


async def _hinted(copies: CopiedTables, partition: PartitionId, sloppy: set[KeyspaceId]) -> _Rows:
    async with aclosing(_suffixes(copies, hints_prefix(partition))) as hints:
        async for rows in hints:
            yield [(key, decode_hint(value).encoded) for key, value in rows if _parsed(key)[0] in sloppy]


async def _merged(streams: Sequence[_Rows]) -> AsyncGenerator[tuple[bytes, list[bytes]], None]:
    """The values of each key in all streams, in the order of the keys."""
    async with AsyncExitStack() as ending:
        cursors = []
        for number, stream in enumerate(streams):
            cursor = _Cursor(await ending.enter_async_context(aclosing(stream)), number)
            if await cursor.advance():
                cursors.append((cursor.key, number, cursor))
        heapify(cursors)
        while cursors:
            least, values = cursors[0][0], list[bytes]()
            while cursors and cursors[0][0] == least:
                _, number, cursor = cursors[0]
                values.append(cursor.value)
                if await cursor.advance():
                    heapreplace(cursors, (cursor.key, number, cursor))
                else:
                    heappop(cursors)
            yield least, values


class _Cursor:
    """A place in one stream."""

    def __init__(self, stream: _Rows, number: int) -> None:
        self.number = number
        self.key, self.value = b"", b""
        self._stream = stream
        self._left: list[tuple[bytes, bytes]] = []  # the next one is at the end

    async def advance(self) -> bool:
        """To the next row; False at the end."""
        while not self._left:
            rows = await anext(self._stream, None)
            if rows is None:
                return False
            self._left = rows[::-1]
        self.key, self.value = self._left.pop()
        return True


def _parsed(suffix: bytes) -> tuple[KeyspaceId, bytes]:
    place = parse_object_key(copy_prefix(_NO_COPY) + suffix)
    return place.keyspace, place.key


def _merged_object(values: Sequence[bytes]) -> bytes | None:
    """None for one that holds deletes alone."""
    encoded = values[0]
    if any(other != encoded for other in values):
        encoded = encode_object(merge_all(map(decode_object, values)))
    has_value, _, _ = outline(encoded)
    return encoded if has_value else None
