"""Finding out what a folder holds when an engine is opened: new, closed in order, or left by a crash.

The steps: manifest, logs, tables; then a new manifest, and what it does not name is swept away.  Rules E3,
E5, E6 and E7: docs/protocol/engine.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.names import CURRENT, FileName, log_name, manifest_name, parse_name, table_name
from ringmill.node.storage.recovery.recovery import Recovered, cut_tail, expect_all, recover_logs
from ringmill.node.storage.recovery.salvage import FRESH_IDS, fence_all, salvage
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.manifest import has_torn_end, read_current, read_manifest, readable_edits
from ringmill.node.storage.version.table_installer import keep_aside
from ringmill.node.storage.version.version import Version, VersionEdit, mark_of, outermost

__all__ = ["Opened", "open_folder", "sweep"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Opened:
    """The state of a folder, read; nothing new is written yet but for a cut tail and the quarantine."""

    version: Version
    tables: dict[int, Table]
    recovered: Recovered
    next_id: int
    unneeded: list[str]  # names to delete once a new manifest is in force


def open_folder(files: FileSystem, folder: str) -> Opened:
    """Blocks.  Raises OSError."""
    found = {name: parsed for name in files.list(folder) if (parsed := parse_name(name))}
    try:
        stored = _find_version(files, folder, found)
        return _open_exactly(files, folder, found, *stored)
    except CorruptBlock as error:
        _log.warning("the manifest cannot be used, so all keys are fenced until they are healed: %s", error)
        return _open_salvaged(files, folder, found)


def _open_exactly(
    files: FileSystem, folder: str, found: dict[str, FileName], version: Version, manifest_id: int
) -> Opened:
    """Raises CorruptBlock when tables or batches are missing, and the manifest's last edit is torn or there
    are tables that it does not name: then it has lost edits that were made."""
    is_torn = manifest_id >= 0 and has_torn_end(files, folder, manifest_id)
    recovered = _recover(files, folder, found, version)
    if version.newest_log >= version.oldest_log or version.stopped_at is not None:
        expect_all(folder, recovered, version.newest_log, version.stopped_at)
    there = {parsed.file_id for parsed in found.values() if parsed.kind == "table"}
    named = {meta.file_id for meta in version.all_tables()}
    if (is_torn or there - named) and (recovered.losses or named - there):
        raise CorruptBlock(f"{folder}/{manifest_name(manifest_id)}", 0, "its last edits are missing")
    keep_aside(files, folder, [log_name(file_id) for file_id in recovered.damaged])
    cut_tail(files, folder, recovered)
    marks = tuple(loss.mark() for loss in recovered.losses)
    version = version.apply(VersionEdit(marks_added=marks, newest_log=max(recovered.log_ids, default=0)))
    version, tables = _open_tables(files, folder, version)
    version = replace(version, marks=outermost(version.marks))
    next_id = max(_highest(found) + 1, version.reserved_ids) + is_torn * FRESH_IDS
    return Opened(version, tables, recovered, next_id, _unneeded(found, {manifest_id, *tables}, recovered))


def _open_salvaged(files: FileSystem, folder: str, found: dict[str, FileName]) -> Opened:
    """Without a manifest: all that is there is kept, and every key is marked."""
    sometimes("a start keeps everything without a manifest")
    salvaged = salvage(files, folder, found.values())
    version = salvaged.version()
    recovered = _recover(files, folder, found, version)
    logs = [name for name, parsed in found.items() if parsed.kind == "log"]
    manifests = [name for name, parsed in found.items() if parsed.kind == "manifest"]
    lost = [table_name(file_id) for file_id in salvaged.unreadable]
    keep_aside(files, folder, [CURRENT, *manifests, *logs, *lost])
    recovered.tail = None
    recovered.damaged = list(recovered.log_ids)
    mark = fence_all(recovered, salvaged.highest_sequence)
    version = version.apply(VersionEdit(marks_added=(mark,), newest_log=max(recovered.log_ids, default=0)))
    unneeded = _unneeded(found, set(salvaged.tables), recovered)
    return Opened(version, salvaged.tables, recovered, version.reserved_ids, unneeded)


def _recover(files: FileSystem, folder: str, found: dict[str, FileName], version: Version) -> Recovered:
    log_ids = sorted(
        parsed.file_id
        for parsed in found.values()
        if parsed.kind == "log" and parsed.file_id >= version.oldest_log
    )
    if log_ids:
        _make_durable(files, folder, log_name(log_ids[-1]))
    return recover_logs(files, folder, log_ids, version.flushed_sequence)


def sweep(files: FileSystem, folder: str, opened: Opened) -> None:
    """Delete what a crash or a killed child left behind, and logs that hold nothing.  Blocks.

    It comes after the new manifest: until that is in force, the former one may need any of it.
    """
    for name in opened.unneeded:
        files.unlink(f"{folder}/{name}")


def _unneeded(found: dict[str, FileName], keep: set[int], recovered: Recovered) -> list[str]:
    keep = keep | set(recovered.log_ids)
    return [
        name for name, parsed in found.items() if parsed.kind == "temporary" or parsed.file_id not in keep
    ]


def _highest(found: dict[str, FileName]) -> int:
    return max((parsed.file_id for parsed in found.values()), default=0)


def _make_durable(files: FileSystem, folder: str, name: str) -> None:
    """Make durable what is read next: a killed process leaves bytes that only the page cache holds.

    Once read they count: what the last edit of the manifest has replaced is deleted, what the last log holds
    is served, and the next log's header says that all before it is on the disk.  They are written again, as a
    sync that failed before the kill may have had the system forget to write them; and before they are read,
    as it may drop them from memory at any time.  Earlier logs were synced before the last one was begun.
    """
    files.rewrite(f"{folder}/{name}")
    files.fsync_dir(folder)


def _find_version(files: FileSystem, folder: str, found: dict[str, FileName]) -> tuple[Version, int]:
    """The version in force and its manifest's id; an empty version for a folder that never held data.

    Raises CorruptBlock when it cannot be told.
    """
    kinds = {parsed.kind for parsed in found.values()}
    try:
        manifest_id = read_current(files, folder)
    except FileNotFoundError:
        if not kinds & {"log", "table"} and not _has_manifest(files, folder, found):
            return Version(), -1
        manifest_id = _newest_manifest(folder, found)
    except CorruptBlock:
        manifest_id = _newest_manifest(folder, found)
    if manifest_name(manifest_id) not in found:
        raise CorruptBlock(f"{folder}/{CURRENT}", 0, f"{manifest_name(manifest_id)} is not there")
    _make_durable(files, folder, manifest_name(manifest_id))
    return read_manifest(files, folder, manifest_id), manifest_id


def _has_manifest(files: FileSystem, folder: str, found: dict[str, FileName]) -> bool:
    """Is any manifest whole?  A start that a crash cut short may leave one that is not, and nothing else."""
    manifests = [parsed.file_id for parsed in found.values() if parsed.kind == "manifest"]
    return any(True for file_id in manifests for _ in readable_edits(files, folder, file_id))


def _newest_manifest(folder: str, found: dict[str, FileName]) -> int:
    """The one in force where CURRENT cannot be read: no edit goes to one once the next was begun.

    If that is not whole, nobody knows whether it was in force.  Raises CorruptBlock.
    """
    manifests = [parsed.file_id for parsed in found.values() if parsed.kind == "manifest"]
    if not manifests:
        raise CorruptBlock(f"{folder}/{CURRENT}", 0, "no manifest is there")
    return max(manifests)


def _open_tables(files: FileSystem, folder: str, version: Version) -> tuple[Version, dict[int, Table]]:
    """A table that is not there or cannot be opened is kept aside, and its whole range marked."""
    tables: dict[int, Table] = {}
    for meta in version.all_tables():
        try:
            tables[meta.file_id] = open_table(files, folder, meta.file_id, meta)
        except (CorruptBlock, FileNotFoundError):
            sometimes("a start sets a damaged table aside")
            keep_aside(files, folder, [table_name(meta.file_id)])
            gone = (meta.file_id,)
            if meta in version.salvaged:  # what was not copied from it yet is marked
                version = version.apply(VersionEdit(salvaged_removed=gone))
            else:
                version = version.apply(VersionEdit(removed=gone, marks_added=(mark_of(meta),)))
    return version, tables
