"""Finding out what a folder holds when an engine is opened: new, closed in order, or left by a crash.

The steps: manifest, logs, tables; then a new manifest, and what it does not name is swept away.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.ports import FileSystem
from node.storage.errors import CorruptBlock
from node.storage.handover import keep_aside
from node.storage.manifest import read_current, read_manifest
from node.storage.names import CURRENT, FileName, log_name, manifest_name, parse_name, table_name
from node.storage.recovery import Recovered, cut_tail, expect_all, recover_logs
from node.storage.table_reader import Table, open_table
from node.storage.version import Edit, Version, mark_of

__all__ = ["Opened", "open_folder", "sweep"]


@dataclass(slots=True)
class Opened:
    """The state of a folder, read; nothing new is written yet but for a cut tail and the quarantine."""

    version: Version
    tables: dict[int, Table]
    recovered: Recovered
    next_id: int
    unneeded: list[str]  # names to delete once a new manifest is in force


def open_folder(files: FileSystem, folder: str) -> Opened:
    """Blocks.  Raises CorruptBlock, OSError."""
    found = {name: parsed for name in files.list(folder) if (parsed := parse_name(name))}
    version, manifest_id = _read_version(files, folder, found)
    log_ids = sorted(
        parsed.file_id
        for parsed in found.values()
        if parsed.kind == "log" and parsed.file_id >= version.oldest_log
    )
    if log_ids:
        _settle(files, folder, log_name(log_ids[-1]))
    recovered = recover_logs(files, folder, log_ids, version.flushed_sequence)
    if version.newest_log >= version.oldest_log or version.stopped_at is not None:
        expect_all(folder, recovered, version.newest_log, version.stopped_at)
    keep_aside(files, folder, [log_name(file_id) for file_id in recovered.damaged])
    cut_tail(files, folder, recovered)
    marks = tuple(loss.mark() for loss in recovered.losses)
    newest_log = max(recovered.log_ids, default=0)
    version, tables = _open_tables(
        files, folder, version.apply(Edit(marks_added=marks, newest_log=newest_log))
    )
    keep = {manifest_id, *tables, *recovered.log_ids}
    unneeded = [name for name, parsed in found.items() if not _is_needed(parsed, keep)]
    highest = max((parsed.file_id for parsed in found.values()), default=0)
    return Opened(version, tables, recovered, max(highest + 1, version.reserved_ids), unneeded)


def sweep(files: FileSystem, folder: str, opened: Opened) -> None:
    """Delete what a crash or a killed child left behind, and logs that hold nothing.  Blocks.

    It comes after the new manifest: until that is in force, the former one may need any of it.
    """
    for name in opened.unneeded:
        files.unlink(f"{folder}/{name}")


def _is_needed(parsed: FileName, keep: set[int]) -> bool:
    return parsed.kind != "temporary" and parsed.file_id in keep


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
    """A table that is not there or cannot be opened is kept aside, and its whole range marked."""
    tables: dict[int, Table] = {}
    for meta in version.tables():
        try:
            tables[meta.file_id] = open_table(files, folder, meta.file_id, meta)
        except (CorruptBlock, FileNotFoundError):
            keep_aside(files, folder, [table_name(meta.file_id)])
            version = version.apply(Edit(removed=(meta.file_id,), marks_added=(mark_of(meta),)))
    return version, tables
