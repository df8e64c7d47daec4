"""A crash while a damaged log is recovered leaves a folder that other members do not take for an old copy."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from ringmill.cluster.membership.start_rules import FoundLogs, LogMark
from ringmill.cluster.ports import FileSystem
from ringmill.node.storage import engine as engine_module
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.names import log_name
from ringmill.node.storage.recovery.log_extent import found_logs
from ringmill.node.storage.recovery.opening import Opened
from ringmill.node.storage.storage_errors import CorruptRange
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel

KEYS = [b"key%d" % number for number in range(10)]
MODELS = [model for model in CrashModel if model is not CrashModel.LYING]
HARMS = ("last batch", "last two batches", "middle", "middle and last batch", "header", "all")


async def killed_with_a_log() -> tuple[LossyDisk, LogMark]:
    """A disk as a kill leaves it, and how far its log is, as the other members were told."""
    disk = LossyDisk()
    engine = await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner())
    for key in KEYS:
        batch = Batch()
        batch.put(key, b"value")
        await engine.apply(batch).synced()
    mark = LogMark(*engine.synced_log)
    left = disk.after_kill()
    await engine.close()
    return left, mark


def flip(disk: LossyDisk, log: int, harm: str) -> None:
    path = f"{FOLDER}/{log_name(log)}"
    size = disk.size(path)
    places = {
        "last batch": [size - 1],
        "last two batches": [size - 1, size - 40],
        "middle": [size // 2],
        "middle and last batch": [size // 2, size - 1],
        "header": [20],
        "all": list(range(size)),
    }
    for place in places[harm]:
        disk.flip(path, place, 0x5A)


async def reopen(disk: LossyDisk) -> dict[bytes, bytes | str | None]:
    """What the store answers for each key."""
    found: dict[bytes, bytes | str | None] = {}
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
        await engine.wait_idle()
        for key in KEYS:
            found[key] = "fenced"
            with suppress(CorruptRange):
                found[key] = await engine.get(key)
    return found


async def crashes_of_a_recovery(disk: LossyDisk) -> list[LossyDisk]:
    """The disk as it is found after a kill before each call of a start, and after a power cut there."""
    found: list[LossyDisk] = []

    def remember(call: str, path: str) -> None:
        found.append(disk.after_kill())
        moment = disk.moment()
        found.extend(LossyDisk.after(moment.crash(model, Random(len(found)))) for model in MODELS)

    disk.hook = remember
    await reopen(disk)
    disk.hook = None
    return found


def lacks(disk: LossyDisk, mark: LogMark) -> bool:
    highest, logs = found_logs(disk, FOLDER)
    return not FoundLogs(highest, tuple(LogMark(*log) for log in logs)).holds(mark)


@pytest.mark.parametrize("harm", HARMS)
async def test_no_crash_of_a_recovery_makes_the_folder_look_like_an_old_copy(harm: str) -> None:
    disk, mark = await killed_with_a_log()
    flip(disk, mark.log, harm)
    unharmed = await reopen(disk.after_kill())
    found = await crashes_of_a_recovery(disk)
    assert len(found) > 100
    for left in found:
        assert not lacks(left, mark)
        for key, value in (await reopen(left)).items():
            assert value in (unharmed[key], "fenced")
        assert not lacks(left, mark)


async def test_a_log_that_is_cut_in_place_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(files: FileSystem, folder: str, options: EngineOptions, opened: Opened) -> None:
        if opened.recovered.tail is not None:
            log, size = opened.recovered.tail
            files.truncate(f"{folder}/{log_name(log)}", size)

    monkeypatch.setattr(engine_module, "replace_torn_log", cut)
    disk, mark = await killed_with_a_log()
    flip(disk, mark.log, "last batch")
    assert any(lacks(left, mark) for left in await crashes_of_a_recovery(disk))
