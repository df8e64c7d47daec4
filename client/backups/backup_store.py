"""Where backups lie: a folder, or a URL that fsspec reads and writes.

Tables lie under their hashes, so that one which several backups or nodes have is kept once.  A backup exists
once its manifest does, which is written last: what an interrupted one leaves are tables that no manifest
names (rule B3: docs/protocol/backups.md).  Layout: docs/formats/backup.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ringmill.client.backups.backup_manifest import BackedTable, BackupManifest
from ringmill.cluster.errors import Conflict, CorruptData, InvalidArgument, NotFound
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.ports import AppendFile, Entropy, FileSystem, ReadFile
from ringmill.cluster.ring.topology_entries import check_name

__all__ = ["VERIFY_HINT", "BackupStore", "Pruned"]

VERIFY_HINT: Final = (
    "`ringmill backup verify` names all that is damaged; use another backup, or delete those files and make "
    "a new one"
)
_PIECE_BYTES: Final = 1 << 20
_MOST_MANIFEST_BYTES: Final = 64 << 20  # that of half a million tables
_MANIFEST, _TABLE, _UNFINISHED = ".json", ".sst", ".tmp"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted."""

    tables: int
    size_bytes: int


class BackupStore:
    """`place` is a path, or a URL without a slash at its end."""

    def __init__(self, files: FileSystem, place: str, entropy: Entropy) -> None:
        self.place = place
        self.is_local = not is_url(place)
        self.files = files
        # Two commands may make backups of one name at a time.
        self._unfinished = f".{entropy.random_bytes('backup', 8).hex()}{_UNFINISHED}"

    def check_is_there(self) -> None:
        """Raises NotFound for a folder of this machine that is not there; stores have no folders."""
        if self.is_local and not self.files.is_dir(self.place):
            raise NotFound(f"there is no folder {self.place}", hint="`ringmill backup create` makes one")

    # Manifests

    async def names(self) -> list[str]:
        """The names of the backups that exist, sorted.  Raises OSError."""
        found = await self.files.off_loop(self._list, "backups")
        return [name.removesuffix(_MANIFEST) for name in found if name.endswith(_MANIFEST)]

    async def read(self, name: str) -> BackupManifest:
        """Raises NotFound, CorruptData, ProtocolMismatch, OSError."""
        path = self._manifest_path(name)
        try:
            data = await self.files.off_loop(self._whole, path)
        except FileNotFoundError:
            names = ", ".join(await self.names()) or "none"
            raise NotFound(
                f"there is no backup {name!r} in {self.place}", hint=f"there are: {names[:400]}"
            ) from None
        return BackupManifest.decode(path, data)

    async def check_free(self, name: str) -> None:
        """Raises Conflict when there is a backup of this name, InvalidArgument for what is not a name."""
        if await self.files.off_loop(self.files.exists, self._manifest_path(name)):
            raise Conflict(f"{self.place} has a backup {name!r} already", hint="choose another name")

    async def write(self, manifest: BackupManifest) -> None:
        """The backup exists from now on.  Raises OSError."""
        path = self._manifest_path(manifest.name)
        await self.files.off_loop(self._write_whole, path, manifest.encode())

    async def delete(self, name: str) -> None:
        """Delete a backup; its tables stay until `prune`.  Raises NotFound, OSError."""
        path = self._manifest_path(name)

        def delete() -> None:
            if not self.files.exists(path):  # S3 says of what never was that it is deleted
                raise FileNotFoundError(path)
            self.files.unlink(path)

        try:
            await self.files.off_loop(delete)
        except FileNotFoundError:
            raise NotFound(f"there is no backup {name!r} in {self.place}") from None

    # Tables

    def table_path(self, digest: str) -> str:
        return f"{self.place}/tables/{digest}{_TABLE}"

    async def has_table(self, table: BackedTable) -> bool:
        """Whether a table of this hash and size is there; another size tells that it was cut short.  Raises
        OSError."""

        def look() -> bool:
            try:
                return self.files.size(self.table_path(table.sha256)) == table.bytes
            except FileNotFoundError:
                return False

        return await self.files.off_loop(look)

    async def put_table(self, table: BackedTable, pieces: AsyncIterator[bytes]) -> None:
        """Write a table.  Raises CorruptData for bytes of another hash, OSError, and what the pieces raise;
        then it is not there."""
        path = self.table_path(table.sha256)
        unfinished = f"{path}{self._unfinished}"  # by URL, too: closing it gives what was written its name
        file = await self.files.off_loop(self._create, unfinished)
        is_done, digest = False, sha256()
        try:
            async for piece in pieces:
                digest.update(piece)
                await self.files.off_loop(file.append, piece)
            if digest.hexdigest() != table.sha256:
                raise CorruptData(
                    f"table {table.file} did not come as it was hashed", hint="run the backup again"
                )
            is_done = True
        finally:
            await self.files.off_loop(self._end, file, unfinished, path, is_done)

    async def read_table(self, table: BackedTable) -> AsyncIterator[bytes]:
        """The pieces of a table.  Raises CorruptData once all came and they have another hash, or when it is
        not there; OSError."""
        path = self.table_path(table.sha256)
        try:
            file = await self.files.off_loop(self._opened, path)
        except FileNotFoundError:
            raise _damaged(path, "is missing") from None
        digest, offset = sha256(), 0
        try:
            while piece := await self.files.off_loop(file.pread, _PIECE_BYTES, offset):
                offset += len(piece)
                digest.update(piece)
                yield piece
        finally:
            file.close()
        if digest.hexdigest() != table.sha256:
            raise _damaged(path, f"is damaged: its {offset} bytes have another hash than its name says")

    async def prune(self) -> Pruned:
        """Delete the tables that no backup names, and what was not finished.

        No backup may be made meanwhile.  Raises what `read` raises, and then deletes nothing.
        """
        named = {digest for name in await self.names() for digest in (await self.read(name)).tables()}
        tables = size_bytes = 0
        for name in await self.files.off_loop(self._list, "tables"):
            if name.removesuffix(_TABLE) in named or not name.endswith((_TABLE, _UNFINISHED)):
                continue
            path = f"{self.place}/tables/{name}"
            size_bytes += await self.files.off_loop(self.files.size, path)
            await self.files.off_loop(self.files.unlink, path)
            tables += 1
        for name in await self.files.off_loop(self._list, "backups"):
            if name.endswith(_UNFINISHED):
                await self.files.off_loop(self.files.unlink, f"{self.place}/backups/{name}")
        return Pruned(tables, size_bytes)

    # Inside: each of these blocks

    def _manifest_path(self, name: str) -> str:
        check_name("the name of a backup", name)
        return f"{self.place}/backups/{name}{_MANIFEST}"

    def _opened(self, path: str) -> ReadFile:
        """A file of a folder that others may write: no link is followed, and a pipe not waited for."""
        if not self.is_local:
            return self.files.open_read(path)
        return self.files.open_below(path.rpartition("/")[0], path)

    def _whole(self, path: str) -> bytes:
        """A manifest.  Raises CorruptData for one that is too large, OSError."""
        if not self.is_local:
            _check_size(path, self.files.size(path))
            return self.files.read_bytes(path)
        with closing(self._opened(path)) as file:
            _check_size(path, file.size)
            return file.pread(file.size, 0)

    def _list(self, folder: str) -> list[str]:
        try:
            return self.files.list(f"{self.place}/{folder}")
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise InvalidArgument(f"{self.place} is not a folder") from None

    def _create(self, path: str) -> AppendFile:
        if self.is_local:
            self.files.mkdir(path.rpartition("/")[0])
        return self.files.create(path)

    def _write_whole(self, path: str, data: bytes) -> None:
        unfinished = f"{path}{self._unfinished}"
        file, is_done = self._create(unfinished), False
        try:
            file.append(data)
            is_done = True
        finally:
            self._end(file, unfinished, path, is_done)

    def _end(self, file: AppendFile, unfinished: str, path: str, is_done: bool) -> None:
        """Give a whole file its name, durably; delete another one."""
        try:
            if is_done:
                file.sync()
        finally:
            file.close()
        if not is_done:
            with suppress(OSError):
                self.files.unlink(unfinished)
            return
        self.files.rename(unfinished, path)
        if self.is_local:
            folder = path.rpartition("/")[0]
            self.files.fsync_dir(folder)
            self.files.fsync_dir(folder.rpartition("/")[0])  # it may be new itself


def _check_size(path: str, size: int) -> None:
    if size > _MOST_MANIFEST_BYTES:
        text = f"{path} is not a manifest of a backup: it has {size} bytes, more than {_MOST_MANIFEST_BYTES}"
        raise CorruptData(text, hint="use another backup; delete this one by removing the file")


def _damaged(path: str, why: str) -> CorruptData:
    return CorruptData(f"{path} {why}", detail={"file": path, "why": why}, hint=VERIFY_HINT)
