"""Compacts tables.  Runs in a child process.

`compact` is a function of immutable files: it can be killed at any time, and its output is garbage until the
manifest names it.  A damaged block costs only its own key range: the rest is written, and the range is
reported.  A block that the disk cannot read is judged by node/storage/table/unreadable.py (rule E10).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.read.drop_index import DropIndex
from ringmill.node.storage.storage_errors import CorruptBlock, UnreadableBlock, damage_at
from ringmill.node.storage.table.block import cell_head
from ringmill.node.storage.table.run_merge import RunMerge, kept_versions
from ringmill.node.storage.table.table_format import TRAILER_BYTES, TableMeta
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.table.table_writer import TableShape, TablesWriter
from ringmill.node.storage.table.unreadable import Place, Unreadable
from ringmill.node.storage.version.version import CorruptMark, Drop, mark_of

__all__ = ["CompactionJob", "CompactionResult", "compact"]

_READ_BYTES: Final = 256 * 1024

Chunk = tuple[list[bytes], list[bytes]]


@dataclass(frozen=True, slots=True)
class CompactionJob:
    folder: str
    runs: tuple[tuple[TableMeta, ...], ...]  # newest first; tables of a run are disjoint and in key order
    older: tuple[tuple[bytes, bytes], ...]  # key ranges where tables outside may hold older versions
    snapshots: tuple[int, ...]  # ascending
    drops: tuple[Drop, ...]
    file_ids: tuple[int, ...]
    shape: TableShape
    has_marks: bool  # a mark tells by a version's sequence whether it may be shown
    suspects: frozenset[Place] = frozenset()  # blocks that could not be read some time ago

    @property
    def drops_sequences(self) -> bool:
        """Whether nobody will need the sequences of the output: there is nothing older to hide, and every
        later snapshot and drop is newer.  Marks that the compaction itself makes are an exception: see
        `compact`."""
        return not (self.older or self.snapshots or self.drops or self.has_marks)


@dataclass(slots=True)
class CompactionResult:
    tables: list[TableMeta] = field(default_factory=list)
    damaged: dict[int, list[CorruptMark]] = field(default_factory=dict)  # by file id
    unreadable: list[Place] = field(default_factory=list)  # not judged yet: then there are no tables


def compact(files: FileSystem, job: CompactionJob) -> CompactionResult:
    """Write the compacted runs under temporary names, synced.  Raises OSError."""
    result, unreadable = CompactionResult(), Unreadable(job.suspects)
    runs = [_run_chunks(files, job.folder, run, result.damaged, unreadable) for run in job.runs]
    file_ids = iter(job.file_ids)
    merge = _merge_versions if _needs_versions(job) else _merge_newest
    has_tombstones = any(meta.tombstones for run in job.runs for meta in run)
    may_forget = _forgets(job.older)
    with TablesWriter(files, job.folder, file_ids, job.shape) as writer:
        for keys, cells in merge(runs, job):
            # A damaged block is met before any key of its range is merged: what is newer there stays
            # readable.
            writer.forget_sequences = job.drops_sequences and not result.damaged
            if has_tombstones:
                writer.add(*_without_tombstones(keys, cells, may_forget))
            else:
                writer.add(keys, cells)
        result.tables = writer.finish()
        unreadable.look_again(files, job.folder, file_ids if not result.tables else None)
        if unreadable.unjudged:
            writer.discard()
            return CompactionResult(unreadable=unreadable.unjudged)
    return result


def _needs_versions(job: CompactionJob) -> bool:
    """Whether more than the newest version of each key must be considered."""
    metas = [meta for run in job.runs for meta in run]
    low = min(meta.first_sequence for meta in metas)
    high = max(meta.last_sequence for meta in metas)
    return (
        any(meta.has_versions for meta in metas)
        or any(low <= snapshot < high for snapshot in job.snapshots)
        or any(drop.sequence >= low for drop in job.drops)
    )


def _merge_newest(runs: list[Iterator[Chunk]], job: CompactionJob) -> Iterator[Chunk]:
    """Each key once, with its newest version."""
    merge: RunMerge[bytes] = RunMerge(len(runs))
    while True:
        for number in merge.hungry():
            chunk = next(runs[number], None)
            if chunk is None:
                merge.end(number)
            else:
                merge.feed(number, *chunk)
        keys, cells = merge.take()
        if not keys:
            return
        yield keys, cells


def _merge_versions(runs: list[Iterator[Chunk]], job: CompactionJob) -> Iterator[Chunk]:
    """Each key with all versions that a snapshot or a reader can still see."""
    drops = DropIndex(job.drops)
    pending: list[Chunk | None] = [next(run, None) for run in runs]
    while any(pending):
        bound = min(chunk[0][-1] for chunk in pending if chunk)
        entries: list[tuple[bytes, int, bytes]] = []
        for number, chunk in enumerate(pending):
            if chunk is None:
                continue
            keys, cells = chunk
            cut = bisect_right(keys, bound)
            entries += [
                (key, -cell_head(cell), cell) for key, cell in zip(keys[:cut], cells[:cut], strict=True)
            ]
            rest = keys[cut:], cells[cut:]
            pending[number] = rest if rest[0] else next(runs[number], None)
        entries.sort()
        yield _kept(entries, job.snapshots, drops)


def _kept(entries: list[tuple[bytes, int, bytes]], snapshots: tuple[int, ...], dropped: DropIndex) -> Chunk:
    keys: list[bytes] = []
    cells: list[bytes] = []
    for key, group in groupby(entries, key=itemgetter(0)):
        versions = [(-negative >> 8, cell) for _, negative, cell in group]
        for _, cell in kept_versions(versions, snapshots, dropped.of(key)):
            keys.append(key)
            cells.append(cell)
    return keys, cells


def _without_tombstones(keys: list[bytes], cells: list[bytes], may_forget: Callable[[bytes], bool]) -> Chunk:
    """Drop deletions that hide nothing older, neither here nor in other tables."""
    kept_keys: list[bytes] = []
    kept_cells: list[bytes] = []
    for at, (key, cell) in enumerate(zip(keys, cells, strict=True)):
        is_oldest = at + 1 == len(keys) or keys[at + 1] != key
        if cell[0] & 1 or not is_oldest or not may_forget(key):
            kept_keys.append(key)
            kept_cells.append(cell)
    if len(kept_keys) < len(keys):
        sometimes("a compaction drops a tombstone")
    return kept_keys, kept_cells


def _forgets(older: tuple[tuple[bytes, bytes], ...]) -> Callable[[bytes], bool]:
    """Whether a key is in none of these ranges; they are joined first, as there may be thousands."""
    starts: list[bytes] = []
    ends: list[bytes] = []
    for start, end in sorted(older):
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)

    def may_forget(key: bytes) -> bool:
        at = bisect_right(starts, key)
        return not at or ends[at - 1] < key

    return may_forget


def _run_chunks(
    files: FileSystem,
    folder: str,
    run: tuple[TableMeta, ...],
    damaged: dict[int, list[CorruptMark]],
    unreadable: Unreadable,
) -> Iterator[Chunk]:
    for meta in run:
        try:
            table = open_table(files, folder, meta.file_id, meta)
        except (CorruptBlock, FileNotFoundError) as error:
            unreadable.note(meta, error)
            damaged[meta.file_id] = [mark_of(meta)]
            continue
        try:
            yield from _table_chunks(table, damaged, unreadable)
        finally:
            table.close()


def _table_chunks(
    table: Table, damaged: dict[int, list[CorruptMark]], unreadable: Unreadable
) -> Iterator[Chunk]:
    number = 0
    while number < len(table.handles):
        keys: list[bytes] = []
        cells: list[bytes] = []
        first = table.handles[number].offset
        last = number
        while last < len(table.handles) and table.handles[last].offset - first < _READ_BYTES:
            last += 1
        size = table.handles[last - 1].offset + table.handles[last - 1].size + TRAILER_BYTES - first
        data: bytes | None = None
        with suppress(UnreadableBlock), damage_at(table.file.path, first):
            data = table.file.pread(size, first)
        for at in range(number, last):
            handle = table.handles[at]
            start = handle.offset - first
            try:
                if data is None:
                    block = table.read_block(at)
                else:
                    block = table.decode(handle, data[start : start + handle.size + TRAILER_BYTES])
            except CorruptBlock as error:
                unreadable.note(table.meta, error)
                low, high = table.bounds(at)
                mark = CorruptMark(low, high + b"\0", table.meta.last_sequence)
                sometimes("a compaction meets a damaged block")
                damaged.setdefault(table.file_id, []).append(mark)
                continue
            keys += block.keys
            cells += block.cells()
        number = last
        if keys:
            yield keys, cells
