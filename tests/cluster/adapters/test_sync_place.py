"""Where files are synced: short syncs on the loop, and in a thread for a while after a slow one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files import core_wait, os_files, sync_place
from ringmill.cluster.adapters.files.core_wait import CoreWait
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.sync_place import (
    LONG_IN_THREAD_S,
    LONG_S,
    MOST_BYTES,
    SHORT_S,
    SyncPlace,
)


def test_short_syncs_stay_on_the_loop_and_large_ones_do_not() -> None:
    place = SyncPlace()
    for _ in range(10_000):
        assert place.is_loop(MOST_BYTES) and not place.is_loop(MOST_BYTES + 1)
        place.took(SHORT_S)


def test_syncs_that_no_request_waits_for_are_not_kept_until_one_does() -> None:
    place = SyncPlace()
    for _ in range(1_000):
        place.asked_for_thread()
        sync: Future[float] = Future()
        sync.set_result(0.001)
        place.begun(sync)
    assert len(place._under_way) == 1


def test_one_slow_sync_among_short_ones_stays_an_exception() -> None:
    place = SyncPlace()
    for number in range(1_000):
        assert place.is_loop(1)
        place.took(4 * SHORT_S if number % 10 == 0 else 0.001)


def test_syncs_that_are_slow_on_average_leave_the_loop() -> None:
    place = SyncPlace()
    on_loop = 0
    while place.is_loop(1):
        place.took(2 * SHORT_S)
        on_loop += 1
    assert 8 < on_loop < 16
    assert stay_in_thread(place) == 10


@pytest.mark.parametrize(("slow_s", "syncs"), [(0.051, 51), (0.2, 200), (60.0, 4_096)])
def test_the_slower_one_was_the_more_syncs_go_to_the_thread(slow_s: float, syncs: int) -> None:
    place = SyncPlace()
    place.took(slow_s)
    assert stay_in_thread(place) == syncs


def test_a_disk_that_is_still_slow_is_tried_half_as_often_each_time() -> None:
    place = SyncPlace()
    place.took(1.0)
    stayed = [stay_in_thread(place)]
    for _ in range(4):
        place.took(2 * SHORT_S)
        stayed.append(stay_in_thread(place))
    assert stayed == [1_000, 2_000, 4_000, 4_096, 4_096]


def test_what_was_slow_before_many_short_ones_is_forgotten() -> None:
    place = SyncPlace()
    place.took(0.2)
    stay_in_thread(place)
    for _ in range(200):
        place.took(0.001)
    place.took(0.06)
    assert stay_in_thread(place) == 60


def test_only_a_very_slow_sync_in_the_thread_keeps_others_there() -> None:
    place = SyncPlace()
    place.took(0.06)
    assert stay_in_thread(place, LONG_IN_THREAD_S) == 60
    place.took(0.06)
    place.begun(ended(2 * LONG_IN_THREAD_S))
    assert stay_in_thread(place) == 200


def stay_in_thread(place: SyncPlace, took_s: float = 0.001) -> int:
    """How many syncs go to the thread, where each takes so long, until the loop is tried again."""
    count = 0
    while not place.is_loop(1):
        place.begun(ended(took_s))
        count += 1
    return count


def ended(took_s: float) -> Future[float]:
    sync = Future[float]()
    sync.set_result(took_s)
    return sync


def test_the_wait_for_a_core_is_counted_by_the_system_where_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = CoreWait()
    first = waited.so_far_s()
    assert 0 <= first <= waited.so_far_s()
    waited.close()
    assert waited.so_far_s() == 0
    monkeypatch.setattr(core_wait, "_SCHEDSTAT", "/dev/null/none")
    assert CoreWait().so_far_s() == 0


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
            time.sleep(1.1 * LONG_S)

    monkeypatch.setattr(os_files, "_data_sync", sync)
    file = files.create(str(tmp_path / "a"))
    await file.append_and_sync(b"1")
    is_slow = False
    for _ in range(2):
        await file.append_and_sync(b"2")
    assert threads == ["MainThread", "sync", "sync"]
    assert (tmp_path / "a").read_bytes() == b"122"
    file.close()


async def test_what_no_request_waits_for_is_never_synced_on_the_loop_nor_what_follows_it_soon(
    files: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def sync(_: int) -> None:
        threads.append(threading.current_thread().name.split("_")[0])

    monkeypatch.setattr(os_files, "_data_sync", sync)
    file = files.create(str(tmp_path / "a"))
    await file.append_and_sync(b"1", off_loop=True)
    for _ in range(20):
        await file.append_and_sync(b"2")
    assert threads == ["sync"] * 16 + ["MainThread"] * 5
    assert (tmp_path / "a").read_bytes() == b"1" + b"2" * 20
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

    monkeypatch.setattr(sync_place, "LONG_IN_THREAD_S", SHORT_S)
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
