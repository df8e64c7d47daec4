"""The tables in force: open, pinned while read, and changed by edits that are in the manifest first.

A `View` is what one read sees.  Files that no view and no manifest names any more are closed and deleted
(rule E6).  What cannot be written down ends all writing, unless it passes (rule E2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.os_errors import passes
from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import FileName, FilePart, manifest_name, table_name
from ringmill.node.storage.storage_errors import write_failed
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.manifest import ManifestFile, create_manifest
from ringmill.node.storage.version.version import Version, VersionEdit

__all__ = ["Level", "VersionSet", "View"]

_IDS_AT_ONCE = 64


class Level:
    """Tables with disjoint key ranges, in key order."""

    __slots__ = ("largest", "tables")

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self.largest = [table.largest for table in tables]


class View:
    """The tables of one version, as a get walks them: newest tables first, then level by level."""

    __slots__ = ("levels", "newest", "pins", "salvaged", "tables", "version")

    def __init__(self, version: Version, tables: dict[int, Table]) -> None:
        self.version = version
        self.tables = tables
        self.newest = [tables[meta.file_id] for meta in version.levels[0]]
        self.levels = [
            Level([tables[meta.file_id] for meta in level]) for level in version.levels[1:] if level
        ]
        self.salvaged = [tables[meta.file_id] for meta in version.salvaged]  # asked by healing alone
        self.pins = 0


class VersionSet:
    """The current view, the views still read, and the manifest."""

    def __init__(self, files: FileSystem, folder: str, view: View, manifest: ManifestFile) -> None:
        self._files = files
        self._folder = folder
        self._manifest = manifest
        self._pinned: list[View] = []
        self._next_id = view.version.reserved_ids - _IDS_AT_ONCE
        self._edits = asyncio.Lock()
        self._needs_manifest = False
        self._is_cut_short = False
        self._failure: RingmillError | None = None
        self._unneeded: list[Table] = []
        self._doubtful: dict[int, Table] = {}  # closed; the manifest in force may name them, or not
        self._sweep_wanted = asyncio.Event()
        self.on_failure: Callable[[RingmillError], None] | None = None
        self.view = view

    @classmethod
    async def begin(
        cls, files: FileSystem, folder: str, version: Version, tables: dict[int, Table], manifest_id: int
    ) -> VersionSet:
        """Write `version` into a new manifest with file ids above `manifest_id` reserved."""
        version = version.apply(VersionEdit(reserved_ids=manifest_id + 1 + _IDS_AT_ONCE))
        manifest = await files.off_loop(create_manifest, files, folder, manifest_id, version)
        return cls(files, folder, View(version, tables), manifest)

    @property
    def version(self) -> Version:
        return self.view.version

    @property
    def manifest_part(self) -> FilePart:
        """The manifest in force, as far as it is synced."""
        return FilePart(FileName("manifest", self._manifest.file_id), self._manifest.synced_bytes)

    async def note_log(self, file_id: int) -> None:
        """Make it durable that this log was begun.  Raises StorageFailed.

        What passes, a full disk for one, is no reason to wait: the next log is noted again.
        """
        try:
            await self.commit(VersionEdit(newest_log=file_id))
        except OSError as error:
            if not passes(error):
                raise

    async def note_stop(self, sequence: int) -> None:
        """Make it durable that all up to batch `sequence` is; nothing may be written after it."""
        if not self._is_cut_short:
            await self.commit(VersionEdit(stopped_at=sequence))

    async def renew_manifest(self) -> None:
        """Write what is in force into a new manifest.  Raises OSError, StorageFailed."""
        self._needs_manifest = True
        await self.commit(VersionEdit())

    async def take_ids(self, count: int) -> range:
        """File ids that were never given out; reserved in the manifest before use.  Raises OSError."""
        async with self._edits:
            first = self._next_id
            self._next_id += count
            if self._next_id > self.version.reserved_ids:
                await self._write(VersionEdit(reserved_ids=self._next_id + _IDS_AT_ONCE))
        return range(first, first + count)

    async def take_id(self) -> int:
        return (await self.take_ids(1))[0]

    async def commit(self, edit: VersionEdit) -> None:
        """Make an edit durable, then current.  Raises OSError, CorruptBlock (a new table is damaged).

        After an error the files of new tables are deleted: at once when no manifest can name them, else when
        a newer manifest is in force (rule E6).
        """
        async with self._edits:
            new = [meta for _, meta in edit.added if meta.file_id not in self.view.tables]
            opened: dict[int, Table] = {}
            try:
                for meta in new:
                    opened[meta.file_id] = await self._files.off_loop(
                        open_table, self._files, self._folder, meta.file_id, meta
                    )
                await self._write(edit, opened)
            except (Exception, asyncio.CancelledError):
                for table in opened.values():
                    table.close()
                self._unlink(meta.file_id for meta in new if meta.file_id not in self._doubtful)
                raise

    @contextmanager
    def pin(self) -> Iterator[View]:
        """The current view, kept whole until the block ends."""
        view = self.view
        view.pins += 1
        if view.pins == 1:
            self._pinned.append(view)
        try:
            yield view
        finally:
            view.pins -= 1
            if not view.pins:
                self._pinned.remove(view)
                self._discard(view)

    def close(self) -> None:
        self._manifest.close()
        for view in [self.view, *self._pinned]:
            for table in view.tables.values():
                table.close()
        self._remove(self._unneeded)

    async def sweep(self) -> None:
        """Delete what no view needs any more, until cancelled.  Off the loop: a large file takes a while."""
        while True:
            await self._sweep_wanted.wait()
            self._sweep_wanted.clear()
            while self._unneeded:
                removal = asyncio.ensure_future(self._files.off_loop(self._remove, [self._unneeded.pop()]))
                try:
                    await asyncio.shield(removal)
                except asyncio.CancelledError:
                    await removal  # so that a closed store keeps nothing that it does not need
                    raise

    async def _write(self, edit: VersionEdit, opened: dict[int, Table] | None = None) -> None:
        opened = opened or {}
        version = self.version.apply(edit)
        await self._write_down(edit, opened)
        known = {**self.view.tables, **opened}
        former, self.view = (
            self.view,
            View(version, {m.file_id: known[m.file_id] for m in version.all_tables()}),
        )
        if not former.pins:
            self._discard(former)
        self._needs_manifest = self._needs_manifest or self._manifest.is_long

    async def _write_down(self, edit: VersionEdit, opened: dict[int, Table]) -> None:
        """After a full disk, or for want of descriptors, the next edit begins a new manifest, and after one
        that was cancelled, which may be in the file, whole or not.  Any other failure is the end of writing.
        """
        if self._failure is not None:
            raise self._failure
        needs_manifest = self._needs_manifest or self._is_cut_short
        self._is_cut_short = True  # and stays so when this is cancelled, which ends no write
        try:
            if needs_manifest:
                await self._begin_manifest()
                self._needs_manifest = False
            self._doubtful |= opened
            await self._manifest.append(edit)
            self._doubtful.clear()
            self._is_cut_short = False
        except OSError as error:
            if passes(error):
                self._needs_manifest = True
                self._is_cut_short = False
                raise
            self._failure = write_failed(error)
            if self.on_failure is not None:
                self.on_failure(self._failure)
            raise self._failure from error

    async def _begin_manifest(self) -> None:
        file_id = self._next_id
        self._next_id += 1
        version = self.version.apply(VersionEdit(reserved_ids=self._next_id + _IDS_AT_ONCE))
        former = self._manifest
        making = asyncio.ensure_future(
            self._files.off_loop(create_manifest, self._files, self._folder, file_id, version)
        )
        try:
            self._manifest = await asyncio.shield(making)
        except asyncio.CancelledError:
            while not making.done():  # beside another one it might be the last that CURRENT names
                with suppress(asyncio.CancelledError):  # however often
                    await asyncio.wait([making])
            if making.exception() is None:
                making.result().close()
            raise
        self.view.version = version
        if self._doubtful:
            self._unneeded += self._doubtful.values()
            self._doubtful.clear()
            self._sweep_wanted.set()
        former.close()
        with suppress(OSError):  # what stays is deleted when the folder is opened next
            self._files.unlink(f"{self._folder}/{manifest_name(former.file_id)}")

    def _discard(self, view: View) -> None:
        """Have the tables closed and deleted that only `view` held."""
        if view is self.view:
            return
        in_use = {file_id for other in [self.view, *self._pinned] for file_id in other.tables}
        self._unneeded += [table for file_id, table in view.tables.items() if file_id not in in_use]
        self._sweep_wanted.set()

    def _remove(self, tables: list[Table]) -> None:
        for table in tables:
            table.close()
        self._unlink(table.file_id for table in tables)

    def _unlink(self, tables: Iterable[int]) -> None:
        for file_id in tables:
            with suppress(OSError):  # what stays is deleted when the folder is opened next
                self._files.unlink(f"{self._folder}/{table_name(file_id)}")
