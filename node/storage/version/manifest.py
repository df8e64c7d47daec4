"""The manifest on disk: the version edits, and CURRENT, which names the manifest in force.

An edit counts once it is synced; a new manifest counts once CURRENT was replaced and the folder synced.
Rules E1 and E6: docs/protocol/engine.md.
Layout: docs/formats/manifest.md.  node/storage/version/version.py defines the meaning of an edit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from struct import Struct
from typing import Final

from ringmill.cluster.ports import AppendFile, FileSystem
from ringmill.node.storage.checksum import checksum
from ringmill.node.storage.log.framing import Damage, Record, frame, read_records
from ringmill.node.storage.log.readable_parts import read_parts
from ringmill.node.storage.names import CURRENT, current_temporary, manifest_name, parse_name
from ringmill.node.storage.storage_errors import CorruptBlock, NewerFormat, damage_at
from ringmill.node.storage.version.version import (
    EditedVersion,
    MalformedEdit,
    Version,
    VersionEdit,
    decode_edit,
    encode_edit,
    snapshot_edit,
)

__all__ = [
    "ManifestFile",
    "create_manifest",
    "has_torn_end",
    "read_current",
    "read_edits",
    "read_manifest",
    "readable_edits",
]

MANIFEST_VERSION: Final = 2
_FORMER_VERSION: Final = 1  # its edits end before the salvaged tables
_MAGIC: Final = b"RINGMAN\0"
_HEADER_KIND: Final = 1
_EDIT_KIND: Final = 2
_HEADER: Final = Struct("<B8sHQ")
_EDIT: Final = Struct("<BQ")  # kind, number of the edit
MAX_MANIFEST_BYTES: Final = 4 << 20  # past this a new manifest is begun
MOST_GROWTH: Final = 2
"""Times what it began with is what it may grow to besides: a large store would begin one for each edit."""


class ManifestFile:
    """The manifest in force, open for the next edit.  One edit is written at a time."""

    def __init__(self, file: AppendFile, file_id: int, edits: int) -> None:
        self.file_id = file_id
        self.synced_bytes = file.size
        self._file = file
        self._first_bytes = file.size  # header and first edit
        self._edits = edits

    @property
    def is_long(self) -> bool:
        return self._file.size > max(MAX_MANIFEST_BYTES, MOST_GROWTH * self._first_bytes)

    async def append(self, edit: VersionEdit) -> None:
        """Make an edit durable.  Raises OSError; after that the file must not be written again."""
        payload = _EDIT.pack(_EDIT_KIND, self._edits) + encode_edit(edit)
        await self._file.append_and_sync(frame(self.file_id, self._file.size, payload))
        self._edits += 1
        self.synced_bytes = self._file.size

    def close(self) -> None:
        self._file.close()


def create_manifest(files: FileSystem, folder: str, file_id: int, version: Version) -> ManifestFile:
    """Begin a manifest with `version` as its first edit and make CURRENT name it.  Blocks.

    Raises OSError; then either manifest may be in force after a restart, and both have the same content.  One
    that certainly is not is deleted.
    """
    file = files.create(f"{folder}/{manifest_name(file_id)}")
    temporary = f"{folder}/{current_temporary(file_id)}"
    is_unnamed = True
    try:
        header = frame(file_id, 0, _HEADER.pack(_HEADER_KIND, _MAGIC, MANIFEST_VERSION, file_id))
        file.append(header)
        edit = _EDIT.pack(_EDIT_KIND, 0) + encode_edit(snapshot_edit(version))
        file.append(frame(file_id, file.size, edit))
        file.sync()
        _write_pointer(files, temporary, file_id)
        files.fsync_dir(folder)
        is_unnamed = False  # even a rename that fails may have been done
        files.rename(temporary, f"{folder}/{CURRENT}")
        files.fsync_dir(folder)
    except Exception:
        file.close()
        for path in (temporary, file.path) if is_unnamed else ():
            with suppress(OSError):  # what stays is deleted when the folder is opened next
                files.unlink(path)
        raise
    return ManifestFile(file, file_id, edits=1)


def _write_pointer(files: FileSystem, path: str, file_id: int) -> None:
    """The file that becomes CURRENT, synced."""
    pointer = files.create(path)
    try:
        pointer.append(_pointer(file_id))
        pointer.sync()
    finally:
        pointer.close()


def read_current(files: FileSystem, folder: str) -> int:
    """File id of the manifest in force.  Blocks.  Raises CorruptBlock, FileNotFoundError."""
    path = f"{folder}/{CURRENT}"
    with damage_at(path, 0):
        text = files.read_bytes(path)
    named = parse_name(text.decode("ascii", "replace").partition(" ")[0])
    if named is None or named.kind != "manifest" or text != _pointer(named.file_id):
        raise CorruptBlock(path, 0, f"{text[:40]!r} names no manifest, or its checksum is wrong")
    return named.file_id


def read_manifest(
    files: FileSystem, folder: str, file_id: int, *, synced_bytes: int | None = None
) -> Version:
    """The version after all edits of a manifest, or of its first `synced_bytes`, where nothing may be torn.

    Blocks.

    Raises CorruptBlock, NewerFormat, FileNotFoundError.
    """
    path = f"{folder}/{manifest_name(file_id)}"
    edited, last = EditedVersion(), -1
    try:
        for number, edit in read_edits(files, folder, file_id, synced_bytes=synced_bytes):
            last = number
            edited.add(edit)
        version = edited.result()
    except MalformedEdit as error:
        raise CorruptBlock(path, 0, f"edit {last}: {error}") from None
    if last < 0:
        raise CorruptBlock(path, 0, "no whole edit in it")
    return version


def read_edits(
    files: FileSystem, folder: str, file_id: int, *, synced_bytes: int | None = None
) -> Iterator[tuple[int, VersionEdit]]:
    """The edits of a manifest, or of its first `synced_bytes`, with their numbers.  Blocks.

    Edits are synced one by one, so only the last record may be torn; damage before a whole record is
    corruption.  Raises CorruptBlock, NewerFormat, FileNotFoundError.
    """
    path = f"{folder}/{manifest_name(file_id)}"
    number = -1
    damage: Damage | None = None
    data = read_parts(files, path, reads_around=False).data
    if synced_bytes is not None and len(data) < synced_bytes:
        raise CorruptBlock(path, len(data), f"{synced_bytes} bytes were synced, {len(data)} are left")
    for record in read_records(file_id, data[:synced_bytes]):
        if isinstance(record, Damage):
            damage = record
            continue
        _check_known(path, record)
        if damage is not None:
            raise CorruptBlock(path, damage.offset, f"{damage.why}, followed by a whole record")
        if number < 0:
            _check_header(path, file_id, record)
        else:
            yield number, _parse_edit(path, record, number)
        number += 1
    if damage is not None and synced_bytes is not None:
        raise CorruptBlock(path, damage.offset, damage.why)


def has_torn_end(files: FileSystem, folder: str, file_id: int) -> bool:
    """Whether the last edit of a manifest is torn by a power cut or damaged.  Blocks.

    Raises UnreadableBlock, OSError.
    """
    read = read_parts(files, f"{folder}/{manifest_name(file_id)}", reads_around=False)
    records = list(read_records(file_id, read.data))
    return not records or isinstance(records[-1], Damage)


def readable_edits(
    files: FileSystem, folder: str, file_id: int, *, reads_around: bool
) -> Iterator[VersionEdit]:
    """Every readable edit of a damaged manifest, even if others between them are missing.  Blocks.

    Raises NewerFormat, OSError; UnreadableBlock unless it `reads_around`.
    """
    path = f"{folder}/{manifest_name(file_id)}"
    read = read_parts(files, path, reads_around=reads_around)
    for record in read_records(file_id, read.data):
        if isinstance(record, Damage):
            continue
        _check_known(path, record)
        if record.payload[:1] == bytes([_EDIT_KIND]):
            with suppress(MalformedEdit):
                yield decode_edit(record.payload[_EDIT.size :])


def _pointer(file_id: int) -> bytes:
    name = manifest_name(file_id)
    return f"{name} {checksum(file_id, 0, 0, name.encode()):08x}\n".encode()


def _check_known(path: str, record: Record) -> None:
    """A later release may write what looks like damage here.  Raises NewerFormat."""
    kind = record.payload[0] if record.payload else 0
    if kind == _HEADER_KIND and len(record.payload) >= _HEADER.size:
        _, magic, version, _ = _HEADER.unpack_from(record.payload)
        if magic == _MAGIC and version > MANIFEST_VERSION:
            raise NewerFormat(path, f"version {version}, this one reads up to {MANIFEST_VERSION}")
    if kind > _EDIT_KIND:
        raise NewerFormat(path, f"a record of kind {kind} at byte {record.offset}")


def _check_header(path: str, file_id: int, record: Record) -> None:
    known = [
        _HEADER.pack(_HEADER_KIND, _MAGIC, version, file_id)
        for version in (MANIFEST_VERSION, _FORMER_VERSION)
    ]
    if record.payload not in known:
        raise CorruptBlock(path, record.offset, f"not the header of a manifest of version {MANIFEST_VERSION}")


def _parse_edit(path: str, record: Record, number: int) -> VersionEdit:
    if record.payload[: _EDIT.size] != _EDIT.pack(_EDIT_KIND, number):
        raise CorruptBlock(path, record.offset, f"edit {number} is missing")
    try:
        return decode_edit(record.payload[_EDIT.size :])
    except MalformedEdit as error:
        raise CorruptBlock(path, record.offset, str(error)) from None
