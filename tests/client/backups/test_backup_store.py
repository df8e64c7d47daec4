"""Tables of two backups that write to one place at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest

from ringmill.client.backups.backup_manifest import BackedTable
from ringmill.client.backups.backup_store import BackupStore
from ringmill.cluster.adapters.files.url_files import UrlFiles

CONTENT = b"first" + b"second"
TABLE = BackedTable(1, len(CONTENT), sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("kind", ["local://", ""])
async def test_an_interrupted_backup_leaves_what_another_one_has_written(kind: str, tmp_path: Path) -> None:
    store, has_begun = BackupStore(UrlFiles(), f"{kind}{tmp_path}/b"), asyncio.Event()

    async def pieces(*, stops: bool) -> AsyncIterator[bytes]:
        yield b"first"
        if stops:
            has_begun.set()
            await asyncio.sleep(60)
        yield b"second"

    first = asyncio.create_task(store.put_table(TABLE, "monday", pieces(stops=True)))
    await has_begun.wait()
    await store.put_table(TABLE, "tuesday", pieces(stops=False))
    assert await store.has_table(TABLE)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await store.has_table(TABLE)
    assert [piece async for piece in store.read_table(TABLE)] == [CONTENT]
    assert [each.name for each in (tmp_path / "b/tables").iterdir()] == [f"{TABLE.sha256}.sst"]


def test_a_file_of_a_store_gets_its_name_by_a_copy_there() -> None:
    files, memory = UrlFiles(), fsspec.filesystem("memory")
    memory.pipe_file("/b/x.tmp", CONTENT)
    files.rename("memory://b/x.tmp", "memory://b/x")
    assert memory.cat_file("/b/x") == CONTENT and not memory.exists("/b/x.tmp")
