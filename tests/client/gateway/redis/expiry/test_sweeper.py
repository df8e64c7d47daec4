"""Which gateway sweeps, and what becomes of its sweep when something fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ringmill.client.gateway.redis.expiry import database_sweep, sweeper
from ringmill.client.gateway.redis.expiry.sweeper import Sweeper, SweepOptions
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.consensus.lease import decode_lease
from ringmill.cluster.errors import Unavailable
from tests.client.gateway.redis.expiry.swept_world import NOW_S, StandingClock, SweptWorld

pytestmark = pytest.mark.usefixtures("rounds_without_rest")
LEASE = b"redis-sweep/redis0"


@pytest.fixture
def rounds_without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_sweep, "ROUND_S", 0.0)
    monkeypatch.setattr(sweeper, "GIVE_BACK_S", 20.0)  # a machine may stand still for 1 s


@asynccontextmanager
async def sweeping(
    world: SweptWorld, gateway: str, *, most_keys_s: int = 10_000, lease_s: float = 60.0
) -> AsyncIterator[ExpiryFigures]:
    figures = ExpiryFigures()
    options = SweepOptions(lambda: world.client(gateway), most_keys_s, look_every_s=0.01, lease_s=lease_s)
    one = Sweeper(
        options, ["redis0", "redis0", "redis1", "redis2"], timeout_s=1.0,
        clock=StandingClock(), entropy=OsEntropy(), figures=figures,
    )  # fmt: skip
    one.start()
    try:
        yield figures
    finally:
        one.stop()
        await one.wait_ended()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is asked tells nobody
            await asyncio.sleep(0.002)


def filled() -> SweptWorld:
    world = SweptWorld()
    for number in range(40):
        world.set(b"%02d" % number, expired_s=601)
    return world


async def test_one_gateway_sweeps_at_a_time_and_another_goes_on_when_it_stops() -> None:
    world = filled()
    async with sweeping(world, "second") as second:
        await until(lambda: not world.names)
        async with sweeping(world, "third") as third:
            world.set(b"more", expired_s=601)
            await until(lambda: not world.names)
            await asyncio.sleep(0.2)
            assert set(world.reads) == {"second"}
            assert (second.swept_databases, third.swept_databases) == (1, 0)
            await until(lambda: second.expired_keys == 41)
            assert second.last_round_ended == NOW_S
    assert list(world.leases) == [LEASE], "a database whose keyspaces are not both there is left alone"
    world.set(b"again", expired_s=601)
    async with sweeping(world, "fourth") as fourth:
        await until(lambda: not world.names)
        assert fourth.expired_keys == 1


async def test_a_failure_is_reported_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = filled()
    world.read_error = Unavailable("no node answers")
    with caplog.at_level(logging.WARNING):
        async with sweeping(world, "g") as figures:
            await until(lambda: figures.sweep_failures > 5)
            world.read_error = None
            await until(lambda: not world.names)
    assert caplog.messages.count("expired keys of the cluster are not removed now: no node answers ()") == 1


async def test_a_lost_lease_ends_the_sweep_and_it_is_taken_again() -> None:
    world = filled()
    async with sweeping(world, "g", lease_s=0.5):
        await until(lambda: not world.names)
        version = world.leases[LEASE][1]
        world.leases[LEASE] = (b'{"holder":"","term":9,"renewal":0,"duration_ms":500}', version + 1)
        await until(lambda: decode_lease(world.leases[LEASE][0]).term >= 10)
        world.set(b"more", expired_s=601)
        await until(lambda: not world.names)


async def test_a_bug_that_one_database_shows_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    world = filled()
    bugs = iter([ValueError("a bug")])

    def fail_once(key: bytes) -> None:
        for bug in bugs:
            raise bug

    world.before_cas = fail_once
    async with sweeping(world, "g") as figures:
        await until(lambda: not world.names)
    assert figures.sweep_failures == 1
    assert "the sweep of redis0 failed" in caplog.text


async def test_it_stops_at_once_also_when_its_lease_cannot_be_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "GIVE_BACK_S", 0.05)
    world = filled()
    async with sweeping(world, "g", most_keys_s=1) as figures:
        await until(lambda: figures.swept_keys > 0)
        world.lease_is_silent = True
        began = time.monotonic()
    assert time.monotonic() - began < 5, "the lease has a minute left"
    assert world.reads["g"] <= 16, "it rested"


async def test_a_gateway_that_is_to_sweep_nothing_asks_for_nothing() -> None:
    world = filled()
    async with sweeping(world, "g", most_keys_s=0):
        await asyncio.sleep(0.05)
    assert not world.reads and not world.leases
