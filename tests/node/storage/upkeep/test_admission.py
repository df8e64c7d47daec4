"""Writers pay for what is written while compaction is behind, and for nothing before."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.node.storage.upkeep.admission import Admission
from ringmill.node.storage.upkeep.stats import EngineCounters

MIB = 1 << 20


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    at_once = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        await at_once(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


def begun() -> Admission:
    found = Admission(EngineCounters())
    found.refresh(None, None, is_full=False)
    return found


async def test_what_was_written_before_compaction_fell_behind_slows_nobody(pauses: list[float]) -> None:
    writers = begun()
    writers.unpaced_bytes += 100 << 30
    await writers.wait(is_control=False)
    writers.refresh(None, 40.0 * MIB, is_full=False)
    await writers.wait(is_control=False)
    assert pauses == []


async def test_what_was_written_while_it_caught_up_slows_nobody_later(pauses: list[float]) -> None:
    writers = begun()
    writers.refresh(None, 4.0 * MIB, is_full=False)
    writers.refresh(None, None, is_full=False)
    writers.unpaced_bytes += 100 << 30
    writers.refresh(None, 4.0 * MIB, is_full=False)
    writers.unpaced_bytes += MIB
    await writers.wait(is_control=False)
    assert pauses == [0.25]


async def test_no_writer_waits_longer_than_a_second_and_the_rate_holds(pauses: list[float]) -> None:
    writers = begun()
    writers.refresh(None, 4.0 * MIB, is_full=False)
    writers.unpaced_bytes += 10 * MIB
    for _ in range(4):
        await writers.wait(is_control=False)
    assert pauses == [1.0, 1.0, 0.5]


async def test_many_small_writes_are_slowed_as_a_large_one_is(pauses: list[float]) -> None:
    writers = begun()
    writers.refresh(None, 4.0 * MIB, is_full=False)
    for _ in range(1024):
        writers.unpaced_bytes += 1024
        await writers.wait(is_control=False)
    assert 0.2 < sum(pauses) <= 0.25
