"""Installs the tables that a child wrote: renames, syncs the folder, writes the manifest, deletes replaced
files.

One installation runs at a time, and none while a checkpoint holds `quiet`, so that files and manifest agree
there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import QUARANTINE, log_name, table_name, temporary_name
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.version.version import VersionEdit
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["TableInstaller", "keep_aside"]


class TableInstaller:
    """The only way for new tables to get into the manifest."""

    def __init__(self, folder: str, files: FileSystem, tables: VersionSet) -> None:
        self._folder = folder
        self._files = files
        self._tables = tables
        self.quiet = asyncio.Lock()

    async def commit(
        self,
        edit: VersionEdit,
        new: Sequence[TableMeta] = (),
        *,
        damaged: Iterable[str] = (),
        finished_logs: Sequence[int] = (),
    ) -> None:
        """Name `new` tables, keep damaged files aside, make the edit durable, delete logs that are in tables.

        Raises OSError, RingmillError; then the edit may or may not be in force after a restart, and both are
        correct.  New tables that no manifest can name are deleted, but for those with temporary names still.
        """
        async with self.quiet:
            try:
                await self._rename(new)
                await self._files.off_loop(keep_aside, self._files, self._folder, tuple(damaged))
            except (Exception, asyncio.CancelledError):
                self._delete(new)
                raise
            await self._tables.commit(edit)
            for file_id in finished_logs:
                with suppress(OSError):  # what stays is deleted when the folder is opened next
                    await self._files.off_loop(self._files.unlink, f"{self._folder}/{log_name(file_id)}")

    async def _rename(self, new: Sequence[TableMeta]) -> None:
        for meta in new:
            self._files.rename(
                f"{self._folder}/{temporary_name(meta.file_id)}",
                f"{self._folder}/{table_name(meta.file_id)}",
            )
        if new:
            await self._files.off_loop(self._files.fsync_dir, self._folder)

    def _delete(self, new: Sequence[TableMeta]) -> None:
        for meta in new:
            with suppress(OSError):  # what stays is deleted when the folder is opened next
                self._files.unlink(f"{self._folder}/{table_name(meta.file_id)}")


def keep_aside(files: FileSystem, folder: str, names: Sequence[str]) -> None:
    """Move damaged files aside for people to inspect; the engine no longer uses them.

    Blocks.  Raises OSError.

    The new name is durable before the old one is removed.
    """
    present = [name for name in names if files.exists(f"{folder}/{name}")]
    if not present:
        return
    files.mkdir(f"{folder}/{QUARANTINE}")
    for name in present:
        target = f"{folder}/{QUARANTINE}/{name}"
        if not files.exists(target):
            files.link(f"{folder}/{name}", target)
    files.fsync_dir(f"{folder}/{QUARANTINE}")
    files.fsync_dir(folder)
