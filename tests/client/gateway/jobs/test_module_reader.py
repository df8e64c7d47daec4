"""The folders in which modules are imported: none is left, whatever happens to its caller."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from ringmill.client.gateway.jobs.module_reader import ModuleReader
from ringmill.client.gateway.jobs.reading_order import JobRequest, ReadingOrder
from ringmill.client.jobs.job_packing import JobOptions
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ports import TaskProcess

ORDER = ReadingOrder(JobRequest("m.py:mine", {"m.py": b""}, "/in", None, JobOptions()), "mine-1", "")


def names_in(folder: Path) -> list[str]:
    return os.listdir(folder)


class Starter:
    """Makes no process."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        assert names_in(Path(workdir)) == []
        raise self._error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ChildProcessError("no room"), Unavailable),
        (OSError(24, "Too many open files"), Unavailable),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
async def test_no_folder_is_left_when_no_process_starts(
    tmp_path: Path, error: BaseException, told: type[BaseException]
) -> None:
    def new_folder() -> str:
        (tmp_path / "module").mkdir()
        return str(tmp_path / "module")

    with closing(OsFileSystem()) as files, pytest.raises(told):
        await ModuleReader(Starter(error), files, new_folder).read(ORDER)
    assert names_in(tmp_path) == []


async def test_no_folder_is_left_of_a_caller_who_goes_while_it_is_made(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def new_folder() -> str:
        begun.set()
        assert go_on.wait(20)
        (tmp_path / "module").mkdir()
        return str(tmp_path / "module")

    with closing(OsFileSystem()) as files:
        reader = ModuleReader(Starter(AssertionError("nobody waits for it")), files, new_folder)
        reading = asyncio.ensure_future(reader.read(ORDER))
        await asyncio.to_thread(begun.wait, 20)
        reading.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert names_in(tmp_path) == []
