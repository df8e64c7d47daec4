"""Layout of a sorted table (docs/formats/table.md): constants, handles, footer, index, properties.  Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate, pairwise
from struct import Struct, error
from typing import Final, NamedTuple, overload

import msgpack

from ringmill.node.storage.checksum import checksum
from ringmill.node.storage.names import table_name
from ringmill.node.storage.storage_errors import NewerFormat

__all__ = [
    "FOOTER_BYTES",
    "TABLE_VERSION",
    "TRAILER_BYTES",
    "Footer",
    "Handle",
    "Handles",
    "MalformedTable",
    "TableMeta",
    "decode_footer",
    "decode_index",
    "decode_meta",
    "encode_footer",
    "encode_index",
    "encode_meta",
    "pack_trailer",
    "unpack_trailer",
]

TABLE_VERSION: Final = 1
_MAGIC: Final = b"RINGSST\0"
_FOOTER_KIND: Final = 0xFF

_TRAILER: Final = Struct("<BI")  # compression code, crc32c
TRAILER_BYTES: Final = _TRAILER.size
_FOOTER: Final = Struct("<QIQIQIHQ8s")
_CRC: Final = Struct("<I")
FOOTER_BYTES: Final = _FOOTER.size + _CRC.size

pack_trailer = _TRAILER.pack
unpack_trailer = _TRAILER.unpack_from


class MalformedTable(ValueError):
    """Bytes that are not a footer, index or properties."""


class Handle(NamedTuple):
    """Where a block lies: its offset and its stored size without the trailer."""

    offset: int
    size: int


class Handles(Sequence[Handle]):
    """The handles of a table's data blocks, created on demand: ten thousand objects per table would take too
    long to create and burden the garbage collector."""

    __slots__ = ("starts",)

    def __init__(self, sizes: Sequence[int]) -> None:
        # offset of each block, and that after the last
        self.starts = array("Q", accumulate((size + TRAILER_BYTES for size in sizes), initial=0))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def end(self) -> int:
        """The offset after the last block."""
        return self.starts[-1]

    @overload
    def __getitem__(self, at: int) -> Handle: ...
    @overload
    def __getitem__(self, at: slice) -> list[Handle]: ...
    def __getitem__(self, at: int | slice) -> Handle | list[Handle]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        start = self.starts[at]
        return Handle(start, self.starts[at + 1] - start - TRAILER_BYTES)


class Footer(NamedTuple):
    filter_at: Handle
    index_at: Handle
    properties_at: Handle
    file_id: int


@dataclass(frozen=True, slots=True)
class TableMeta:
    """What the manifest and the table itself say about a table."""

    file_id: int
    size: int
    smallest: bytes
    largest: bytes
    first_sequence: int  # lowest and highest of its versions
    last_sequence: int
    entries: int
    tombstones: int
    has_versions: bool  # some key has more than one version in it
    raw_bytes: int  # keys and values before compression

    def overlaps(self, start: bytes, end: bytes) -> bool:
        """Whether the table's range overlaps [start, end], both included."""
        return self.smallest <= end and start <= self.largest


def encode_footer(footer: Footer, offset: int) -> bytes:
    body = _FOOTER.pack(
        *footer.filter_at, *footer.index_at, *footer.properties_at, TABLE_VERSION, footer.file_id, _MAGIC
    )
    return body + _CRC.pack(checksum(footer.file_id, offset, _FOOTER_KIND, body))


def decode_footer(data: bytes, file_id: int, offset: int) -> Footer:
    """Raises MalformedTable, NewerFormat."""
    if len(data) != FOOTER_BYTES:
        raise MalformedTable(f"a footer of {len(data)} bytes, {FOOTER_BYTES} expected")
    body = data[: _FOOTER.size]
    if checksum(file_id, offset, _FOOTER_KIND, body) != _CRC.unpack_from(data, _FOOTER.size)[0]:
        raise MalformedTable("footer checksum mismatch")
    *places, version, named, magic = _FOOTER.unpack(body)
    if magic == _MAGIC and version > TABLE_VERSION:
        raise NewerFormat(table_name(file_id), f"version {version}, this one reads up to {TABLE_VERSION}")
    if (version, named, magic) != (TABLE_VERSION, file_id, _MAGIC):
        raise MalformedTable(f"footer of version {version} for file {named}")
    handles = Handle(*places[0:2]), Handle(*places[2:4]), Handle(*places[4:6])
    if any(handle.offset + handle.size + TRAILER_BYTES > offset for handle in handles):
        raise MalformedTable(f"a footer at byte {offset} that names blocks at {handles}")
    return Footer(*handles, named)


def encode_index(last_keys: Sequence[bytes], sizes: Sequence[int]) -> bytes:
    """Last key and stored size of each data block; the blocks lie one after another from offset 0."""
    count = len(last_keys)
    return b"".join(
        (
            _CRC.pack(count),
            Struct(f"<{count}I").pack(*sizes),
            Struct(f"<{count}H").pack(*map(len, last_keys)),
            *last_keys,
        )
    )


def decode_index(data: bytes) -> tuple[tuple[bytes, ...], Handles]:
    """Raises MalformedTable."""
    try:
        (count,) = _CRC.unpack_from(data, 0)
        if not count or count * 6 + 4 > len(data):
            raise MalformedTable(f"an index of {count} blocks in {len(data)} bytes")
        sizes = Struct(f"<{count}I").unpack_from(data, 4)
        lengths = Struct(f"<{count}H").unpack_from(data, 4 + 4 * count)
    except error:
        raise MalformedTable(f"an index of {len(data)} bytes ends early") from None
    ends = list(accumulate(lengths, initial=4 + 6 * count))
    if ends[-1] != len(data):
        raise MalformedTable(f"index keys end at byte {ends[-1]} of {len(data)}")
    return tuple([data[start:end] for start, end in pairwise(ends)]), Handles(sizes)


def encode_meta(meta: TableMeta) -> bytes:
    packed: bytes = msgpack.packb(astuple(meta))
    return packed


def decode_meta(data: bytes) -> TableMeta:
    """Raises MalformedTable."""
    try:
        fields = msgpack.unpackb(data)
    except ValueError as problem:
        raise MalformedTable(f"properties: {problem}") from None
    return meta_of(fields)


def meta_of(fields: object) -> TableMeta:
    """A TableMeta from decoded fields.  Raises MalformedTable when their number or types are wrong."""
    kinds = (int, int, bytes, bytes, int, int, int, int, bool, int)
    if not isinstance(fields, list) or [type(field) for field in fields] != list(kinds):
        raise MalformedTable("properties with unknown fields")
    return TableMeta(*fields)
