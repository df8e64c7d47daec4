"""What a sweep removes of a database, and what it leaves (rule R7)."""

from __future__ import annotations

import pytest

from ringmill.client.gateway.redis.expiry import database_sweep
from ringmill.client.gateway.redis.expiry.database_sweep import drawn_place
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from tests.client.gateway.redis.expiry.swept_world import NOW_S, StandingClock, SweptWorld


def held(world: SweptWorld) -> set[bytes]:
    return {key for key, (value, _) in world.values.items() if value is not None}


async def test_it_removes_what_has_expired_and_its_name_and_leaves_all_else() -> None:
    world, figures = SweptWorld(), ExpiryFigures()
    world.set(b"expired", expired_s=601)
    world.set(b"just expired", expired_s=599)
    world.set(b"lives", expired_s=-3600)
    world.set(b"stays")
    world.set(b"foreign")
    world.values[b"foreign"] = (b"plain text", 1)
    world.names[b"deleted"] = (NOW_S - 601, 1)
    world.names[b"just made"] = (NOW_S - 599, 1)
    size = sum(len(value or b"") for value, _ in world.values.values())
    looked = await world.sweep(figures=figures).look_at(world.named())
    assert held(world) == {b"just expired", b"lives", b"stays", b"foreign"}
    assert set(world.names) == held(world) | {b"just made"}
    assert (looked.keys, looked.removed, figures.expired_keys, figures.swept_keys) == (7, 2, 1, 7)
    assert looked.read_bytes == size


def test_to_watch_a_key_that_was_removed_is_as_it_was_when_it_had_expired() -> None:
    stored = Entry(b"v", 1000).encode()
    assert Entry.decode(stored, 1000).digest() == Entry.decode(None, 1000).digest()
    assert Entry.decode(stored, 999).digest() != Entry.decode(None, 999).digest()


async def test_a_key_that_is_set_again_meanwhile_is_not_touched() -> None:
    world = SweptWorld()
    world.set(b"k", expired_s=601)
    world.before_cas = lambda key: world.set(key, named_s=0)
    looked = await world.sweep().look_at(world.named())
    assert held(world) == set(world.names) == {b"k"}
    assert looked.removed == 0


async def test_a_name_that_is_put_again_behind_the_look_stays() -> None:
    world = SweptWorld()
    world.set(b"k", expired_s=601)
    seen = world.named()
    world.names[b"k"] = (NOW_S, 2)  # as a gateway does before it sets the key
    await world.sweep().look_at(seen)
    assert held(world) == set()
    assert set(world.names) == {b"k"}


async def test_the_name_of_what_may_still_be_there_stays() -> None:
    world, figures = SweptWorld(), ExpiryFigures()
    world.set(b"k", expired_s=601)
    world.set(b"lives")

    def fail(key: bytes) -> None:
        raise DeadlineExceeded("too late", outcome="unknown")

    world.before_cas = fail
    looked = await world.sweep(figures=figures).look_at(world.named())
    assert held(world) == set(world.names) == {b"k", b"lives"}
    assert (looked.removed, figures.sweep_failures, figures.expired_keys) == (0, 1, 0)


async def test_when_nothing_can_be_read_it_ends_with_the_reason() -> None:
    world = SweptWorld()
    world.set(b"k")
    world.read_error = Unavailable("no node answers")
    with pytest.raises(Unavailable, match="no node answers"):
        await world.sweep().look_at(world.named())


@pytest.mark.parametrize(("own_s", "told_s"), [(NOW_S + 86400, NOW_S), (NOW_S, NOW_S + 86400)])
async def test_one_clock_that_is_ahead_removes_nothing_early(own_s: float, told_s: float) -> None:
    world = SweptWorld()
    world.set(b"key 0", expired_s=-60)
    world.names[b"just made 0"] = (NOW_S, 1)  # its key gets a value next
    world.told_s = told_s
    sweep = world.sweep(clock=StandingClock(own_s))
    looked = await sweep.look_at((await sweep._index.page("", b"", 1000)).names)
    assert (looked.keys, looked.removed) == (2, 0)
    assert held(world) == {b"key 0"} and set(world.names) == {b"key 0", b"just made 0"}


async def test_it_looks_at_nothing_more_once_its_lease_is_lost() -> None:
    world, figures = SweptWorld(), ExpiryFigures()
    for number in range(100):
        world.set(b"%d of one partition" % number, expired_s=601)
    async with world.client().registers.lease(b"lease", duration=6, owner="g") as lease:
        world.before_cas = lambda key: lease.abandon()
        await world.sweep(figures=figures).run("", lease)
    assert figures.swept_keys == database_sweep.AT_ONCE


async def test_rounds_come_by_all_keys_wherever_the_first_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    world, figures = SweptWorld(), ExpiryFigures()
    for number in range(100):
        world.set(b"%02d" % number, expired_s=601 if number % 2 else None)
    monkeypatch.setattr(database_sweep, "ROUND_S", 0.0)
    client = world.client()
    lease = client.registers.lease(b"lease", duration=6, owner="g")
    async with lease:

        def end_after_the_last(key: bytes) -> None:
            if figures.expired_keys == 49:
                lease.abandon()

        world.before_cas = end_after_the_last
        place = drawn_place(client.topology, "redis0", OsEntropy())
        await world.sweep(figures=figures).run(place, lease)
    assert len(held(world)) == 50
    assert figures.expired_keys == 50
