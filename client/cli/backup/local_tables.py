"""Tables of a backup as files of this machine, with the right hashes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ringmill.client.backups.backup_manifest import BackedTable
from ringmill.client.backups.backup_progress import BackupProgress
from ringmill.client.backups.backup_store import BackupStore

__all__ = ["LocalTables", "local_tables"]


class LocalTables:
    """Where a store lies on this machine its files are used as they are, else copies in a folder."""

    def __init__(self, store: BackupStore, folder: str, progress: BackupProgress) -> None:
        self._store = store
        self._folder = folder
        self._progress = progress

    async def fetch(self, table: BackedTable) -> str:
        """The path of a table.  Raises CorruptData when its hash is not that of its name, OSError."""
        store, files = self._store, self._store.files
        path = store.table_path(table.sha256) if store.is_local else f"{self._folder}/{table.sha256}"
        copy = None if store.is_local else await files.off_loop(files.create, path)
        try:
            async for piece in store.read_table(table):
                if copy is not None:
                    await files.off_loop(copy.append, piece)
                self._progress.done_bytes += len(piece)
                self._progress.step()
        finally:
            if copy is not None:
                copy.close()
        return path

    async def forget(self, path: str) -> None:
        """A copy is needed no more."""
        if not self._store.is_local:
            await self._store.files.off_loop(self._store.files.unlink, path)


@contextmanager
def local_tables(store: BackupStore, progress: BackupProgress) -> Iterator[LocalTables]:
    with tempfile.TemporaryDirectory(prefix="ringmill-backup-") as folder:
        yield LocalTables(store, folder, progress)
