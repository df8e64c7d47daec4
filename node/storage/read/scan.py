"""Scans a key range in either order, over memtables and a pinned view, as of one sequence number.

Each memtable is sorted first (rule E13).  Chunks of each run are filtered (versions above the sequence left
out, deletions as None) and merged, newest run first.  Blocks come from the page cache if it has them, else
from a thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ringmill.node.storage.engine_options import SORTED_AT_ONCE
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.read.drop_index import DropIndex
from ringmill.node.storage.storage_errors import CorruptBlock, UnreadableBlock, damage_at
from ringmill.node.storage.table.block import VALUE, Block
from ringmill.node.storage.table.run_merge import RunMerge
from ringmill.node.storage.table.table_format import TRAILER_BYTES
from ringmill.node.storage.table.table_reader import Table
from ringmill.node.storage.version.table_ranges import LARGEST, SMALLEST
from ringmill.node.storage.version.version import Drop
from ringmill.node.storage.version.version_set import View

__all__ = ["Chunk", "Range", "checked_chunks", "scan_chunks"]

_MEMTABLE_KEYS: Final = 512
_MOST_BLOCKS: Final = 32

Chunk = tuple[list[bytes], list[bytes | None]]


@dataclass(frozen=True, slots=True)
class Range:
    """Keys in [start, end) as of `sequence`; an end of None has no bound."""

    start: bytes
    end: bytes | None
    sequence: int
    reverse: bool
    drops: tuple[Drop, ...] = ()
    on_damage: Callable[[CorruptBlock], None] | None = None  # called with a damaged block, then skips it
    on_read: Callable[[int], None] | None = None  # called with the bytes of blocks that are read
    sorted_at_once: int = SORTED_AT_ONCE  # of each memtable


async def scan_chunks(memtables: Sequence[Memtable], view: View, span: Range) -> AsyncGenerator[Chunk, None]:
    """Merged chunks in the order of the scan; inside a chunk keys are ascending.

    A value of None is a deleted key.  Raises CorruptBlock unless the span skips damage, OSError.
    """
    runs: list[_Run] = []
    # hundreds were dropped elsewhere where partitions move; blocks that none meets are taken as they are
    span = replace(span, drops=tuple(drop for drop in span.drops if _meets_drop(drop, span)))
    drops = DropIndex(span.drops)
    for memtable in memtables:
        await memtable.sort(span.sorted_at_once)
        runs += [_MemtableRun(memtable, keys, span, drops) for keys in memtable.slices(span.start, span.end)]
    runs += [_TableRun((table,), span, drops) for table in view.newest]
    runs += [_TableRun(level.tables, span, drops) for level in view.levels]
    merge: RunMerge[bytes | None] = RunMerge(len(runs), reverse=span.reverse)
    while True:
        for number in merge.hungry():
            chunk = await runs[number].next_chunk()
            if chunk is None:
                merge.end(number)
            else:
                merge.feed(number, *chunk)
        keys, values = merge.take()
        if not keys:
            return
        yield keys, values


async def checked_chunks(
    memtables: Sequence[Memtable], view: View, span: Range, check: Callable[[bytes, bytes | None], None]
) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
    """Present keys and values in lists; calls `check` for every stretch of keys before it is returned.

    Raises CorruptBlock, OSError and what `check` raises.
    """
    end = span.end
    edge = end if span.reverse else span.start
    async for keys, values in scan_chunks(memtables, view, span):
        # from the end of the last chunk, because lost keys may lie between two chunks
        low, high = (keys[0], edge) if span.reverse else (edge, keys[-1] + b"\0")
        check(low or b"", high)
        edge = keys[0] if span.reverse else keys[-1]
        pairs = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
        if pairs:
            yield pairs[::-1] if span.reverse else pairs
    check(span.start, end)


class _Run(Protocol):
    async def next_chunk(self) -> Chunk | None:
        """The next keys of this run, ascending and at least one; None at its end."""
        ...


class _MemtableRun:
    """One sorted run of a memtable's keys."""

    def __init__(self, memtable: Memtable, keys: list[bytes], span: Range, drops: DropIndex) -> None:
        self._memtable = memtable
        self._keys = keys
        self._span = span
        self._drops = drops

    async def next_chunk(self) -> Chunk | None:
        sequence, drops = self._span.sequence, self._drops
        newest = self._memtable.values
        while self._keys:
            if self._span.reverse:
                self._keys, piece = self._keys[:-_MEMTABLE_KEYS], self._keys[-_MEMTABLE_KEYS:]
            else:
                piece, self._keys = self._keys[:_MEMTABLE_KEYS], self._keys[_MEMTABLE_KEYS:]
            sequences, values = zip(*map(newest.__getitem__, piece), strict=True)
            if not drops and max(sequences) <= sequence:
                return piece, list(values)
            find = self._memtable.find
            entries = ((key, find(key, sequence)) for key in piece)
            visible = ((key, *entry) for key, entry in entries if entry is not None)
            chunk = _visible(visible, drops, sequence)
            if chunk[0]:
                return chunk
        return None


class _TableRun:
    """Tables with disjoint ranges as one run.  Reads more blocks at a time the longer the scan gets."""

    def __init__(self, tables: Sequence[Table], span: Range, drops: DropIndex) -> None:
        first = bisect_left(tables, span.start, key=LARGEST)
        last = len(tables) if span.end is None else bisect_left(tables, span.end, lo=first, key=SMALLEST)
        self._tables = list(tables[first:last])
        if not span.reverse:
            self._tables.reverse()  # the next one is taken from the end
        self._span = span
        self._drops = drops
        self._table: Table | None = None
        self._first = 0  # blocks [first, last) of the table are still to be read
        self._last = 0
        self._many = 1

    async def next_chunk(self) -> Chunk | None:
        while True:
            while self._first >= self._last:  # of a range that begins behind its end no block is read
                if not self._open_next():
                    return None
            keys: list[bytes] = []
            values: list[bytes | None] = []
            assert self._table is not None
            for block in await _read_blocks(self._table, *self._take_blocks(), self._span):
                more_keys, more_values = self._visible_part(block)
                keys += more_keys
                values += more_values
            if keys:
                return keys, values

    def _open_next(self) -> bool:
        if not self._tables:
            return False
        table = self._table = self._tables.pop()
        self._first = table.block_of(self._span.start)
        end = self._span.end
        self._last = len(table.handles) if end is None else min(table.block_of(end) + 1, len(table.handles))
        return True

    def _take_blocks(self) -> tuple[int, int]:
        many = min(self._many, self._last - self._first)
        self._many = min(2 * self._many, _MOST_BLOCKS)
        if self._span.reverse:
            self._last -= many
            return self._last, self._last + many
        self._first += many
        return self._first - many, self._first

    def _visible_part(self, block: Block) -> Chunk:
        span, keys = self._span, block.keys
        first = bisect_left(keys, span.start) if keys[0] < span.start else 0
        last = len(keys) if span.end is None or keys[-1] < span.end else bisect_left(keys, span.end)
        if last <= first:
            return [], []
        assert self._table is not None
        meta = self._table.meta
        keys, values = keys[first:last], block.values()[first:last]
        if meta.last_sequence <= span.sequence and not (meta.has_versions or span.drops):
            if not meta.tombstones:
                return keys, list(values)
            heads = block.heads()[first:last]
            return keys, [value if head & VALUE else None for value, head in zip(values, heads, strict=True)]
        return _visible(
            (
                (key, head >> 8, value if head & VALUE else None)
                for key, head, value in zip(keys, block.heads()[first:last], values, strict=True)
                if head >> 8 <= span.sequence
            ),
            self._drops,
            span.sequence,
        )


def _meets_drop(drop: Drop, span: Range) -> bool:
    prefix = drop.prefix
    return span.start[: len(prefix)] <= prefix and (span.end is None or prefix < span.end)


def _visible(entries: Iterable[tuple[bytes, int, bytes | None]], drops: DropIndex, as_of: int) -> Chunk:
    """The first, that is newest, version of each key; None where it is deleted or dropped."""
    keys: list[bytes] = []
    values: list[bytes | None] = []
    former: bytes | None = None
    for key, sequence, value in entries:
        if key == former:
            continue
        former = key
        keys.append(key)
        values.append(None if drops and drops.hides(key, sequence, as_of) else value)
    return keys, values


async def _read_blocks(table: Table, first: int, last: int, span: Range) -> list[Block]:
    """Blocks [first, last) with one read, or one by one where the disk cannot read them all."""
    handles = table.handles
    start = handles[first].offset
    size = handles[last - 1].offset + handles[last - 1].size + TRAILER_BYTES - start
    data: bytes | None = None
    with suppress(UnreadableBlock), damage_at(table.file.path, start):
        data = table.file.pread_cached(size, start)
        if data is None:
            data = await table.file.pread_off_loop(size, start)
    if span.on_read is not None:
        span.on_read(size)
    blocks = []
    for number in range(first, last):
        handle = handles[number]
        at = handle.offset - start
        try:
            if data is None:
                blocks.append(await table.read_block_off_loop(number))
            else:
                blocks.append(table.decode(handle, data[at : at + handle.size + TRAILER_BYTES]))
        except CorruptBlock as error:
            if span.on_damage is None:
                raise
            span.on_damage(error)
    return blocks
