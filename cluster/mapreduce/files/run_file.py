"""A run: sorted groups of one map task's output in one file, a stretch of chunks for each partition.

I/O only through the FileSystem passed in.  A stretch can be copied on its own and read back from any place,
so that a slice of it is what travels to a reducer.  Chunks carry whole blocks, because one msgpack call for
a thousand records costs a tenth of a thousand calls.

Layout and limits: docs/formats/run.md.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate, chain, islice, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

import google_crc32c
import lz4.block
import msgpack
import zstandard

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec, pack_block, unpack_block
from ringmill.cluster.mapreduce.footprint import footprint
from ringmill.cluster.mapreduce.outputs import PartitionSlice, Slice
from ringmill.cluster.ports import AppendFile, FileSystem

__all__ = [
    "Group",
    "RowBlock",
    "RunWriter",
    "gather_groups",
    "read_group_lists",
    "read_groups",
    "read_index",
    "read_keys",
    "read_mark",
    "read_pairs",
    "read_rows_of",
]

Group: TypeAlias = tuple[bytes, Sequence[Any]]
"""An encoded key and values of it; a key's values may come as several neighbouring groups."""


class RowBlock(NamedTuple):
    """Records of one chunk: keys as bytes, and as many values; `raw_bytes` are those of both, unpacked."""

    keys: Sequence[bytes]
    values: Sequence[Any]
    raw_bytes: int


MAGIC: Final = b"RMRUN\x00"
VERSION: Final = 1
FILE_HEADER: Final = struct.Struct("<6sH")
CHUNK_HEADER: Final = struct.Struct("<IIIIB3x")  # crc32c of the rest, stored size, raw size, records, method
TRAILER: Final = struct.Struct("<II8s")  # crc32c of the index, its size, END
END: Final = b"RMRUNEND"
TARGET_RAW_BYTES: Final = 128 << 10
MAX_RAW_BYTES: Final = 1 << 30
MOST_A_GROUP: Final = 4  # values a group of a window: with more, long groups are cut, or fewer taken
FIRST_WINDOW: Final = 16  # groups and values of the first chunk, whose size nothing tells yet
STRIDE: Final = 16  # groups taken between two looks at what they hold
BATCH_BYTES: Final = 1 << 20  # of values in memory at a time; small ones take far more there than in a chunk
UNCOMPRESSED_BELOW: Final = 1 << 10
WORTH: Final = 15 / 16  # of its size a block must shrink to less, or it is stored as it is
PLAIN_CHUNKS: Final = 15  # that follow such a block unmeasured: data that packs badly goes on to
WRITE_BYTES: Final = 1 << 20
READ_BYTES: Final = 256 << 10

_METHODS: Final = {"none": 0, "zstd": 1, "lz4": 2}


_VALUES: Final = itemgetter(1)


class RunWriter:
    """Writes one run; partitions in order, groups of each sorted by key."""

    def __init__(self, files: FileSystem, path: str, values: ValueCodec, compression: str) -> None:
        self._files, self._path = files, path
        self._file: AppendFile | None = None  # made when there is something to write
        self._values = values
        self._method = _METHODS[compression]
        self._zstd: zstandard.ZstdCompressor | None = None  # made for the first block that is worth it
        self._plain = 0  # chunks that are still stored as they are
        self._pending: list[bytes] = [FILE_HEADER.pack(MAGIC, VERSION)]
        self._pending_bytes = self._offset = FILE_HEADER.size
        self._window = FIRST_WINDOW  # groups a chunk, adapted to the size of the last one
        self._index: list[PartitionSlice] = []
        self._crc = self._raw = self._records = 0

    def write_partition(self, groups: Iterable[Group], mark: bytes = b"") -> None:
        """The next partition, whole, after a mark if there is one.

        Raises InvalidArgument for a value its hint forbids, OSError.
        """
        with self._stretch(mark):
            groups = iter(groups)
            while batch := self._next_batch(groups):
                self._write_groups([key for key, _ in batch], [values for _, values in batch])

    def write_singles(
        self, blocks: Iterable[tuple[Sequence[bytes], Sequence[Any]]], mark: bytes = b""
    ) -> None:
        """The next partition, of keys with one value each, which are in memory already.

        Raises like `write_partition`.
        """
        with self._stretch(mark):
            for keys, values in blocks:
                at = 0
                while at < len(keys):
                    end = at + self._window
                    self._write_flat(keys[at:end], values[at:end])
                    at = end

    def write_lists(
        self, blocks: Iterable[tuple[Sequence[bytes], Sequence[Sequence[Any]]]], mark: bytes = b""
    ) -> None:
        """The next partition, of groups that are in memory already; none is without values.

        Raises like `write_partition`.
        """
        with self._stretch(mark):
            for keys, lists in blocks:
                ends = list(accumulate(map(len, lists), initial=0))  # the values before each group
                at = 0
                while at < len(keys):
                    end = bisect_right(ends, ends[at] + MOST_A_GROUP * self._window) - 1
                    end = max(at + 1, min(end, at + self._window))
                    self._write_groups(keys[at:end], lists[at:end])
                    at = end

    def write_other(self, values: Sequence[Any], codec: ValueCodec) -> None:
        """The next partition, of values of another kind in their order, under empty keys."""
        own, self._values = self._values, codec
        self.write_partition((b"", [value]) for value in values)
        self._values = own

    @contextmanager
    def _stretch(self, mark: bytes) -> Iterator[None]:
        start = self._offset
        self._crc = self._raw = self._records = 0
        if mark:
            self._write_chunk(pack_block([[], None, [mark]]), 0)
        yield
        slice_ = PartitionSlice(start, self._offset - start, self._raw, self._records, self._crc)
        self._index.append(slice_)

    def finish(self, *, if_empty: bool = True) -> tuple[PartitionSlice, ...]:
        """Write the index and close.  Nothing is synced: what a crash loses is made again.

        Without `if_empty` a run of no bytes in any partition is no file: nobody reads it.
        """
        if not (if_empty or self._file or any(each.length for each in self._index)):
            return tuple(self._index)
        index = msgpack.packb([list(each) for each in self._index])
        self._append(index)
        self._append(TRAILER.pack(google_crc32c.value(index), len(index), END))
        self._flush().close()
        return tuple(self._index)

    def _next_batch(self, groups: Iterator[Group]) -> list[Group]:
        """Groups for about one chunk, bounded by what they hold and not only by their number.

        Pieces of one long group come as neighbours, each of them a chunk of its own: a number of groups that
        was right for short ones would hold gigabytes of them.  One value of each stride is measured.
        """
        batch: list[Group] = []
        size = 0
        while len(batch) < self._window and size < BATCH_BYTES:
            more = list(islice(groups, min(STRIDE, self._window - len(batch))))
            if not more:
                break
            batch += more
            sample = more[-1][1]
            size += sum(map(len, map(_VALUES, more))) * (footprint(sample[0]) if sample else 0)
        return batch

    def _write_groups(self, keys: Sequence[bytes], lists: Sequence[Sequence[Any]]) -> None:
        counts = list(map(len, lists))
        records = sum(counts)
        if records > MOST_A_GROUP * self._window and max(counts) > self._window:
            self._write_long(keys, lists)
            return
        flat = list(chain.from_iterable(lists))
        if records == len(keys) and max(counts) == 1:
            self._write_flat(keys, flat)
            return
        raw = pack_block([keys, counts, self._values.to_wire(flat)])
        if len(raw) > 4 * TARGET_RAW_BYTES and len(keys) > 1:
            half = len(keys) // 2
            self._window = max(1, half)
            self._write_groups(keys[:half], lists[:half])
            self._write_groups(keys[half:], lists[half:])
            return
        self._write_chunk(raw, records)
        self._adapt(len(keys), len(raw))

    def _write_flat(self, keys: Sequence[bytes], values: Sequence[Any]) -> None:
        """Keys with one value each, as one chunk, or as halves."""
        raw = pack_block([keys, None, self._values.to_wire(list(values))])
        if len(raw) > 4 * TARGET_RAW_BYTES and len(keys) > 1:
            half = len(keys) // 2
            self._window = max(1, half)
            self._write_flat(keys[:half], values[:half])
            self._write_flat(keys[half:], values[half:])
            return
        self._write_chunk(raw, len(keys))
        self._adapt(len(keys), len(raw))

    def _adapt(self, groups: int, raw_bytes: int) -> None:
        self._window = max(1, min(2 * self._window, groups * TARGET_RAW_BYTES // raw_bytes + 1, 65536))

    def _write_long(self, keys: Sequence[bytes], lists: Sequence[Sequence[Any]]) -> None:
        """Groups of which some are too long for one chunk; those between them stay together."""
        longest, start = self._window, 0
        for at, values in enumerate(lists):
            if len(values) > longest:
                if start < at:
                    self._write_groups(keys[start:at], lists[start:at])
                self._write_pieces(keys[at], values, longest)
                start = at + 1
        if start < len(keys):
            self._write_groups(keys[start:], lists[start:])

    def _write_pieces(self, key: bytes, values: Sequence[Any], step: int) -> None:
        """One group as neighbours with the same key, each about a chunk."""
        at = 0
        first = pack_block(self._values.to_wire(list(values[:1])))
        step = max(1, min(step, TARGET_RAW_BYTES // len(first)))
        while at < len(values):
            piece = values[at : at + step]
            raw = pack_block([[key], [len(piece)], self._values.to_wire(list(piece))])
            fitting = max(1, len(piece) * TARGET_RAW_BYTES // len(raw))
            if len(raw) > 4 * TARGET_RAW_BYTES and len(piece) > 1:
                step = min(fitting, len(piece) // 2)
                continue
            self._write_chunk(raw, len(piece))
            at += len(piece)
            step = min(2 * step, fitting + 1)

    def _write_chunk(self, raw: bytes, records: int) -> None:
        if len(raw) > MAX_RAW_BYTES:
            raise InvalidArgument(f"one value of {len(raw)} bytes; {MAX_RAW_BYTES} are allowed")
        stored = self._packed(raw)
        method = 0 if stored is raw else self._method
        rest = CHUNK_HEADER.pack(0, len(stored), len(raw), records, method)[4:]
        crc = google_crc32c.extend(google_crc32c.value(rest), stored)
        header = crc.to_bytes(4, "little") + rest
        self._crc = google_crc32c.extend(google_crc32c.extend(self._crc, header), stored)
        self._raw += len(raw)
        self._records += records
        self._append(header)
        self._append(stored)

    def _packed(self, raw: bytes) -> bytes:
        """The block compressed, or itself when it is small or that would not pay.

        It follows from the blocks before it alone: two attempts of a task write the same bytes.
        """
        if not self._method or len(raw) < UNCOMPRESSED_BELOW:
            return raw
        if self._plain:
            self._plain -= 1
            return raw
        if self._method == _METHODS["zstd"]:
            # copied, as zstandard's own bytes keep the room of the worst case until they are freed
            self._zstd = self._zstd or zstandard.ZstdCompressor(level=1)
            stored = bytes(memoryview(self._zstd.compress(raw)))
        else:
            stored = lz4.block.compress(raw, store_size=False)
        if len(stored) < WORTH * len(raw):
            return stored
        self._plain = PLAIN_CHUNKS
        return raw

    def _append(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._offset += len(data)
        if self._pending_bytes >= WRITE_BYTES:
            self._flush()

    def _flush(self) -> AppendFile:
        if self._file is None:
            self._file = self._files.create(self._path)
        self._file.append(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0
        return self._file


def _untold(size: int) -> None:
    """Nobody wants to know."""


def read_index(files: FileSystem, path: str) -> tuple[PartitionSlice, ...]:
    """The index at the end of a run.  Raises CorruptData when there is none or it is damaged."""
    file = files.open_read(path)
    try:
        tail = file.pread(TRAILER.size, max(0, file.size - TRAILER.size))
        if len(tail) != TRAILER.size or tail[-len(END) :] != END:
            raise CorruptData(f"run {path} has no end mark: it was not finished, or is cut off")
        crc, length, _ = TRAILER.unpack(tail)
        index = file.pread(length, max(0, file.size - TRAILER.size - length))
        if google_crc32c.value(index) != crc:
            raise CorruptData(f"the index of run {path} does not match its checksum")
        return tuple(PartitionSlice(*row) for row in msgpack.unpackb(index))
    finally:
        file.close()


def read_groups(
    files: FileSystem, slice_: Slice, values: ValueCodec, gone: Callable[[int], None] = _untold
) -> Iterator[Group]:
    """The groups of a slice, one chunk in memory at a time.  Raises CorruptData, naming the place.

    Calls `gone` with the bytes that have been taken, chunk by chunk.
    """
    for keys, counts, flat, _ in _read_chunks(files, slice_, values, gone):
        if keys:  # else a mark
            yield from _groups_of(keys, counts, flat)


def _groups_of(keys: Sequence[bytes], counts: Sequence[int] | None, flat: Sequence[Any]) -> Iterator[Group]:
    if counts is None:
        return zip(keys, zip(flat, strict=True), strict=True)
    return zip(keys, map(list, map(islice, repeat(iter(flat)), counts)), strict=True)


def read_group_lists(files: FileSystem, slice_: Slice, values: ValueCodec) -> Iterator[list[Group]]:
    """The groups of a slice, a list for each chunk.  Raises CorruptData."""
    for keys, counts, flat, _ in _read_chunks(files, slice_, values):
        if keys:
            yield list(_groups_of(keys, counts, flat))


def gather_groups(
    files: FileSystem,
    slice_: Slice,
    values: ValueCodec,
    into: defaultdict[bytes, list[Any]],
    gone: Callable[[int], None] = _untold,
) -> None:
    """Add the values of a slice to those of their keys.  Raises CorruptData.

    Calls `gone` as `read_groups` does.
    """
    for keys, counts, flat, _ in _read_chunks(files, slice_, values, gone):
        if not keys:  # a mark
            continue
        if counts is None:
            for key, value in zip(keys, flat, strict=True):
                into[key].append(value)
            continue
        rest = iter(flat)
        for key, count in zip(keys, counts, strict=True):
            into[key].extend(islice(rest, count))


def read_pairs(
    files: FileSystem, slice_: Slice, values: ValueCodec, gone: Callable[[int], None] = _untold
) -> Iterator[Iterable[tuple[bytes, Any]]]:
    """The keys of a slice, each with each of its values, one chunk at a time.  Raises CorruptData.

    Calls `gone` as `read_groups` does.
    """
    for keys, counts, flat, _ in _read_chunks(files, slice_, values, gone):
        if keys:
            yield zip(
                keys if counts is None else chain.from_iterable(map(repeat, keys, counts)), flat, strict=True
            )


def read_rows_of(
    files: FileSystem, slice_: Slice, values: ValueCodec, gone: Callable[[int], None] = _untold
) -> Iterator[RowBlock]:
    """The records of a slice of keys with one value each, in their order, one chunk at a time.

    Raises CorruptData.  Calls `gone` as `read_groups` does.
    """
    for keys, counts, flat, raw in _read_chunks(files, slice_, values, gone):
        if counts is not None:
            raise CorruptData(f"run {slice_.path} has groups where rows one by one are expected")
        if keys:
            yield RowBlock(keys, flat, raw)


def read_keys(files: FileSystem, slice_: Slice, values: ValueCodec) -> Iterator[Sequence[bytes]]:
    """The keys of a slice, one chunk at a time; each as often as it has values.  Raises CorruptData."""
    for keys, counts, _, _ in _read_chunks(files, slice_, values):
        yield keys if counts is None else list(chain.from_iterable(map(repeat, keys, counts)))


def read_mark(files: FileSystem, slice_: Slice, values: ValueCodec) -> bytes:
    """The mark at the start of a slice, b"" without one.  Raises CorruptData."""
    with closing(_read_chunks(files, slice_, values)) as chunks:
        keys, _, flat, _ = next(chunks, ([b""], None, [], 0))
    return b"" if keys else bytes(flat[0])


def _read_chunks(
    files: FileSystem, slice_: Slice, values: ValueCodec, gone: Callable[[int], None] = _untold
) -> Generator[tuple[Sequence[bytes], Sequence[int] | None, Sequence[Any], int]]:
    """Keys, values a key or None where each has one, values, and the bytes that they took unpacked."""
    if not slice_.length and not slice_.records:  # there may be no file
        return
    file = files.open_read(slice_.path)
    unzstd = zstandard.ZstdDecompressor()
    at, end, records = slice_.offset, slice_.offset + slice_.length, 0
    window, start = b"", at
    try:
        while at < end:
            if at + CHUNK_HEADER.size > start + len(window):
                window, start = file.pread(min(READ_BYTES, end - at), at), at
            where = f"{slice_.path} at {at}"
            header = window[at - start : at - start + CHUNK_HEADER.size]
            if len(header) < CHUNK_HEADER.size:
                raise CorruptData(f"a chunk of run {where} is cut off")
            crc, stored, raw, count, method = CHUNK_HEADER.unpack(header)
            body_at = at + CHUNK_HEADER.size
            if body_at + stored > end:
                raise CorruptData(f"a chunk of run {where} claims {stored} bytes, {end - body_at} are left")
            if body_at + stored > start + len(window):
                window, start = file.pread(max(stored, min(READ_BYTES, end - body_at)), body_at), body_at
            body = window[body_at - start : body_at - start + stored]
            if google_crc32c.extend(google_crc32c.value(header[4:]), body) != crc:
                raise CorruptData(f"a chunk of run {where} does not match its checksum")
            block = unpack_block(_unpacked(body, raw, method, unzstd), use_lists=values.uses_lists)
            keys, counts, flat = block
            gone(stored // 2)  # half of it now and half when it has been taken: right in the middle
            yield keys, counts, values.from_wire(flat) if keys else flat, raw
            gone(body_at + stored - at - stored // 2)
            records += count
            at = body_at + stored
    finally:
        file.close()
    if records != slice_.records:
        raise CorruptData(
            f"a slice of run {slice_.path} has {records} records, {slice_.records} were written"
        )


def _unpacked(body: bytes, raw: int, method: int, unzstd: zstandard.ZstdDecompressor) -> bytes:
    if method == _METHODS["zstd"]:
        return unzstd.decompress(body, max_output_size=raw)
    if method == _METHODS["lz4"]:
        unpacked: bytes = lz4.block.decompress(body, uncompressed_size=raw)
        return unpacked
    return body
