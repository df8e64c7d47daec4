"""A start on a disk that cannot read some sectors: what they held is lost, what can be read later is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage import engine as engine_module
from ringmill.node.storage.engine import Batch, Engine
from ringmill.simulator.disk.damage import check_flips, sample_folder
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import SECTOR_BYTES, LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from tests.node.storage.conftest import OpenEngine

KEYS = [b"key%05d" % number for number in range(60)]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_READ_AGAIN_S", (0.0, 0.0))


async def write(engine: Engine, keys: list[bytes]) -> None:
    for key in keys:
        batch = Batch()
        batch.put(key, b"value of " + key)
        await engine.apply(batch).synced()


def spoil(disk: LossyDisk, *ends: str) -> None:
    """Let all sectors of files of these names be unreadable."""
    for name in disk.list(FOLDER):
        path = f"{FOLDER}/{name}"
        if disk.is_file(path) and any(end in name for end in ends):
            for offset in range(0, disk.size(path), SECTOR_BYTES):
                disk.spoil(path, offset)


async def read(engine: Engine) -> list[bytes | None]:
    return [await engine.get(key) for key in KEYS]


async def test_whichever_sector_cannot_be_read_the_store_opens_and_gives_no_wrong_answer() -> None:
    sample = await sample_folder(seed=5, size=16_000)
    outcomes = set[str]()
    for number in range(0, sample.size, SECTOR_BYTES):
        outcomes.add(await check_flips(sample, [], bad=[number]))
    assert outcomes == {"right", "some corrupt"}


async def test_sectors_of_several_files_at_once_give_no_wrong_answer_however_often_it_is_opened() -> None:
    sample, random = await sample_folder(seed=6, size=16_000), Random(7)
    for _ in range(8):
        bad = [random.randrange(sample.size) for _ in range(3)]
        await check_flips(sample, [], bad=bad, reopens=2)


@pytest.mark.parametrize(
    "ends", [(".sst",), ("MANIFEST",), ("CURRENT",), (".log",), ("MANIFEST", ".log", ".sst")]
)
async def test_an_error_that_passes_within_seconds_costs_nothing(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, ends: tuple[str, ...]
) -> None:
    first = await open_engine()
    await write(first, KEYS)
    await first.wait_idle()
    killed = disk.after_kill()
    spoil(killed, *ends)
    monkeypatch.setattr(engine_module, "_READ_AGAIN_S", (0.0, 0.2))
    asyncio.get_running_loop().call_later(0.1, killed.mend)
    again = await open_engine(on=killed)
    assert not again.corrupt_ranges()
    assert await read(again) == [b"value of " + key for key in KEYS]
    opened = [path for path in killed.opened if path.endswith(".sst")]
    assert len(opened) == len(set(opened))


async def test_a_disk_that_reads_nothing_keeps_the_store_closed_and_nothing_is_lost(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    first = await open_engine()
    await write(first, KEYS)
    await first.close()
    spoil(disk, "")
    before = disk.list(FOLDER)
    with pytest.raises(CorruptData, match="cannot be read"):
        await open_engine()
    assert disk.list(FOLDER) == before
    disk.mend()
    again = await open_engine()
    assert not again.corrupt_ranges()
    assert await read(again) == [b"value of " + key for key in KEYS]


@pytest.mark.parametrize("place", ["beginning", "middle", "end"])
@pytest.mark.parametrize("is_power_cut", [False, True])
async def test_the_last_log_is_read_around_a_bad_sector_and_what_is_left_goes_to_a_table(
    disk: LossyDisk, open_engine: OpenEngine, place: str, is_power_cut: bool
) -> None:
    """What was acknowledged is there or fenced, and what can be read outlives the log (E3)."""
    first = await open_engine(replace(TINY, memtable_bytes=1 << 20))
    await write(first, [b"key%05d" % number for number in range(500)])
    (log,) = [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if name.endswith(".log")]
    size = disk.size(log)
    disk.spoil(log, {"beginning": 0, "middle": size // 2, "end": size - 1}[place])
    found = disk.cut_power(CrashModel.PREFIX, Random(1)) if is_power_cut else disk.after_kill()
    again = await open_engine(on=found)
    (mark,) = again.corrupt_ranges()
    assert (mark.start, mark.end) == (b"", None)
    survived = [key async for key, _ in again.survivors()]
    assert 300 <= len(survived) < 500
    assert not found.exists(log)
    await write(again, [b"new"])
    third = await open_engine(on=found.after_kill())
    assert await third.get(b"new") == b"value of new"
    assert [key async for key, _ in third.survivors()] == sorted([*survived, b"new"])
    assert set(third.corrupt_ranges()) == {mark}
