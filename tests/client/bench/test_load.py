"""Closed and open loops: what counts, and from when, on a loop whose time moves only when somebody waits."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator

import pytest

from ringmill.client.bench import load as load_module
from ringmill.client.bench.load import Load, Measured, run_load
from ringmill.client.bench.workloads import GET, PUT, SCAN, SCAN_MOST, Operation, Values
from ringmill.cluster.errors import Unavailable

KEY = b"key:000000000001"


class SteadyStore:
    """Answers each operation after the same time, as many at once as are asked."""

    failures = (Unavailable,)

    def __init__(self, answer_s: float = 0.0, *, is_away: bool = False, holds: bytes | None = b"v") -> None:
        self.answer_s = answer_s
        self.is_away = is_away
        self.holds = holds
        self.under_way = 0
        self.most_under_way = 0
        self.done = 0

    async def put(self, key: bytes, value: bytes) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.answer_s)
        self.under_way -= 1
        self.done += 1
        if self.is_away:
            raise Unavailable("nobody is there")

    async def get(self, key: bytes) -> bytes | None:
        await self.put(key, b"")
        return self.holds

    async def modify(self, key: bytes, value: bytes) -> None:
        await self.put(key, value)

    async def scan(self, key: bytes, most: int) -> int:
        assert 1 <= most <= SCAN_MOST
        await self.put(key, b"")
        return 0 if self.holds is None else most


class StandingTime:
    """A loop's time and the generator's clock as one, moved on by waiting alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(load_module, "_clock", lambda: int(self.now * 1e9))
        selector = loop._selector  # type: ignore[attr-defined]
        waited = selector.select

        def select(timeout: float | None = None) -> object:
            if timeout:
                self.now += timeout
            return waited(0)

        monkeypatch.setattr(selector, "select", select)


@pytest.fixture
async def standing(monkeypatch: pytest.MonkeyPatch) -> StandingTime:
    return StandingTime(asyncio.get_running_loop(), monkeypatch)


def forever(verb: str = PUT) -> Iterator[Operation]:
    return itertools.repeat((verb, KEY))


async def run(store: SteadyStore, load: Load, drawn: Iterator[Operation] | None = None) -> Measured:
    return await run_load(store, drawn or forever(), Values(16), load)


async def test_a_closed_loop_keeps_as_many_under_way_as_it_was_told(standing: StandingTime) -> None:
    store = SteadyStore(answer_s=0.01)
    measured = await run(store, Load(in_flight=8, seconds=1.0))
    assert store.most_under_way == 8
    assert measured.seconds == pytest.approx(1.0, abs=0.02)
    assert measured.operations == pytest.approx(800, abs=16)
    assert measured.all_latencies.percentile_ns(1.0) == pytest.approx(10_000_000, rel=0.02)


async def test_the_warm_up_counts_for_nothing(standing: StandingTime) -> None:
    store = SteadyStore(answer_s=0.01)
    measured = await run(store, Load(in_flight=1, seconds=1.0, warm_up_s=1.0))
    assert store.done == pytest.approx(200, abs=3)
    assert measured.operations == pytest.approx(100, abs=3)


@pytest.mark.parametrize("warm_up_s", [0.3, 1.0])
async def test_what_is_under_way_when_measuring_begins_and_ends_counts_once(
    standing: StandingTime, warm_up_s: float
) -> None:
    store = SteadyStore(answer_s=0.25)
    measured = await run(store, Load(in_flight=64, seconds=1.1, warm_up_s=warm_up_s))
    ends = int((warm_up_s + 1.1) / 0.25) - int(warm_up_s / 0.25)
    assert measured.operations == measured.ended
    assert measured.operations in (64 * ends, 64 * (ends + 1))


class StallingStore(SteadyStore):
    """Answers at once, but nobody between two times."""

    def __init__(self, standing: StandingTime, begins_s: float, ends_s: float) -> None:
        super().__init__(answer_s=0.005)
        self._standing = standing
        self._begins, self._ends = standing.now + begins_s, standing.now + ends_s

    async def put(self, key: bytes, value: bytes) -> None:
        if self._begins <= self._standing.now < self._ends:
            await asyncio.sleep(self._ends - self._standing.now)
        await super().put(key, value)


async def test_an_open_loop_sends_all_that_was_due_when_the_store_stands_still_at_its_end(
    standing: StandingTime,
) -> None:
    store = StallingStore(standing, begins_s=0.85, ends_s=1.45)
    measured = await run(store, Load(in_flight=8, seconds=1.0, rate_per_s=500.0))
    due = sum(1 for _ in itertools.takewhile(lambda at: at < 1e9, due_times(500.0)))
    assert measured.all_latencies.count == due == pytest.approx(500, abs=60)
    assert measured.all_latencies.percentile_ns(0.9) > 400_000_000
    assert (measured.unsent, store.done) == (0, due)
    assert measured.operations < due - 50, "the rate covers the measured time"


async def test_what_an_open_loop_could_not_send_counts_with_its_age(
    standing: StandingTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "DRAIN_S", 0.1)
    store = StallingStore(standing, begins_s=0.85, ends_s=1.45)
    measured = await run(store, Load(in_flight=8, seconds=1.0, rate_per_s=500.0))
    due = sum(1 for _ in itertools.takewhile(lambda at: at < 1e9, due_times(500.0)))
    assert measured.unsent == due - store.done > 50
    assert measured.all_latencies.count == measured.lateness.count == due
    assert measured.all_latencies.percentile_ns(0.9) > 400_000_000


async def test_an_open_loop_counts_what_was_due_in_the_measured_time(standing: StandingTime) -> None:
    """One worker that is a second behind when measuring begins."""
    measured = await run(SteadyStore(0.02), Load(in_flight=1, seconds=1.0, warm_up_s=2.0, rate_per_s=100.0))
    assert measured.operations == pytest.approx(50, abs=3)
    assert measured.all_latencies.count == pytest.approx(100, abs=30)


def due_times(rate_per_s: float) -> Iterator[float]:
    """Nanoseconds from the begin, as an open loop of the usual seed draws them."""
    drawn, at = random.Random(Load(1, 1.0).seed + 2), 0.0
    while True:
        at += drawn.expovariate(rate_per_s) * 1e9
        yield at


async def test_an_open_loop_sends_at_its_rate_whatever_the_store_does(standing: StandingTime) -> None:
    store = SteadyStore(answer_s=0.1)
    measured = await run(store, Load(in_flight=200, seconds=10.0, rate_per_s=100.0))
    assert measured.per_s == pytest.approx(100, rel=0.1)
    assert measured.all_latencies.percentile_ns(0.99) == pytest.approx(100_000_000, rel=0.05)
    assert measured.lateness.percentile_ns(0.99) < 5_000_000


async def test_an_open_loop_counts_the_wait_for_a_free_worker(standing: StandingTime) -> None:
    """One worker at 20 ms an operation does 50 a second; at 100 a second the queue grows for as long as the
    run, and so does the latency from the time that each was due."""
    store = SteadyStore(answer_s=0.02)
    measured = await run(store, Load(in_flight=1, seconds=4.0, rate_per_s=100.0))
    assert measured.per_s == pytest.approx(50, rel=0.05)
    assert measured.all_latencies.percentile_ns(1.0) > 1_500_000_000
    assert measured.lateness.percentile_ns(1.0) > 1_400_000_000


async def test_failures_are_counted_by_kind_and_are_not_operations(standing: StandingTime) -> None:
    store = SteadyStore(answer_s=0.001, is_away=True)
    measured = await run(store, Load(in_flight=1, seconds=1.0))
    assert measured.operations == 0
    assert measured.errors["UNAVAILABLE"] == store.done
    assert store.done < 1.0 / load_module.PAUSE_AFTER_FAILURE_S, "a store that is away is asked less"


@pytest.mark.parametrize("verb", [GET, SCAN])
async def test_what_was_not_there_is_counted(standing: StandingTime, verb: str) -> None:
    measured = await run(SteadyStore(answer_s=0.1, holds=None), Load(in_flight=1, seconds=1.0), forever(verb))
    assert measured.missing == measured.all_latencies.count > 0


async def test_a_count_ends_the_run_before_its_time() -> None:
    store = SteadyStore()
    begun = time.perf_counter()
    measured = await run(store, Load(in_flight=4, seconds=600.0, most=10))
    assert store.done == measured.operations == 10
    assert time.perf_counter() - begun < 60


async def test_the_end_of_the_operations_ends_the_run() -> None:
    store = SteadyStore()
    drawn = iter([(PUT, KEY)] * 5)
    measured = await run(store, Load(in_flight=4, seconds=600.0), drawn)
    assert measured.operations == 5


async def test_what_no_store_should_raise_ends_the_run() -> None:
    class Broken(SteadyStore):
        async def put(self, key: bytes, value: bytes) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await run(Broken(), Load(in_flight=1, seconds=600.0))
    assert caught.group_contains(ZeroDivisionError)


async def test_nobody_works_on_once_a_run_has_ended_by_an_error() -> None:
    """Whoever cleans up afterwards finds all that was written."""

    class OnceBroken(SteadyStore):
        async def put(self, key: bytes, value: bytes) -> None:
            self.done += 1
            if self.done == 20:
                raise ZeroDivisionError
            await asyncio.sleep(0.001)

    store = OnceBroken()
    with pytest.raises(ExceptionGroup):
        await run(store, Load(in_flight=8, seconds=600.0))
    done = store.done
    await asyncio.sleep(0.02)
    assert store.done == done
