"""Engines on the lossy disk, opened and closed by the test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ringmill.node.storage.engine import Engine, EngineOptions
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def disk() -> LossyDisk:
    return LossyDisk()


@pytest.fixture
async def open_engine(disk: LossyDisk) -> AsyncIterator[OpenEngine]:
    """Open an engine on `disk`; what is still open at the end is closed."""
    opened: list[Engine] = []

    async def open_one(options: EngineOptions = TINY, *, on: LossyDisk | None = None) -> Engine:
        engine = await Engine.open(FOLDER, options, files=on or disk, spawner=TurnSpawner())
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        await engine.close()
