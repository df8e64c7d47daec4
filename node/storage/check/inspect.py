"""Lists the contents of a storage folder as plain records.  It only reads, and opens no engine.

The folder may be in use: a file that disappears meanwhile is left out, and is damage only when the manifest
names it still.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.batch import DROP_PREFIX, PUT, MalformedBatch, parse_changes
from ringmill.node.storage.check.verify import check_current, check_file
from ringmill.node.storage.log.framing import Damage
from ringmill.node.storage.log.log_format import BatchGroup, Header, SyncMark, read_log
from ringmill.node.storage.names import CURRENT, FilePart, log_name, manifest_name, parse_name, table_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import open_table
from ringmill.node.storage.version.manifest import read_current, read_edits, read_manifest
from ringmill.node.storage.version.version import Version

__all__ = ["Row", "dump_file", "inspect_folder", "verify_folder"]

Row = dict[str, object]
_KIND: Final = {PUT: "put", DROP_PREFIX: "drop prefix"}


def inspect_folder(files: FileSystem, folder: str) -> Iterator[Row]:
    """The manifest in force, each table, each log, dropped prefixes, unreadable ranges.

    Raises CorruptBlock when the manifest cannot be read, OSError.
    """
    manifest_id, version = _in_force(files, folder)
    yield {
        "what": "manifest",
        "file": manifest_name(manifest_id),
        "oldest_log": version.oldest_log,
        "flushed_sequence": version.flushed_sequence,
        "reserved_ids": version.reserved_ids,
    }
    for level, tables in enumerate(version.levels):
        for meta in tables:
            yield {"what": "table", "file": table_name(meta.file_id), "level": level, **_table(meta)}
    for meta in version.salvaged:
        yield {"what": "salvaged", "file": table_name(meta.file_id), **_table(meta)}
    for name in files.list(folder):
        parsed = parse_name(name)
        if parsed is not None and parsed.kind == "log":
            with suppress(FileNotFoundError):  # flushed meanwhile
                yield {"what": "log", "file": name, **_log(files, folder, parsed.file_id)}
    for drop in version.drops:
        yield {"what": "drop", "prefix": drop.prefix, "sequence": drop.sequence}
    for mark in version.marks:
        yield {"what": "unreadable", "start": mark.start, "end": mark.end, "sequence": mark.sequence}


def verify_folder(files: FileSystem, folder: str) -> Iterator[Row]:
    """One row a file: how many damages, and where; a table that the manifest names and that is gone has a row
    too.  Raises OSError."""
    for name in files.list(folder):
        try:
            row = _verified(files, folder, name)
        except FileNotFoundError:  # merged, flushed or renewed meanwhile
            continue
        if row is not None:
            yield row
    for name in _missing_tables(files, folder):
        why = "the manifest names this table and it is not there"
        yield {"what": "table", "file": name, "bytes": 0, "damages": [{"offset": 0, "why": why}]}


def _verified(files: FileSystem, folder: str, name: str) -> Row | None:
    """Raises OSError."""
    parsed = parse_name(name)
    if name == CURRENT:
        kind, damages = "current", check_current(files, folder)
    elif parsed is None or parsed.kind == "temporary":
        return None
    else:
        kind = parsed.kind
        damages = [damage for step in check_file(files, folder, FilePart(parsed)) for damage in step.damages]
    return {
        "what": kind,
        "file": name,
        "bytes": files.size(f"{folder}/{name}"),
        "damages": [{"offset": damage.offset, "why": damage.why} for damage in damages],
    }


def _missing_tables(files: FileSystem, folder: str) -> list[str]:
    """Those that were not there when the manifest named them before and after."""
    try:
        missing = [name for name in _named_tables(files, folder) if not files.exists(f"{folder}/{name}")]
        named = _named_tables(files, folder) if missing else {}
    except (CorruptBlock, FileNotFoundError):  # the file has its own row
        return []
    return [name for name in missing if name in named]


def _named_tables(files: FileSystem, folder: str) -> dict[str, None]:
    _, version = _in_force(files, folder)
    return {table_name(meta.file_id): None for meta in version.all_tables()}


def _in_force(files: FileSystem, folder: str) -> tuple[int, Version]:
    """The manifest in force, which may be renewed meanwhile.  Raises CorruptBlock, OSError."""
    while True:
        manifest_id = read_current(files, folder)
        try:
            return manifest_id, read_manifest(files, folder, manifest_id)
        except FileNotFoundError:
            if read_current(files, folder) == manifest_id:
                raise


def dump_file(files: FileSystem, folder: str, name: str) -> Iterator[Row]:
    """Every record of one log, table or manifest, in the order of the file.

    Raises CorruptBlock; OSError; ValueError when the name is not that of a log, table or manifest.
    """
    parsed = parse_name(name)
    if parsed is None or parsed.kind == "temporary":
        raise ValueError(f"{name!r} is not a log, table or manifest")
    if parsed.kind == "log":
        yield from _dump_log(files, folder, parsed.file_id)
    elif parsed.kind == "table":
        yield from _dump_table(files, folder, parsed.file_id)
    else:
        for number, edit in read_edits(files, folder, parsed.file_id):
            fields = {slot: getattr(edit, slot) for slot in edit.__slots__}
            yield {"edit": number, **{k: repr(v) for k, v in fields.items() if v not in ((), None)}}


def _table(meta: TableMeta) -> Row:
    return {
        "bytes": meta.size,
        "entries": meta.entries,
        "deletions": meta.tombstones,
        "first_sequence": meta.first_sequence,
        "last_sequence": meta.last_sequence,
        "smallest": meta.smallest,
        "largest": meta.largest,
    }


def _log(files: FileSystem, folder: str, file_id: int) -> Row:
    data = files.read_bytes(f"{folder}/{log_name(file_id)}")
    first = batches = durable = damages = 0
    is_sealed = False
    for _, _, item in read_log(file_id, data):
        if isinstance(item, Header):
            first = item.first_sequence
        elif isinstance(item, BatchGroup):
            batches += item.count
            durable = max(durable, item.durable)
        elif isinstance(item, SyncMark):
            durable = max(durable, item.durable)
            is_sealed = is_sealed or item.is_seal
        else:
            damages += 1
    return {
        "bytes": len(data),
        "first_sequence": first,
        "batches": batches,
        "known_durable": durable,
        "sealed": is_sealed,
        "damages": damages,
    }


def _dump_log(files: FileSystem, folder: str, file_id: int) -> Iterator[Row]:
    for offset, end, item in read_log(file_id, files.read_bytes(f"{folder}/{log_name(file_id)}")):
        if isinstance(item, Header):
            yield {"offset": offset, "record": "header", "first_sequence": item.first_sequence}
        elif isinstance(item, SyncMark):
            yield {"offset": offset, "record": "seal" if item.is_seal else "mark", "durable": item.durable}
        elif isinstance(item, Damage):
            yield {"offset": offset, "record": "damage", "until": end, "why": item.why}
        else:
            yield from _dump_group(offset, item)


def _dump_group(offset: int, group: BatchGroup) -> Iterator[Row]:
    try:
        for sequence, start, end in group.batches():
            for kind, key, value in parse_changes(group.payload, start, end):
                row: Row = {
                    "offset": offset,
                    "record": _KIND.get(kind, "delete"),
                    "sequence": sequence,
                    "key": key,
                }
                yield {**row, "value": value} if kind == PUT else row
    except MalformedBatch as error:
        yield {"offset": offset, "record": "damage", "why": str(error)}


def _dump_table(files: FileSystem, folder: str, file_id: int) -> Iterator[Row]:
    table = open_table(files, folder, file_id)
    try:
        for number, handle in enumerate(table.handles):
            try:
                block = table.read_block(number)
            except CorruptBlock as error:
                yield {"offset": handle.offset, "record": "damage", "why": error.why}
                continue
            rows = zip(block.keys, block.heads(), block.values(), strict=True)
            for key, head, value in rows:
                row: Row = {"offset": handle.offset, "sequence": head >> 8, "key": key}
                yield ({**row, "record": "put", "value": value} if head & 1 else {**row, "record": "delete"})
    finally:
        table.close()
