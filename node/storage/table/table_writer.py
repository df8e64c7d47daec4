"""Writes sorted tables.  Runs in a child process, so it may block; it is the only writer of its files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import add
from types import TracebackType
from typing import Final

from ringmill.cluster.ports import AppendFile, FileSystem
from ringmill.node.storage.checksum import checksum
from ringmill.node.storage.names import temporary_name
from ringmill.node.storage.table.block import CELL_HEAD_BYTES, cell_head, encode_block, without_sequence
from ringmill.node.storage.table.compression import Compressor
from ringmill.node.storage.table.filter import build_filter
from ringmill.node.storage.table.table_format import (
    Footer,
    Handle,
    TableMeta,
    encode_footer,
    encode_index,
    encode_meta,
    pack_trailer,
)

__all__ = ["TableShape", "TablesWriter", "discard_tables"]

_WRITE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TableShape:
    """Options of the tables to write."""

    block_bytes: int
    table_bytes: int
    compression: str
    filter_bits_per_key: int
    cuts: tuple[bytes, ...] = ()  # ascending: a table ends before each of these keys


class TablesWriter:
    """Cuts one sorted stream of (key, cell) into tables under temporary names, each synced when whole.

    All versions of a key come together, newest first, and stay in one block.  With `forget_sequences` they
    are written without their sequences, from the next block on; the table's properties keep the range of all
    added sequences.

    In a `with` block: when it ends by an exception, all files of the writer are closed and deleted.
    """

    def __init__(self, files: FileSystem, folder: str, file_ids: Iterator[int], shape: TableShape) -> None:
        self._files = files
        self._folder = folder
        self._file_ids = file_ids
        self._shape = shape
        self._cuts = list(reversed(shape.cuts))
        self.forget_sequences = False
        self._compressor = Compressor(shape.compression)
        self._table: _OpenTable | None = None
        self._keys: list[bytes] = []
        self._cells: list[bytes] = []
        self.finished: list[TableMeta] = []
        self._made: list[int] = []

    def __enter__(self) -> TablesWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()

    def discard(self) -> None:
        """Close and delete all files of this writer."""
        with suppress(OSError):
            if self._table is not None:
                self._table.abandon()
        discard_tables(self._files, self._folder, self._made)

    def add(self, keys: Sequence[bytes], cells: Sequence[bytes]) -> None:
        """Append a sorted run whose keys are above all keys added before."""
        while self._cuts and keys and self._cuts[-1] <= keys[-1]:
            at = bisect_left(keys, self._cuts.pop())
            self._keys += keys[:at]
            self._cells += cells[:at]
            self._write_blocks(keep_rest=False)
            self._close_table()
            keys, cells = keys[at:], cells[at:]
        self._keys += keys
        self._cells += cells
        self._write_blocks(keep_rest=True)

    def finish(self) -> list[TableMeta]:
        """Write the last table and return the metas of all tables, in order."""
        self._write_blocks(keep_rest=False)
        self._close_table()
        return self.finished

    def _write_blocks(self, *, keep_rest: bool) -> None:
        keys, cells = self._keys, self._cells
        sizes = list(accumulate(map(add, map(len, keys), map(len, cells))))
        start = 0
        while start < len(keys):
            before = sizes[start - 1] if start else 0
            end = bisect_left(sizes, before + self._shape.block_bytes, start) + 1
            while end < len(keys) and keys[end] == keys[end - 1]:
                end += 1
            if end >= len(keys) and keep_rest:
                break
            end = min(end, len(keys))
            self._write_block(keys[start:end], cells[start:end])
            start = end
        self._keys, self._cells = keys[start:], cells[start:]

    def _write_block(self, keys: list[bytes], cells: list[bytes]) -> None:
        if self._table is None:
            file_id = next(self._file_ids)
            path = f"{self._folder}/{temporary_name(file_id)}"
            self._table = _OpenTable(self._files.create(path), file_id, self._compressor)
            self._made.append(file_id)
        self._table.add_block(keys, cells, forget_sequences=self.forget_sequences)
        if self._table.size >= self._shape.table_bytes:
            self._close_table()

    def _close_table(self) -> None:
        if self._table is not None:
            self.finished.append(self._table.close(self._shape.filter_bits_per_key))
            self._table = None


def discard_tables(files: FileSystem, folder: str, file_ids: Iterable[int]) -> None:
    """Delete tables that still have their temporary names; those that are not there are no error.  Blocks."""
    for file_id in file_ids:
        with suppress(OSError):  # what stays is deleted when the folder is opened next
            files.unlink(f"{folder}/{temporary_name(file_id)}")


class _OpenTable:
    """One table while it is written."""

    def __init__(self, file: AppendFile, file_id: int, compressor: Compressor) -> None:
        self._file = file
        self._file_id = file_id
        self._compressor = compressor
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._written = 0
        self._last_keys: list[bytes] = []
        self._sizes: list[int] = []
        self._keys: list[bytes] = []
        self._heads: tuple[int, int] = (1 << 64, 0)
        self._tombstones = 0
        self._raw_bytes = 0
        self._has_versions = False

    @property
    def size(self) -> int:
        return self._written + self._buffered

    def add_block(self, keys: list[bytes], cells: list[bytes], *, forget_sequences: bool) -> None:
        stored = list(map(without_sequence, cells)) if forget_sequences else cells
        handle = self._append_block(encode_block(keys, stored))
        self._last_keys.append(keys[-1])
        self._sizes.append(handle.size)
        heads = list(map(cell_head, cells))
        heads_now = min(heads), max(heads)
        self._heads = min(self._heads[0], heads_now[0]), max(self._heads[1], heads_now[1])
        self._tombstones += sum(1 for head in heads if not head & 1)
        self._raw_bytes += sum(map(len, keys)) + sum(map(len, cells)) - CELL_HEAD_BYTES * len(cells)
        self._has_versions = self._has_versions or len(set(keys)) < len(keys)
        self._keys += keys

    def close(self, filter_bits_per_key: int) -> TableMeta:
        keys = self._keys
        filter_at = self._append_block(build_filter(keys, len(keys), filter_bits_per_key))
        index_at = self._append_block(encode_index(self._last_keys, self._sizes))
        meta = self._meta()
        properties_at = self._append_block(encode_meta(meta))
        footer = Footer(filter_at, index_at, properties_at, self._file_id)
        self._append(encode_footer(footer, self.size))
        self._flush()
        self._file.sync()
        self._file.close()
        return replace(meta, size=self._written)

    def abandon(self) -> None:
        """Close the file as it is.  Raises OSError."""
        self._file.close()

    def _meta(self) -> TableMeta:
        return TableMeta(
            file_id=self._file_id,
            size=0,
            smallest=self._keys[0],
            largest=self._keys[-1],
            first_sequence=self._heads[0] >> 8,
            last_sequence=self._heads[1] >> 8,
            entries=len(self._keys),
            tombstones=self._tombstones,
            has_versions=self._has_versions,
            raw_bytes=self._raw_bytes,
        )

    def _append_block(self, data: bytes) -> Handle:
        code, stored = self._compressor.compress(data)
        handle = Handle(self.size, len(stored))
        crc = checksum(self._file_id, handle.offset, code, stored)
        self._append(stored + pack_trailer(code, crc))
        return handle

    def _append(self, data: bytes) -> None:
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= _WRITE_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._file.append(b"".join(self._buffer))
        self._written += self._buffered
        self._buffer, self._buffered = [], 0
