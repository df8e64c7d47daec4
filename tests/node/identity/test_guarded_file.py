"""A small file is replaced off the loop, and a replacement that nobody waits for any more is over in time."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.node.identity.guarded_file import replace_file


class SlowJournal(OsFileSystem):
    """Renames wait for the journal of the file system; it tells which thread waited."""

    def __init__(self) -> None:
        super().__init__()
        self.is_written = threading.Event()
        self.has_begun = threading.Event()
        self.waited: list[int] = []

    def rename(self, source: str, target: str) -> None:
        self.waited.append(threading.get_ident())
        self.has_begun.set()
        self.is_written.wait(10)
        super().rename(source, target)


async def test_the_loop_does_not_wait_for_the_journal(tmp_path: Path) -> None:
    files, path = SlowJournal(), str(tmp_path / "CONTROL")
    files.is_written.set()
    for content in (b"first", b"second"):
        await replace_file(files, path, content)
        assert files.read_bytes(path) == content
    assert threading.get_ident() not in files.waited
    assert files.list(str(tmp_path)) == ["CONTROL"]
    files.close()


async def test_no_rename_of_a_cancelled_replacement_is_left_to_come(tmp_path: Path) -> None:
    files, path = SlowJournal(), str(tmp_path / "CONTROL")
    replacing = asyncio.create_task(replace_file(files, path, b"first"))
    await asyncio.to_thread(files.has_begun.wait, 10)
    for _ in range(2):
        replacing.cancel()
        await asyncio.sleep(0.01)
        assert not replacing.done(), "a later rename would take the file of the next replacement"
    files.is_written.set()
    with pytest.raises(asyncio.CancelledError):
        await replacing
    assert files.read_bytes(path) == b"first"
    files.close()
