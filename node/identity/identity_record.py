"""The record of an IDENTITY file as bytes: several copies, each with its own checksum.

One sound copy in either file is enough; among sound copies the one with the highest edition counts.
Layout: docs/formats/identity.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from ringmill.cluster.ids import DiskId, NodeId, Start

__all__ = [
    "IdentityRecord",
    "record_copies",
    "encode_record",
    "newest_record",
    "sound_copies",
]

_MAGIC: Final = "ringmill-identity 2"
_FIRST_MAGIC: Final = "ringmill-identity 1"
_COPIES: Final = 2  # in one file
_CHECK: Final = "crc32 "


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """The identity of a folder.  `edition` grows with each write; `earlier` starts are newest first."""

    node: NodeId
    disk: DiskId
    start: Start
    edition: int = 1
    earlier: tuple[Start, ...] = field(default=())
    store: int | None = None  # number of the store's manifest at this start
    left: tuple[tuple[str, int], ...] = ()  # files of the store and their sizes in bytes, after a clean stop
    superseded: Start | None = None  # a start on newer data exists, so this folder is an old copy


def record_copies(record: IdentityRecord) -> bytes:
    """A file's bytes."""
    return encode_record(record) * _COPIES


def encode_record(record: IdentityRecord) -> bytes:
    """One line for each field, then a checksum of them all."""
    lines = (
        _MAGIC,
        f"edition {record.edition}",
        f"node {record.node}",
        f"disk {record.disk}",
        f"start {_start_text(record.start)}",
        f"earlier {' '.join(map(_start_text, record.earlier)) or '-'}",
        f"store {'-' if record.store is None else record.store}",
        f"left {' '.join(f'{name}:{size}' for name, size in record.left) or '-'}",
        f"superseded {_start_text(record.superseded) if record.superseded else '-'}",
    )
    body = "\n".join(lines) + "\n"
    return f"{body}{_CHECK}{crc32(body.encode()):08x}\n".encode()


def newest_record(files: Iterable[bytes]) -> IdentityRecord | None:
    """The record in force among all sound copies of some files, None when there is none."""
    found = [record for data in files for record in sound_copies(data)]
    return max(found, key=lambda record: (record.edition, record.start.number), default=None)


def sound_copies(data: bytes) -> list[IdentityRecord]:
    """Every undamaged copy in a file; a damaged copy does not hide those after it."""
    found: list[IdentityRecord] = []
    for magic, parse in ((_MAGIC, _parse), (_FIRST_MAGIC, _parse_first)):
        for part in data.split(f"{magic}\n".encode())[1:]:
            copy = f"{magic}\n".encode() + part
            record = parse(copy)
            if record is not None:
                found.append(record)
    return found


def _parse(copy: bytes) -> IdentityRecord | None:
    fields = _fields(copy, ("edition", "node", "disk", "start", "earlier", "store", "left", "superseded"))
    if fields is None:
        return None
    try:
        earlier, superseded = fields["earlier"], fields["superseded"]
        record = IdentityRecord(
            NodeId(fields["node"]),
            DiskId(fields["disk"]),
            _start(fields["start"]),
            int(fields["edition"]),
            () if earlier == "-" else tuple(map(_start, earlier.split(" "))),
            None if fields["store"] == "-" else int(fields["store"]),
            () if fields["left"] == "-" else tuple(map(_left, fields["left"].split(" "))),
            None if superseded == "-" else _start(superseded),
        )
    except ValueError:
        return None
    return record if copy.startswith(encode_record(record)) else None


def _parse_first(copy: bytes) -> IdentityRecord | None:
    """A record of version 1, which had one copy, the actors used, and a mark of a clean stop."""
    fields = _fields(copy, ("node", "disk", "start", "boot", "next-actor", "clean-stop"))
    if fields is None:
        return None
    try:
        start = Start(int(fields["start"]), fields["boot"])
    except ValueError:
        return None
    return IdentityRecord(NodeId(fields["node"]), DiskId(fields["disk"]), start)


def _fields(copy: bytes, names: tuple[str, ...]) -> dict[str, str] | None:
    """The fields behind the first line, None unless they are these, in this order, under a right checksum."""
    lines = copy.decode("utf-8", "replace").split("\n")
    body = "".join(f"{line}\n" for line in lines[: len(names) + 1])
    if lines[len(names) + 1 : len(names) + 2] != [f"{_CHECK}{crc32(body.encode()):08x}"]:
        return None
    pairs = [line.partition(" ") for line in lines[1 : len(names) + 1]]
    return {name: value for name, _, value in pairs} if tuple(p[0] for p in pairs) == names else None


def _start_text(start: Start) -> str:
    return f"{start.number}.{start.boot}"


def _left(text: str) -> tuple[str, int]:
    """Raises ValueError."""
    name, _, size_bytes = text.rpartition(":")
    return name, int(size_bytes)


def _start(text: str) -> Start:
    """Raises ValueError."""
    number, _, boot = text.partition(".")
    return Start(int(number), boot)
