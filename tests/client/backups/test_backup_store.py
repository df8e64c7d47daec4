"""Tables of two backups that write to one place at a time, and stores that copy in their own time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from ringmill.client.backups.backup_manifest import BackedTable
from ringmill.client.backups.backup_store import BackupStore
from ringmill.cluster.adapters.files import url_files
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import NotFound

CONTENT = b"first" + b"second"
TABLE = BackedTable(1, len(CONTENT), sha256(CONTENT).hexdigest())


class LateStore(MemoryFileSystem):  # type: ignore[misc]
    """Its copies have begun when they are answered, as Azure's, and end after a few looks at them."""

    protocol = "late"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    looks: ClassVar[float] = 3
    copies: ClassVar[dict[str, tuple[str, float]]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("late:/")))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        self.pipe_file(path2, b"")
        self.copies[self._strip_protocol(path2)] = self._strip_protocol(path1), self.looks

    def info(self, path: str, **_: Any) -> Any:
        name = self._strip_protocol(path)
        if name in self.copies:
            source, left = self.copies.pop(name)
            if left > 1:
                self.copies[name] = source, left - 1
            else:
                self.pipe_file(name, self.cat_file(source))
        return super().info(path)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    fsspec.register_implementation("late", LateStore, clobber=True)
    monkeypatch.setattr(url_files, "_FIRST_PAUSE_S", 0.001)
    yield fsspec.filesystem("late")
    LateStore.store.clear()
    LateStore.copies.clear()


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    found = fsspec.filesystem("memory")
    yield found
    found.store.clear()


def opened(place: str) -> BackupStore:
    return BackupStore(UrlFiles(), place, OsEntropy())


async def whole() -> AsyncIterator[bytes]:
    yield b"first"
    yield b"second"


@pytest.mark.parametrize("kind", ["local://", ""])
@pytest.mark.parametrize("is_later", [False, True])
async def test_an_interrupted_backup_leaves_what_another_one_has_written(
    *, kind: str, is_later: bool, tmp_path: Path
) -> None:
    """Also one of the same name, whichever of them began first."""
    place, begun = f"{kind}{tmp_path}/b", {True: asyncio.Event(), False: asyncio.Event()}
    store = opened(place)

    async def pieces(*, stops: bool) -> AsyncIterator[bytes]:
        yield b"first"
        begun[stops].set()
        if stops:
            await asyncio.sleep(60)
        await begun[True].wait()
        yield b"second"

    async def put(*, stops: bool) -> None:
        await opened(place).put_table(TABLE, pieces(stops=stops))

    earlier = asyncio.create_task(put(stops=not is_later))
    await begun[not is_later].wait()
    later = asyncio.create_task(put(stops=is_later))
    lasting, interrupted = (earlier, later) if is_later else (later, earlier)
    await lasting
    assert await store.has_table(TABLE)
    interrupted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await interrupted
    assert await store.has_table(TABLE)
    assert [piece async for piece in store.read_table(TABLE)] == [CONTENT]
    assert [each.name for each in (tmp_path / "b/tables").iterdir()] == [f"{TABLE.sha256}.sst"]


@pytest.mark.parametrize("place", ["memory://b", "late://b"])
async def test_a_table_gets_its_name_by_a_copy_of_the_store(
    place: str, memory: MemoryFileSystem, late: MemoryFileSystem
) -> None:
    store, url = opened(place), memory if place.startswith("memory") else late
    await store.put_table(TABLE, whole())
    path = f"/b/tables/{TABLE.sha256}.sst"
    assert url.find("/b") == [path]
    assert url.cat_file(path) == CONTENT
    assert await store.has_table(TABLE)


def test_what_a_store_does_not_copy_in_time_stays(
    late: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateStore, "looks", float("inf"))
    monkeypatch.setattr(url_files, "_COPIED_WITHIN_S", 0.02)
    late.pipe_file("/b/x.tmp", CONTENT)
    with pytest.raises(TimeoutError, match="copied 0 of 11 bytes"):
        UrlFiles().rename("late://b/x.tmp", "late://b/x")
    assert late.cat_file("/b/x.tmp") == CONTENT


async def test_a_backup_that_is_not_there_is_not_deleted(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers as if it had been."""
    monkeypatch.setattr(MemoryFileSystem, "rm_file", lambda store, name: store.store.pop(name, None))
    store = opened("memory://backups")
    memory.pipe_file("/backups/backups/monday.json", b"{}")
    with pytest.raises(NotFound, match="there is no backup 'mondy'"):
        await store.delete("mondy")
    await store.delete("monday")
    assert await store.names() == []


async def test_a_store_that_does_not_answer_is_not_said_to_lack_a_backup(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one would take the place of the backup of this name."""
    store = opened("memory://backups")
    memory.pipe_file("/backups/backups/monday.json", b"{}")
    monkeypatch.setattr(MemoryFileSystem, "exists", AbstractFileSystem.exists)
    monkeypatch.setattr(MemoryFileSystem, "info", Mock(side_effect=OSError("no answer")))
    with pytest.raises(OSError, match="no answer"):
        await store.check_free("monday")
    with pytest.raises(OSError, match="no answer"):
        await store.delete("monday")


async def test_prune_deletes_what_killed_backups_were_writing(tmp_path: Path) -> None:
    for name in ("tables/x.sst.00.tmp", "backups/monday.json.00.tmp"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(CONTENT)
    pruned = await opened(str(tmp_path)).prune()
    assert pruned.tables == 1
    assert [name for folder in ("tables", "backups") for name in os.listdir(tmp_path / folder)] == []
