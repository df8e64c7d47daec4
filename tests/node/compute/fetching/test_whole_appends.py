"""What arrives is written off the event loop, and a file is closed only when nobody writes to it any more."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.ports import AppendFile
from ringmill.node.compute import whole_appends
from ringmill.node.compute.whole_appends import append_off_loop


class Held:
    """A file whose disk takes what is written only when it may."""

    def __init__(self, file: AppendFile) -> None:
        self.file, self.may_go_on, self.writers = file, threading.Event(), list[int]()

    def append(self, data: bytes) -> None:
        self.writers.append(threading.get_ident())
        self.may_go_on.wait(20)
        self.file.append(data)


async def test_the_loop_goes_on_while_the_disk_is_slow_and_a_cancelled_write_is_waited_for(
    tmp_path: Path,
) -> None:
    files, path = OsFileSystem(), tmp_path / "file"
    held = Held(files.create(str(path)))
    writing = asyncio.create_task(append_off_loop(files, held, b"page"))  # type: ignore[arg-type]
    while not held.writers:  # noqa: ASYNC110 - a thread tells
        await asyncio.sleep(0.001)
    assert held.writers != [threading.get_ident()]
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    held.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert path.read_bytes() == b"page"
    held.file.close()
    files.close()


async def test_a_cancelled_write_that_has_not_begun_is_left_out(tmp_path: Path) -> None:
    files, path = OsFileSystem(), tmp_path / "file"
    held = Held(files.create(str(path)))
    writes = [asyncio.create_task(append_off_loop(files, held, b"page")) for _ in range(8)]  # type: ignore[arg-type]
    while len(held.writers) < 4:  # noqa: ASYNC110 - threads tell
        await asyncio.sleep(0.001)
    for write in writes[4:]:
        write.cancel()
    await asyncio.wait(writes[4:])
    assert all(write.cancelled() for write in writes[4:]), "nobody waits for the disk"
    held.may_go_on.set()
    await asyncio.gather(*writes[:4])
    assert path.read_bytes() == b"page" * 4
    held.file.close()
    files.close()


async def test_a_disk_that_hangs_is_waited_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_appends, "_PATIENCE_S", 0.01)
    files, path = OsFileSystem(), tmp_path / "file"
    held = Held(files.create(str(path)))
    writing = asyncio.create_task(append_off_loop(files, held, b"page"))  # type: ignore[arg-type]
    while not held.writers:  # noqa: ASYNC110 - a thread tells
        await asyncio.sleep(0.001)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert path.read_bytes() == b""
    held.may_go_on.set()
    files.close()
    held.file.close()
