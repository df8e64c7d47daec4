"""Reads one sorted table: opened whole (index, filter, properties), its data blocks on demand.

`open_table` blocks and is run off the loop or in a child; the rest never blocks unless its name says so.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from ringmill.cluster.ports import FileSystem, ReadFile
from ringmill.node.storage.checksum import checksum
from ringmill.node.storage.names import table_name
from ringmill.node.storage.storage_errors import CorruptBlock, damage_at
from ringmill.node.storage.table.block import Block, MalformedBlock, decode_block
from ringmill.node.storage.table.compression import CannotDecompress, decompress
from ringmill.node.storage.table.filter import WORD_BYTES, load_filter
from ringmill.node.storage.table.table_format import (
    FOOTER_BYTES,
    TRAILER_BYTES,
    Footer,
    Handle,
    Handles,
    MalformedTable,
    TableMeta,
    decode_footer,
    decode_index,
    decode_meta,
    unpack_trailer,
)

__all__ = ["Table", "open_table", "read_footer"]


class Table:
    """An open table.

    The version set opens and closes it: a view that is read from holds all its tables open, also after newer
    ones have replaced them (node/storage/version/version_set.py).
    """

    __slots__ = (
        "file",
        "file_id",
        "first_place",
        "handles",
        "is_hurt",
        "largest",
        "last_keys",
        "meta",
        "misses",
        "smallest",
        "words",
    )

    def __init__(
        self,
        meta: TableMeta,
        file: ReadFile,
        last_keys: tuple[bytes, ...],
        handles: Handles,
        filter_words: bytes,
        *,
        is_hurt: bool = False,
    ) -> None:
        self.is_hurt = is_hurt  # its filter or properties are damaged, but it can be read without them
        self.meta = meta
        self.file = file
        self.file_id = meta.file_id
        self.first_place = meta.file_id << 32  # of block 0 in the cache
        self.smallest = meta.smallest
        self.largest = meta.largest
        self.last_keys = last_keys
        self.handles = handles
        self.words = load_filter(filter_words)
        self.misses = 0  # gets that read a block in vain

    def block_of(self, key: bytes) -> int:
        """Number of the only block that can hold `key`; the number of blocks when the key is above all."""
        return bisect_left(self.last_keys, key)

    def bounds(self, number: int) -> tuple[bytes, bytes]:
        """First and last key that block `number` may hold, both included."""
        first = self.last_keys[number - 1] + b"\0" if number else self.smallest
        return first, self.last_keys[number]

    def read_block(self, number: int) -> Block:
        """May block on the disk.  Raises CorruptBlock, OSError."""
        handle = self.handles[number]
        with damage_at(self.file.path, handle.offset):
            data = self.file.pread(handle.size + TRAILER_BYTES, handle.offset)
        return self.decode(handle, data)

    def read_block_cached(self, number: int) -> Block | None:
        """The block if the page cache has it.  Raises CorruptBlock, OSError."""
        starts = self.handles.starts
        offset = starts[number]
        size = starts[number + 1] - offset
        with damage_at(self.file.path, offset):
            data = self.file.pread_cached(size, offset)
        return None if data is None else self._decode(offset, size - TRAILER_BYTES, data)

    async def read_block_off_loop(self, number: int) -> Block:
        """Raises CorruptBlock, OSError."""
        handle = self.handles[number]
        with damage_at(self.file.path, handle.offset):
            data = await self.file.pread_off_loop(handle.size + TRAILER_BYTES, handle.offset)
        return self.decode(handle, data)

    def decode(self, handle: Handle, data: bytes) -> Block:
        return self._decode(handle.offset, handle.size, data)

    def _decode(self, offset: int, size: int, data: bytes) -> Block:
        try:
            return decode_block(_checked(self.file.path, self.file_id, offset, size, data))
        except MalformedBlock as error:
            raise CorruptBlock(self.file.path, offset, str(error)) from None

    def close(self) -> None:
        self.file.close()


def open_table(files: FileSystem, folder: str, file_id: int, expected: TableMeta | None = None) -> Table:
    """Read a table except for its data blocks, and compare it with what the manifest expects.

    If that is known, the table opens even with a damaged filter or damaged properties.  Blocks.  Raises
    CorruptBlock, NewerFormat, OSError.
    """
    path = f"{folder}/{table_name(file_id)}"
    with damage_at(path, 0):
        file = files.open_read(path)
    try:
        footer = read_footer(file, file_id)
        last_keys, handles = decode_index(_read(file, footer.file_id, footer.index_at))
        if handles.end != footer.filter_at.offset:
            raise MalformedTable(f"blocks end at byte {handles.end}, not at {footer.filter_at.offset}")
        is_hurt = False
        try:
            meta = _read_meta(file, file_id, footer)
            words = _read_filter(file, file_id, footer)
        except CorruptBlock:
            if expected is None:
                raise
            meta, words, is_hurt = expected, b"", True
        if expected is not None and meta != expected:
            raise MalformedTable("the table is not the one that the manifest names")
        return Table(meta, file, last_keys, handles, words, is_hurt=is_hurt)
    except MalformedTable as error:
        file.close()
        raise CorruptBlock(file.path, file.size, str(error)) from None
    except BaseException:
        file.close()
        raise


def _read_meta(file: ReadFile, file_id: int, footer: Footer) -> TableMeta:
    meta = replace(decode_meta(_read(file, file_id, footer.properties_at)), size=file.size)
    if meta.file_id != file_id:
        raise MalformedTable(f"properties of table {meta.file_id}")
    return meta


def _read_filter(file: ReadFile, file_id: int, footer: Footer) -> bytes:
    words = _read(file, file_id, footer.filter_at)
    if len(words) % WORD_BYTES:
        raise MalformedTable(f"a filter of {len(words)} bytes")
    return words


def read_footer(file: ReadFile, file_id: int) -> Footer:
    """Blocks.  Raises CorruptBlock, NewerFormat, OSError."""
    at = file.size - FOOTER_BYTES
    if at < 0:
        raise CorruptBlock(file.path, 0, f"a table of {file.size} bytes")
    with damage_at(file.path, at):
        data = file.pread(FOOTER_BYTES, at)
    try:
        return decode_footer(data, file_id, at)
    except MalformedTable as error:
        raise CorruptBlock(file.path, at, str(error)) from None


def _read(file: ReadFile, file_id: int, handle: Handle) -> bytes:
    with damage_at(file.path, handle.offset):
        data = file.pread(handle.size + TRAILER_BYTES, handle.offset)
    return _checked(file.path, file_id, handle.offset, handle.size, data)


def _checked(path: str, file_id: int, offset: int, size: int, data: bytes) -> bytes:
    """The content of a stored block whose checksum is right.  Raises CorruptBlock."""
    if len(data) != size + TRAILER_BYTES:
        raise CorruptBlock(path, offset, f"{len(data)} bytes of {size + TRAILER_BYTES}")
    code, crc = unpack_trailer(data, size)
    stored = data[:size]
    if checksum(file_id, offset, code, stored) != crc:
        raise CorruptBlock(path, offset, "checksum mismatch")
    try:
        return decompress(code, stored)
    except CannotDecompress as error:
        raise CorruptBlock(path, offset, str(error)) from None
