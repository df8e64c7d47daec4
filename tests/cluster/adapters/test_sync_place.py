"""Where files are synced: short syncs on the loop, and in a thread for a while after a slow one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files import os_files
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.sync_place import MOST_BYTES, SHORT_S, SyncPlace


def test_short_syncs_stay_on_the_loop_and_large_ones_do_not() -> None:
    place = SyncPlace()
    for _ in range(10_000):
        assert place.is_loop(MOST_BYTES) and not place.is_loop(MOST_BYTES + 1)
        place.took(SHORT_S)


@pytest.mark.parametrize(("slow_s", "syncs"), [(0.0051, 81), (0.05, 800), (0.2, 3_200), (60.0, 4_096)])
def test_the_slower_one_was_the_more_syncs_have_to_be_short_in_the_thread(slow_s: float, syncs: int) -> None:
    place = SyncPlace()
    place.took(slow_s)
    for _ in range(syncs):
        assert not place.is_loop(1)
        place.took(0.001)
    assert place.is_loop(1)


def test_a_shorter_slow_one_does_not_end_what_a_longer_one_began() -> None:
    place = SyncPlace()
    place.took(0.2)
    place.took(0.006)
    for _ in range(3_199):
        place.took(0.001)
        assert not place.is_loop(1)


@pytest.fixture
def files() -> Iterator[OsFileSystem]:
    system = OsFileSystem()
    yield system
    system.close()


async def test_after_a_slow_sync_the_loop_goes_on_during_those_that_follow(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    is_slow = True

    def sync(_: int) -> None:
        threads.append(threading.current_thread().name.split("_")[0])
        if is_slow:
            time.sleep(2 * SHORT_S)

    monkeypatch.setattr(os_files, "_data_sync", sync)
    file = files.create(str(tmp_path / "a"))
    await file.append_and_sync(b"1")
    is_slow = False
    for _ in range(2):
        await file.append_and_sync(b"2")
    assert threads == ["MainThread", "sync", "sync"]
    assert (tmp_path / "a").read_bytes() == b"122"
    file.close()


async def test_no_sync_on_the_loop_overtakes_one_in_the_thread_whose_caller_has_gone(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def sync(_: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(30)

    monkeypatch.setattr(os_files, "_data_sync", sync)
    file = files.create(str(tmp_path / "a"))
    first = asyncio.ensure_future(file.append_and_sync(b"1" * (MOST_BYTES + 1)))
    while file.size == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(file.append_and_sync(b"2"))
    await asyncio.sleep(0)
    assert not second.done() and file.size == MOST_BYTES + 1
    go_on.set()
    await second
    assert file.size == MOST_BYTES + 2
    file.close()


async def test_no_sync_on_the_loop_waits_for_the_disk_beside_one_of_another_file_in_the_thread(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, threads = threading.Event(), list[str]()

    def sync(_: int) -> None:
        threads.append(threading.current_thread().name.split("_")[0])
        if threads == ["sync"]:
            assert go_on.wait(30)

    monkeypatch.setattr(os_files, "_data_sync", sync)
    log, manifest = files.create(str(tmp_path / "log")), files.create(str(tmp_path / "manifest"))
    first = asyncio.ensure_future(log.append_and_sync(b"1" * (MOST_BYTES + 1)))
    while not threads:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    gone = asyncio.ensure_future(log.append_and_sync(b"2" * (MOST_BYTES + 1)))
    second = asyncio.ensure_future(manifest.append_and_sync(b"3"))
    await asyncio.sleep(0)
    gone.cancel()  # before its turn has come
    third = asyncio.ensure_future(log.append_and_sync(b"4"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert threads == ["sync"]
    go_on.set()
    await asyncio.gather(first, second, third)
    assert threads == ["sync"] * 3 and log.size == MOST_BYTES + 2
    log.close()
    manifest.close()


async def test_a_slow_sync_whose_caller_has_gone_keeps_the_next_one_off_the_loop(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def sync(_: int) -> None:
        threads.append(threading.current_thread().name.split("_")[0])
        if len(threads) == 1:
            time.sleep(2 * SHORT_S)

    monkeypatch.setattr(os_files, "_data_sync", sync)
    file = files.create(str(tmp_path / "a"))
    first = asyncio.ensure_future(file.append_and_sync(b"1" * (MOST_BYTES + 1)))
    while not threads:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await files.off_loop(files._syncer.submit(int).result)  # it has ended
    await file.append_and_sync(b"2")
    assert threads == ["sync", "sync"]
    file.close()
