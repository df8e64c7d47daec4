"""Records in a file of 32 KiB blocks: the framing that logs and manifests share.

A record is cut into fragments that never cross a block, each with crc32c, length and type, so that a reader
can resynchronise after damage.  Pure: bytes in, bytes out (docs/formats/log.md; the idea is LevelDB's log
format).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from ringmill.node.storage.checksum import checksum

__all__ = ["BLOCK_BYTES", "Damage", "Record", "frame", "read_records"]

BLOCK_BYTES: Final = 32 * 1024
FULL: Final = 1
FIRST: Final = 2
MIDDLE: Final = 3
LAST: Final = 4

_HEAD: Final = Struct("<IHB")  # crc32c, length, type
_HEAD_BYTES: Final = _HEAD.size
_TYPES: Final = re.compile(rb"[\x01-\x04]")


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record: its first byte and the byte after it, both offsets in the file."""

    offset: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are not a record.  Reading continues after them, at `end`."""

    offset: int
    end: int
    why: str


def frame(file_id: int, offset: int, payload: bytes) -> bytes:
    """The bytes that append `payload` to a file that now ends at `offset`."""
    if offset % BLOCK_BYTES + _HEAD_BYTES + len(payload) <= BLOCK_BYTES:
        return _HEAD.pack(checksum(file_id, offset, FULL, payload), len(payload), FULL) + payload
    parts: list[bytes] = []
    rest = payload
    kind_when_last, kind_when_more = FULL, FIRST
    while True:
        left_bytes = BLOCK_BYTES - offset % BLOCK_BYTES
        if left_bytes < _HEAD_BYTES:
            parts.append(bytes(left_bytes))
            offset += left_bytes
            left_bytes = BLOCK_BYTES
        piece, rest = rest[: left_bytes - _HEAD_BYTES], rest[left_bytes - _HEAD_BYTES :]
        kind = kind_when_more if rest else kind_when_last
        parts += (_HEAD.pack(checksum(file_id, offset, kind, piece), len(piece), kind), piece)
        if not rest:
            return b"".join(parts)
        offset += _HEAD_BYTES + len(piece)
        kind_when_last, kind_when_more = LAST, MIDDLE


def read_records(file_id: int, data: bytes) -> Iterator[Record | Damage]:
    """Every record of a file in order, and the damage between them.

    Adjacent unreadable bytes are one Damage.
    """
    damage: Damage | None = None
    for item in _assemble(file_id, data):
        if isinstance(item, Damage):
            damage = Damage(damage.offset, item.end, damage.why) if damage else item
            continue
        if damage:
            yield damage
            damage = None
        yield item
    if damage:
        yield damage


@dataclass(frozen=True, slots=True)
class _Fragment:
    offset: int
    end: int
    kind: int
    piece: bytes


def _assemble(file_id: int, data: bytes) -> Iterator[Record | Damage]:
    """Join fragments; a record that lacks a fragment is damage from its first byte on."""
    start = -1
    pieces: list[bytes] = []
    for item in _fragments(file_id, data):
        begins = isinstance(item, Damage) or item.kind in (FULL, FIRST)
        if start >= 0 and begins:
            yield Damage(start, item.offset, "a record without its end")
            start, pieces = -1, []
        if isinstance(item, Damage):
            yield item
        elif item.kind == FULL:
            yield Record(item.offset, item.end, item.piece)
        elif item.kind == FIRST:
            start, pieces = item.offset, [item.piece]
        elif start < 0:
            yield Damage(item.offset, item.end, "a record without its beginning")
        else:
            pieces.append(item.piece)
            if item.kind == LAST:
                yield Record(start, item.end, b"".join(pieces))
                start, pieces = -1, []
    if start >= 0:
        yield Damage(start, len(data), "a record without its end")


def _fragments(file_id: int, data: bytes) -> Iterator[_Fragment | Damage]:
    at = 0
    size = len(data)
    while at < size:
        block_end = min(at - at % BLOCK_BYTES + BLOCK_BYTES, size)
        if block_end - at < _HEAD_BYTES:
            filler = data[at:block_end]
            if block_end % BLOCK_BYTES or filler.strip(b"\0"):
                yield Damage(at, block_end, f"{block_end - at} stray bytes")
            at = block_end
            continue
        fragment = _fragment_at(file_id, data, at, block_end)
        if fragment is None:
            end = _next_fragment(file_id, data, at + 1, block_end)
            yield Damage(at, end, "no fragment with a right checksum")
            at = end
        else:
            yield fragment
            at = fragment.end


def _fragment_at(file_id: int, data: bytes, at: int, block_end: int) -> _Fragment | None:
    crc, length, kind = _HEAD.unpack_from(data, at)
    end = at + _HEAD_BYTES + length
    if end > block_end or not FULL <= kind <= LAST:
        return None
    piece = data[at + _HEAD_BYTES : end]
    return _Fragment(at, end, kind, piece) if checksum(file_id, at, kind, piece) == crc else None


def _next_fragment(file_id: int, data: bytes, start: int, block_end: int) -> int:
    """The next offset in this block where a fragment begins, or its end.  The checksum covers the offset, so
    chance matches are ruled out."""
    for match in _TYPES.finditer(data, start + _HEAD_BYTES - 1, block_end):
        at = match.start() - _HEAD_BYTES + 1
        if _fragment_at(file_id, data, at, block_end):
            return at
    return block_end
