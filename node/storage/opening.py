"""Finding out what a folder holds when an engine is opened: new, closed in order, or left by a crash.

The steps: manifest, tables, logs, then a new manifest; whatever no manifest names is swept away.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.ports import FileSystem
from node.storage.errors import CorruptBlock
from node.storage.handover import keep_aside
from node.storage.manifest import read_current, read_manifest
from node.storage.names import CURRENT, FileName, log_name, manifest_name, parse_name, table_name
from node.storage.recovery import Recovered, cut_tail, recover_logs
from node.storage.table_reader import Table, open_table
from node.storage.version import CorruptMark, Edit, Version

__all__ = ["Opened", "open_folder"]


@dataclass(slots=True)
class Opened:
    """The state of a folder, read and cleaned; nothing new is written yet but for a cut tail."""

    version: Version
    tables: dict[int, Table]
    recovered: Recovered
    next_id: int


def open_folder(files: FileSystem, folder: str) -> Opened:
    """Blocks.  Raises CorruptBlock, OSError."""
    found = {name: parsed for name in files.list(folder) if (parsed := parse_name(name))}
    version, manifest_id = _read_version(files, folder, found)
    named = {meta.file_id for meta in version.tables()}
    missing = named - {parsed.file_id for parsed in found.values() if parsed.kind == "table"}
    if missing:
        name = table_name(min(missing))
        raise CorruptBlock(f"{folder}/{name}", 0, "the manifest names this table and it is not there")
    log_ids = sorted(
        parsed.file_id
        for parsed in found.values()
        if parsed.kind == "log" and parsed.file_id >= version.oldest_log
    )
    if log_ids:
        _settle(files, folder, log_name(log_ids[-1]))
    recovered = recover_logs(files, folder, log_ids, version.flushed_sequence)
    cut_tail(files, folder, recovered)
    marks = tuple(loss.mark() for loss in recovered.losses)
    version = version.apply(Edit(marks_added=marks))
    version, tables = _open_tables(files, folder, version)
    _sweep(files, folder, found, keep=named | set(recovered.log_ids) | {manifest_id})
    highest = max((parsed.file_id for parsed in found.values()), default=0)
    return Opened(version, tables, recovered, max(highest + 1, version.reserved_ids))


def _settle(files: FileSystem, folder: str, name: str) -> None:
    """Make durable what is read next: a killed process leaves bytes that only the page cache holds.

    Once read they count: what the last edit of the manifest has replaced is deleted, what the last log holds
    is served, and the next log's header says that all before it is on the disk.  They are written again, as a
    sync that failed before the kill may have had the system forget to write them; and before they are read,
    as it may drop them from memory at any time.  Earlier logs were synced before the last one was begun.
    """
    files.rewrite(f"{folder}/{name}")
    files.fsync_dir(folder)


def _read_version(files: FileSystem, folder: str, found: dict[str, FileName]) -> tuple[Version, int]:
    """The version in force and its manifest's id; an empty version for a folder that never held data."""
    if files.exists(f"{folder}/{CURRENT}"):
        manifest_id = read_current(files, folder)
        if manifest_name(manifest_id) not in found:
            raise CorruptBlock(f"{folder}/{CURRENT}", 0, f"{manifest_name(manifest_id)} is not there")
        _settle(files, folder, manifest_name(manifest_id))
        return read_manifest(files, folder, manifest_id), manifest_id
    if any(parsed.kind in ("log", "table") for parsed in found.values()):
        raise CorruptBlock(f"{folder}/{CURRENT}", 0, "the file is missing beside logs or tables")
    return Version(), -1


def _open_tables(files: FileSystem, folder: str, version: Version) -> tuple[Version, dict[int, Table]]:
    """A table that cannot be opened at all is kept aside, and its whole range marked."""
    tables: dict[int, Table] = {}
    for meta in version.tables():
        try:
            tables[meta.file_id] = open_table(files, folder, meta.file_id, meta)
        except CorruptBlock:
            keep_aside(files, folder, meta.file_id)
            mark = CorruptMark(meta.smallest, meta.largest + b"\0", meta.last_sequence)
            version = version.apply(Edit(removed=(meta.file_id,), marks_added=(mark,)))
    return version, tables


def _sweep(files: FileSystem, folder: str, found: dict[str, FileName], keep: set[int]) -> None:
    """Delete what a crash or a killed child left behind, and logs that hold nothing."""
    for name, parsed in found.items():
        if parsed.kind == "temporary" or parsed.file_id not in keep:
            files.unlink(f"{folder}/{name}")
