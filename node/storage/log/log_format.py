"""What the records of a write-ahead log say (docs/formats/log.md); how they are framed is in framing.py.

A log has a header, groups of batches with consecutive sequence numbers, sync marks, and a seal if it was
closed in order.  Groups, marks and seals carry the highest sequence that was durable when they were written.
Damage at or below such a number has destroyed acknowledged data; damage above it is what a power cut leaves.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from ringmill.node.storage.batch import MalformedBatch
from ringmill.node.storage.log.framing import Damage, Record, read_records
from ringmill.node.storage.names import log_name
from ringmill.node.storage.storage_errors import NewerFormat

__all__ = [
    "LOG_VERSION",
    "BatchGroup",
    "Header",
    "SyncMark",
    "LogItem",
    "encode_group",
    "encode_header",
    "encode_mark",
    "read_log",
]

LOG_VERSION: Final = 2
_FORMER_VERSION: Final = 1  # version 1 has no records of kind 5
_MAGIC: Final = b"RINGLOG\0"

_HEADER_KIND: Final = 1
_GROUP_KIND: Final = 2
_MARK_KIND: Final = 3
_SEAL_KIND: Final = 4
_BATCH_KIND: Final = 5

_HEADER: Final = Struct("<B8sHQQ")  # kind, magic, version, file id, first sequence
_GROUP: Final = Struct("<BQQI")  # kind, durable, first sequence, batches
_BATCH: Final = Struct("<BQI")  # kind, first sequence, how far that is above durable
_MOST_ABOVE: Final = (1 << 32) - 1
_MARK: Final = Struct("<BQ")  # kind, durable
_LENGTH: Final = Struct("<I")


@dataclass(frozen=True, slots=True)
class Header:
    first_sequence: int


@dataclass(frozen=True, slots=True)
class BatchGroup:
    """Batches with the sequences first_sequence, first_sequence + 1, ... in `payload`; a bare one has neither
    count nor length."""

    durable: int
    first_sequence: int
    count: int
    payload: bytes
    is_bare: bool = False

    @property
    def last_sequence(self) -> int:
        return self.first_sequence + self.count - 1

    def batches(self) -> Iterator[tuple[int, int, int]]:
        """(sequence, start, end) of each batch's changes in `payload`.  Raises MalformedBatch."""
        if self.is_bare:
            yield self.first_sequence, _BATCH.size, len(self.payload)
            return
        at = _GROUP.size
        for sequence in range(self.first_sequence, self.first_sequence + self.count):
            if at + _LENGTH.size > len(self.payload):
                raise MalformedBatch(f"a group of {self.count} batches ends before batch {sequence}")
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(self.payload, at)[0]
            if at > len(self.payload):
                raise MalformedBatch(f"batch {sequence} ends {at - len(self.payload)} bytes after its group")
            yield sequence, start, at
        if at != len(self.payload):
            raise MalformedBatch(f"{len(self.payload) - at} bytes after the last batch of a group")


@dataclass(frozen=True, slots=True)
class SyncMark:
    """All batches up to `durable` were on the disk; a seal also says that nothing follows."""

    durable: int
    is_seal: bool


LogItem = Header | BatchGroup | SyncMark


def encode_header(file_id: int, first_sequence: int) -> bytes:
    return _HEADER.pack(_HEADER_KIND, _MAGIC, LOG_VERSION, file_id, first_sequence)


def encode_group(durable: int, first_sequence: int, batches: Sequence[bytes]) -> bytes:
    above = first_sequence - durable
    if len(batches) == 1 and above <= _MOST_ABOVE:
        return _BATCH.pack(_BATCH_KIND, first_sequence, above) + batches[0]
    lengths = map(_LENGTH.pack, map(len, batches))
    parts = [part for pair in zip(lengths, batches, strict=True) for part in pair]
    return _GROUP.pack(_GROUP_KIND, durable, first_sequence, len(batches)) + b"".join(parts)


def encode_mark(durable: int, *, is_seal: bool) -> bytes:
    return _MARK.pack(_SEAL_KIND if is_seal else _MARK_KIND, durable)


def read_log(file_id: int, data: bytes) -> Iterator[tuple[int, int, LogItem | Damage]]:
    """(offset, end, item) of everything in a log; a whole record without a meaning is Damage, too.

    Raises NewerFormat for one that a later release has written.
    """
    for record in read_records(file_id, data):
        if isinstance(record, Damage):
            yield record.offset, record.end, record
        else:
            yield record.offset, record.end, _parse(file_id, record)


def _parse(file_id: int, record: Record) -> LogItem | Damage:
    payload = record.payload
    kind = payload[0] if payload else 0
    if kind > _BATCH_KIND:  # its checksum is right, so this is neither damage nor a torn tail
        raise NewerFormat(log_name(file_id), f"a record of kind {kind} at byte {record.offset}")
    if kind == _HEADER_KIND and len(payload) >= _HEADER.size:
        _, magic, version, named, first = _HEADER.unpack_from(payload)
        if magic == _MAGIC and version > LOG_VERSION:
            raise NewerFormat(log_name(file_id), f"version {version}, this one reads up to {LOG_VERSION}")
        fits = magic == _MAGIC and named == file_id and len(payload) == _HEADER.size
        if fits and version in (LOG_VERSION, _FORMER_VERSION):
            return Header(first)
        return Damage(record.offset, record.end, f"header of version {version} for file {named}")
    if kind == _GROUP_KIND and len(payload) >= _GROUP.size:
        _, durable, first, count = _GROUP.unpack_from(payload)
        if count * _LENGTH.size + _GROUP.size <= len(payload) and count:
            return BatchGroup(durable, first, count, payload)
    if kind == _BATCH_KIND and len(payload) >= _BATCH.size:
        _, first, above = _BATCH.unpack_from(payload)
        if above <= first:
            return BatchGroup(first - above, first, 1, payload, is_bare=True)
    if kind in (_MARK_KIND, _SEAL_KIND) and len(payload) == _MARK.size:
        return SyncMark(_MARK.unpack(payload)[1], kind == _SEAL_KIND)
    return Damage(record.offset, record.end, f"a record of kind {kind} and {len(payload)} bytes")
