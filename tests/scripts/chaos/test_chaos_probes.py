"""What stands still beside an attack is told: puts and requests are due by a clock, and all are judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chaos.doors import beside as doors
from chaos.doors.beside import Beside as BesideDoors
from chaos.hostile import prober as prober_module
from chaos.hostile.beside_attacks import Beside
from chaos.hostile.hostile_jobs import Run
from chaos.hostile.prober import Prober, Puts

FAST = Beside(
    attack="rubbish",
    rest_p99_ms=2.0,
    p99_ms=3.0,
    longest_ms=9.0,
    rest_longest_ms=5.0,
    puts=800,
    failed_puts=0,
    seconds=8.0,
    grown_mib=1,
    deaths=0,
)


class Halting:
    """A store that answers after a millisecond, but for a time in which it answers nothing."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def put(self, key: str, value: bytes, /) -> object:
        await asyncio.sleep(0.001)
        await self.goes_on.wait()
        return None


@contextlib.asynccontextmanager
async def probing(db: Halting) -> AsyncIterator[Prober]:
    prober = Prober(db, 0.005)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(prober.run())
        yield prober
        task.cancel()


async def halted(db: Halting, prober: Prober, seconds: float) -> Puts:
    """The puts of a time in the midst of which the store stood still for this long."""
    await asyncio.sleep(0.05)
    db.goes_on.clear()
    await asyncio.sleep(seconds)
    db.goes_on.set()
    await asyncio.sleep(0.05)
    return await prober.since_last()


async def test_puts_that_were_due_while_nothing_was_answered_count() -> None:
    db = Halting()
    async with probing(db) as prober:
        await asyncio.sleep(0.1)
        rest = await prober.since_last()
        puts = await halted(db, prober, 0.2)
    assert rest.p99_ms < 100
    assert puts.longest_ms >= puts.p99_ms > 150
    assert sum(took > 50 for took in puts.took_ms) > 20, "each of some 40 was due within the halt"


async def test_a_put_that_is_never_answered_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_module, "_MOST_S", 0.1)
    db = Halting()
    db.goes_on.clear()
    async with probing(db) as prober:
        await asyncio.sleep(0.02)
        puts = await prober.since_last()
    assert puts.failed == len(puts.took_ms) > 0
    assert puts.longest_ms >= 100


def test_it_held_when_all_puts_were_fast() -> None:
    assert FAST.has_held
    assert not replace(FAST, p99_ms=11.0).has_held
    assert not replace(FAST, longest_ms=1_200.0).has_held, (
        "one of a thousand is nothing to the 99th percentile"
    )
    assert replace(FAST, longest_ms=1_200.0, rest_longest_ms=300.0).has_held, "it is as busy at rest"
    assert not replace(FAST, puts=0, p99_ms=0.0, longest_ms=0.0).has_held, "nothing was looked at"
    assert Puts().p99_ms == Puts().longest_ms == float("inf")


def test_a_put_that_failed_beside_hostile_jobs_is_judged() -> None:
    assert Run(1).has_held
    assert not Run(1, failed_puts=1).has_held


async def test_requests_at_the_doors_that_were_due_and_not_answered_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "EVERY_S", 0.005)
    seen, goes_on = BesideDoors(), asyncio.Event()

    async def never() -> None:
        await goes_on.wait()

    began = time.monotonic()
    asking = asyncio.create_task(seen.ask([lambda: asyncio.sleep(0), never]))
    await asyncio.sleep(0.2)
    asking.cancel()
    await asyncio.wait([asking])
    due = (time.monotonic() - began) / 0.005
    assert len(seen.took_s) >= due - 2
    assert max(seen.took_s) > 0.15
