"""A disk that finds out at syncs that it is full, now and then, and loses power at any time: nothing that was
acknowledged is missing, and nothing stands before what is missing."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from ringmill.cluster.errors import DiskFull
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.log import log_file
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.node.storage.upkeep import space
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel

OPTIONS = replace(TINY, reserve_bytes=0)


class Story:
    """Batches that each write their number, and what is known of them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.states: list[dict[bytes, bytes]] = [{}]
        self.acked = 0
        self.refused = 0

    def hook(self, call: str, path: str) -> None:
        odds = {"sync": 0.3, "append": 0.1}.get(call, 0.0)
        if path.endswith(".log") and self.random.random() < odds:
            raise OSError(self.random.choice((errno.ENOSPC, errno.EDQUOT)), "injected", path)

    async def write(self, engine: Engine) -> None:
        try:
            await engine.wait_writable()
        except DiskFull:
            await asyncio.sleep(0.002)
            return
        batch, number = Batch(), len(self.states)
        for _ in range(self.random.randint(1, 3)):
            batch.put(b"k%d" % self.random.randrange(30), b"%d" % number)
        commit = engine.apply(batch)
        self.states.append({**self.states[-1], **{key: value or b"" for key, value in batch.changes}})
        assert commit.sequence == len(self.states) - 1
        fate = self.random.random()
        try:
            if fate < 0.4:
                await commit.synced()
                self.acked = max(self.acked, commit.sequence)
            elif fate < 0.7:
                await commit.buffered()
            elif fate < 0.9:
                await asyncio.sleep(0)
        except DiskFull:
            self.refused += 1


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_acknowledged_outlives_a_power_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "_POLL_S", 0.001)
    if seed % 4 == 3:
        monkeypatch.setattr(log_file, "MOST_KEPT_BYTES", 300)
    random, disk = Random(seed), LossyDisk()
    story = Story(random)
    engine = await Engine.open(FOLDER, OPTIONS, files=disk, spawner=TurnSpawner())
    disk.hook = story.hook
    with suppress(StorageFailed):
        for _ in range(random.randint(20, 120)):
            await story.write(engine)
    killed = disk.after_kill()
    model = random.choice([each for each in CrashModel if each is not CrashModel.LYING])
    found = disk.cut_power(model, random)
    for left in (found, killed):
        async with await Engine.open(FOLDER, OPTIONS, files=left, spawner=TurnSpawner()) as again:
            held = {key: value async for key, value in again.scan()}
        assert held in story.states[story.acked :], (seed, story.acked, len(story.states))
    disk.hook = None
    with suppress(Exception):
        await engine.close()
