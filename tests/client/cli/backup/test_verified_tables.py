"""`backup verify` tells of every table, also when some cannot be read or the program that reads them dies."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from ringmill.client.backups.backup_manifest import BackedTable
from ringmill.client.backups.backup_progress import BackupProgress
from ringmill.client.backups.backup_store import BackupStore
from ringmill.client.cli.backup import backup_verify, table_program
from ringmill.client.cli.backup.local_tables import LocalTables
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.ports import ReadFile
from ringmill.node.backups import __main__ as table_reader

CONTENTS = [b"one", b"two", b"three", b"four"]
TABLES = {sha256(each).hexdigest(): BackedTable(1, len(each), sha256(each).hexdigest()) for each in CONTENTS}


class BadSectors(OsFileSystem):
    """The disk does not give these files, or those."""

    def __init__(self, broken: list[str], code: int) -> None:
        super().__init__()
        self.broken, self.code = broken, code

    def open_below(self, folder: str, path: str) -> ReadFile:
        if path in self.broken:
            raise OSError(self.code, os.strerror(self.code), path)
        return super().open_below(folder, path)


class Manifest:
    size_bytes = sum(map(len, CONTENTS))

    def tables(self) -> dict[str, BackedTable]:
        return TABLES


async def checked(tmp_path: Path, code: int) -> tuple[list[str], list[dict[str, Any]]]:
    files = BadSectors([], code)
    store = BackupStore(files, str(tmp_path), OsEntropy())
    for table, content in zip(TABLES.values(), CONTENTS, strict=True):

        async def pieces(content: bytes = content) -> AsyncIterator[bytes]:
            yield content

        await store.put_table(table, pieces())
    paths = [store.table_path(each.sha256) for each in TABLES.values()]
    files.broken = [paths[0], paths[2]]
    progress = cast("BackupProgress", type("Quiet", (), {"done_bytes": 0, "step": lambda _: None})())
    local = LocalTables(store, str(tmp_path), progress)
    return paths, await backup_verify._check(store, cast("Any", Manifest()), local)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
async def test_each_table_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    looked: list[str] = []

    async def sound(tables: Any) -> list[dict[str, Any]]:
        looked.extend(path for _, path in tables)
        return []

    monkeypatch.setattr(backup_verify, "damages", sound)
    paths, found = await checked(tmp_path, code)
    assert [each["path"] for each in found] == [paths[0], paths[2]]
    assert all("cannot be read" in each["why"] for each in found)
    assert looked == [paths[1], paths[3]], "the others are looked through"


async def test_a_full_disk_of_this_machine_is_not_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        await checked(tmp_path, errno.ENOSPC)


async def test_what_a_program_that_dies_did_not_look_through_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [{"path": "a", "offset": 7, "why": "checksum mismatch"}, {"checked": "a"}]
    script = "\n".join(f"print({json.dumps(each)!r}, flush=True)" for each in told)

    @asynccontextmanager
    async def dying(verb: str, asked: object) -> AsyncIterator[Any]:
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-c", f"{script}\nimport os; os.kill(os.getpid(), 9)"]
        program = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        yield program
        await program.wait()

    monkeypatch.setattr(table_program, "_open_program", dying)
    found = await table_program.damages([(1, "a"), (2, "b"), (3, "c")])
    assert [(each["path"], each["offset"]) for each in found] == [("a", 7), ("b", 0), ("c", 0)]
    assert all("was not checked" in each["why"] for each in found[1:])


def test_the_program_goes_on_past_a_table_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rubbish, gone = tmp_path / "rubbish", tmp_path / "gone"
    rubbish.write_bytes(b"no table")
    assert table_reader._check({"tables": [[1, str(gone)], [2, str(rubbish)]]}) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("path", each.get("checked")) for each in told] == [*[str(gone)] * 2, *[str(rubbish)] * 2]
    assert "cannot be read" in told[0]["why"] and "a table of 8 bytes" in told[2]["why"]
