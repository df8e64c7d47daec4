"""Opens a folder: a new one, one that was closed in order, or one left by a crash.

The steps: read the manifest, logs and tables; write a new manifest; delete the files that it does not name.
Rules E3, E5, E6, E7 and E10: docs/protocol/engine.md.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.log.readable_parts import read_parts
from ringmill.node.storage.names import CURRENT, FileName, log_name, manifest_name, parse_name, table_name
from ringmill.node.storage.recovery.log_recovery import Recovered, expect_all, recover_logs
from ringmill.node.storage.recovery.salvage import FRESH_IDS, fence_all, salvage
from ringmill.node.storage.storage_errors import CorruptBlock, NewerFormat, UnreadableBlock
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.manifest import has_torn_end, read_current, read_manifest, readable_edits
from ringmill.node.storage.version.table_installer import keep_aside
from ringmill.node.storage.version.version import Version, VersionEdit, mark_of, outermost

__all__ = ["Opened", "open_folder", "sweep"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Opened:
    """The state read from a folder.  Nothing is written yet, except the quarantine."""

    version: Version
    tables: dict[int, Table]
    recovered: Recovered
    next_id: int
    unneeded: list[str]  # names to delete once a new manifest is in force
    is_salvaged: bool = False

    def close(self) -> None:
        for table in self.tables.values():
            table.close()


def open_folder(files: FileSystem, folder: str, *, is_patient: bool = False) -> Opened:
    """Blocks.  Raises OSError; NewerFormat for a store that a later release has written, which stays as it is
    (rule E7); UnreadableBlock for what the disk cannot read while it `is_patient`, and when it can read no
    file (rule E10)."""
    found = {name: parsed for name in files.list(folder) if (parsed := parse_name(name))}
    try:
        stored = _find_version(files, folder, found, is_patient=is_patient)
        return _open_exactly(files, folder, found, *stored, is_patient=is_patient)
    except CorruptBlock as error:
        if isinstance(error, UnreadableBlock) and (is_patient or not _reads_any(files, folder, found)):
            raise
        _log.warning("the manifest cannot be used, so all keys are fenced until they are healed: %s", error)
        return _open_salvaged(files, folder, found, is_patient=is_patient)


def _open_exactly(
    files: FileSystem,
    folder: str,
    found: dict[str, FileName],
    version: Version,
    manifest_id: int,
    *,
    is_patient: bool,
) -> Opened:
    """Raises CorruptBlock when the manifest has lost edits: tables or batches are missing, and its last edit
    is torn or there are tables that it does not name."""
    is_torn = manifest_id >= 0 and has_torn_end(files, folder, manifest_id)
    recovered, is_durable = _recover(files, folder, found, version, is_patient=is_patient)
    if recovered.unread_end or version.newest_log >= version.oldest_log or version.stopped_at is not None:
        expect_all(folder, recovered, version.newest_log, version.stopped_at)
    if not is_durable and recovered.log_ids:  # a table replaces what was not written again (E3)
        recovered.tail = recovered.tail or (max(recovered.log_ids), 0)
    there = {parsed.file_id for parsed in found.values() if parsed.kind == "table"}
    named = {meta.file_id for meta in version.all_tables()}
    if (is_torn or there - named) and (recovered.losses or named - there):
        raise CorruptBlock(f"{folder}/{manifest_name(manifest_id)}", 0, "its last edits are missing")
    marks = tuple(loss.mark() for loss in recovered.losses)
    version = version.apply(VersionEdit(marks_added=marks, newest_log=max(recovered.log_ids, default=0)))
    version, tables, hurt = _open_tables(files, folder, version, is_patient=is_patient)
    keep_aside(files, folder, [*(log_name(file_id) for file_id in recovered.damaged), *hurt])
    version = replace(version, marks=outermost(version.marks))
    next_id = max(_highest(found) + 1, version.reserved_ids) + is_torn * FRESH_IDS
    return Opened(version, tables, recovered, next_id, _unneeded(found, {manifest_id, *tables}, recovered))


def _open_salvaged(files: FileSystem, folder: str, found: dict[str, FileName], *, is_patient: bool) -> Opened:
    """Open without a manifest: keep every file and mark every key."""
    sometimes("a start keeps everything without a manifest")
    salvaged = salvage(files, folder, found.values(), is_patient=is_patient)
    version = salvaged.version()
    try:
        recovered, _ = _recover(files, folder, found, version, is_patient=is_patient)
    except BaseException:
        salvaged.close()
        raise
    logs = [name for name, parsed in found.items() if parsed.kind == "log"]
    manifests = [name for name, parsed in found.items() if parsed.kind == "manifest"]
    lost = [table_name(file_id) for file_id in salvaged.unreadable]
    keep_aside(files, folder, [CURRENT, *manifests, *logs, *lost])
    # a table replaces the logs, or the next one would begin far above them: batches would be missing
    recovered.tail = _highest(found), 0
    mark = fence_all(recovered, salvaged.highest_sequence)
    version = version.apply(VersionEdit(marks_added=(mark,), newest_log=max(recovered.log_ids, default=0)))
    unneeded = _unneeded(found, set(salvaged.tables), recovered)
    return Opened(version, salvaged.tables, recovered, version.reserved_ids, unneeded, is_salvaged=True)


def _recover(
    files: FileSystem, folder: str, found: dict[str, FileName], version: Version, *, is_patient: bool
) -> tuple[Recovered, bool]:
    """What the logs hold, and whether all of that is durable."""
    log_ids = sorted(
        parsed.file_id
        for parsed in found.values()
        if parsed.kind == "log" and parsed.file_id >= version.oldest_log
    )
    reads_around = not is_patient
    is_durable = not log_ids or _make_durable(files, folder, log_name(log_ids[-1]), reads_around=reads_around)
    recovered = recover_logs(files, folder, log_ids, version.flushed_sequence, reads_around=reads_around)
    return recovered, is_durable


def sweep(files: FileSystem, folder: str, opened: Opened) -> None:
    """Delete what a crash or a killed child left behind, and empty logs.  Blocks.

    Call it after the new manifest is in force; until then the previous one may need any of these files.
    """
    for name in opened.unneeded:
        with suppress(OSError):  # what stays is never named again, and is deleted at a later start
            files.unlink(f"{folder}/{name}")


def _unneeded(found: dict[str, FileName], keep: set[int], recovered: Recovered) -> list[str]:
    keep = keep | set(recovered.log_ids)
    return [
        name for name, parsed in found.items() if parsed.kind == "temporary" or parsed.file_id not in keep
    ]


def _highest(found: dict[str, FileName]) -> int:
    return max((parsed.file_id for parsed in found.values()), default=0)


def _make_durable(files: FileSystem, folder: str, name: str, *, reads_around: bool) -> bool:
    """Make the last log and the manifest durable before they are read.

    A killed process may leave bytes that only the page cache holds.  Once read, they count: files that the
    last edit replaced are deleted, batches of the last log are served, and the next log's header says that
    all before it is on the disk.  A sync does not suffice: after a sync that failed before the kill, the
    system may consider the pages clean.  So the bytes are written again, and before they are read, because
    the system may drop them from memory at any time.  Earlier logs were synced before the last one was
    created.

    Returns False for a file that has parts that cannot be read, with `reads_around`.  Raises UnreadableBlock
    for it without, OSError.
    """
    path = f"{folder}/{name}"
    try:
        files.rewrite(path)
    except OSError:  # which read or write failed?
        if read_parts(files, path, reads_around=reads_around).is_whole:
            raise
        return False
    files.fsync_dir(folder)
    return True


def _find_version(
    files: FileSystem, folder: str, found: dict[str, FileName], *, is_patient: bool
) -> tuple[Version, int]:
    """The version in force and its manifest's id; an empty version for a new folder.

    Raises CorruptBlock when the manifest in force cannot be read.
    """
    kinds = {parsed.kind for parsed in found.values()}
    try:
        manifest_id = read_current(files, folder)
    except FileNotFoundError:
        if not kinds & {"log", "table"} and not _has_manifest(files, folder, found, is_patient=is_patient):
            return Version(), -1
        manifest_id = _newest_manifest(folder, found)
    except CorruptBlock as error:
        if is_patient and isinstance(error, UnreadableBlock):
            raise
        manifest_id = _newest_manifest(folder, found)
    if manifest_name(manifest_id) not in found:
        raise CorruptBlock(f"{folder}/{CURRENT}", 0, f"{manifest_name(manifest_id)} is not there")
    _make_durable(files, folder, manifest_name(manifest_id), reads_around=False)
    return read_manifest(files, folder, manifest_id), manifest_id


def _has_manifest(files: FileSystem, folder: str, found: dict[str, FileName], *, is_patient: bool) -> bool:
    """Whether any manifest is whole.  A first start that crashed may leave only a torn one."""
    manifests = [parsed.file_id for parsed in found.values() if parsed.kind == "manifest"]
    return any(
        True
        for file_id in manifests
        for _ in readable_edits(files, folder, file_id, reads_around=not is_patient)
    )


def _reads_any(files: FileSystem, folder: str, found: dict[str, FileName]) -> bool:
    """Whether the disk can read the beginning of any file."""
    for name in found:
        try:
            file = files.open_read(f"{folder}/{name}")
            try:
                file.pread(1, 0)
            finally:
                file.close()
        except OSError:
            continue
        return True
    return False


def _newest_manifest(folder: str, found: dict[str, FileName]) -> int:
    """The manifest in force when CURRENT cannot be read: no edit is added to one after the next was begun.

    Raises CorruptBlock when the newest one is not whole, because it may or may not have been in force.
    """
    manifests = [parsed.file_id for parsed in found.values() if parsed.kind == "manifest"]
    if not manifests:
        raise CorruptBlock(f"{folder}/{CURRENT}", 0, "no manifest is there")
    return max(manifests)


def _open_tables(
    files: FileSystem, folder: str, version: Version, *, is_patient: bool
) -> tuple[Version, dict[int, Table], list[str]]:
    """Open all tables.

    The third result names those that are missing or cannot be opened: they are to be set aside, and their
    whole ranges are marked.
    """
    tables: dict[int, Table] = {}
    hurt: list[str] = []
    for meta in version.all_tables():
        try:
            tables[meta.file_id] = open_table(files, folder, meta.file_id, meta)
        except (CorruptBlock, NewerFormat, FileNotFoundError) as error:
            if isinstance(error, NewerFormat) or (is_patient and isinstance(error, UnreadableBlock)):
                for table in tables.values():
                    table.close()
                raise
            sometimes("a start sets a damaged table aside")
            hurt.append(table_name(meta.file_id))
            gone = (meta.file_id,)
            if meta in version.salvaged:  # its keys that were not copied yet are marked already
                version = version.apply(VersionEdit(salvaged_removed=gone))
            else:
                version = version.apply(VersionEdit(removed=gone, marks_added=(mark_of(meta),)))
    return version, tables, hurt
