"""The cache of reads: one read for a herd, nothing old after a write, and each caller's own."""

from __future__ import annotations

import asyncio
import os
import tracemalloc

import pytest

from ringmill import CausalContext, DeadlineExceeded, Item, NotFound
from ringmill.client.gateway.protection.read_cache import ReadCache


def item(value: bytes, ttl: float | None = None) -> Item:
    return Item((value,), CausalContext(b"c"), ("n1#1:1",), ttls=(ttl,))


def uncounted(_: asyncio.Task[Item]) -> None:
    """Of a read that nobody counts."""


class Store:
    """Counts reads; each waits until it is let go on."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = b"old"
        self.has_begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def load(self, _: float = 5.0) -> Item:
        self.reads += 1
        self.has_begun.set()
        found = item(self.value)
        await self.may_go_on.wait()
        return found


async def test_a_herd_costs_one_read() -> None:
    store, cache = Store(), ReadCache(60.0)
    herd = [asyncio.create_task(cache.get("k", "", store.load, uncounted)) for _ in range(1000)]
    await asyncio.sleep(0)
    store.may_go_on.set()
    found = await asyncio.gather(*herd)
    assert store.reads == 1
    assert {each[0].newest for each in found} == {b"old"}
    assert sum(is_shared for _, is_shared in found) == 999
    assert (await cache.get("k", "", store.load, uncounted))[1]
    assert store.reads == 1


async def test_a_write_drops_what_was_read_and_what_is_being_read() -> None:
    store, cache = Store(), ReadCache(60.0)
    slow = asyncio.create_task(cache.get("k", "", store.load, uncounted))
    await store.has_begun.wait()
    store.value = b"new"
    cache.drop("k")
    store.may_go_on.set()
    assert (await slow)[0].newest == b"old", "it began before the write"
    assert (await cache.get("k", "", store.load, uncounted))[0].newest == b"new"
    store.value = b"newer"
    cache.drop("k")
    assert (await cache.get("k", "", store.load, uncounted))[0].newest == b"newer"


async def test_a_caller_gets_nothing_that_another_one_has_read() -> None:
    store, cache = Store(), ReadCache(60.0)
    store.may_go_on.set()
    await cache.get("k", "token a", store.load, uncounted)
    await cache.get("k", "token b", store.load, uncounted)
    assert store.reads == 2


async def test_an_error_is_told_to_all_who_wait_and_is_not_kept() -> None:
    store, cache = Store(), ReadCache(60.0)

    async def load(_: float) -> Item:
        await store.load()
        raise NotFound("not found: k")

    waiting = [asyncio.create_task(cache.get("k", "", load, uncounted)) for _ in range(3)]
    await store.has_begun.wait()
    store.may_go_on.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [NotFound] * 3
    assert store.reads == 1
    with pytest.raises(NotFound):
        await cache.get("k", "", load, uncounted)
    assert store.reads == 2


async def test_a_value_is_kept_no_longer_than_it_lives_and_all_within_the_bytes() -> None:
    store, cache = Store(), ReadCache(60.0, most_bytes=4500)
    store.may_go_on.set()

    async def expired(_: float) -> Item:
        return item(b"v", ttl=0.0)

    await cache.get("short", "", expired, uncounted)
    assert not (await cache.get("short", "", expired, uncounted))[1]
    store.value = b"v" * 400
    for name in ("a", "b", "c", "d"):
        await cache.get(name, "", store.load, uncounted)
    assert not (await cache.get("a", "", store.load, uncounted))[1], "the oldest made room"
    assert (await cache.get("d", "", store.load, uncounted))[1]


async def test_a_caller_waits_for_the_read_of_another_one_as_long_as_its_own_time() -> None:
    store, cache = Store(), ReadCache(60.0)
    patient = asyncio.create_task(cache.get("k", "", store.load, uncounted, 60.0))
    await store.has_begun.wait()
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(cache.get("k", "", store.load, uncounted, 0.05), 10)
    store.may_go_on.set()
    assert (await patient)[0].newest == b"old" and store.reads == 1


async def test_when_the_time_of_another_reader_ends_the_item_is_loaded_again() -> None:
    store, cache = Store(), ReadCache(60.0)
    given: list[float] = []

    async def load(left_s: float) -> Item:
        given.append(left_s)
        if len(given) == 1:
            await store.load()
            raise DeadlineExceeded("the read was not answered")
        return item(b"new")

    hasty = asyncio.create_task(cache.get("k", "", load, uncounted, 0.5))
    await store.has_begun.wait()
    patient = [asyncio.create_task(cache.get("k", "", load, uncounted, 60.0)) for _ in range(10)]
    await asyncio.sleep(0)
    store.may_go_on.set()
    with pytest.raises(DeadlineExceeded):
        await hasty
    assert {found.newest for found, _ in await asyncio.gather(*patient)} == {b"new"}
    assert len(given) == 2 and 50 < given[1] <= 60


@pytest.mark.parametrize(("key_bytes", "siblings"), [(10, 1), (1000, 1), (10, 20)])
async def test_the_bytes_of_the_cache_are_those_that_it_takes(key_bytes: int, siblings: int) -> None:
    most = 2 << 20
    cache = ReadCache(60.0, most)

    async def load(_: float) -> Item:
        values = tuple(os.urandom(10) for _ in range(siblings))
        dots = tuple(f"n1#1:{os.urandom(4).hex()}" for _ in range(siblings))
        return Item(values, CausalContext(os.urandom(30)), dots, ttls=(None,) * siblings)

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3000):
            place = (f"space {number}", os.urandom(key_bytes))
            await cache.get(place, (f"token {number}", None), load, uncounted)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert most / 2 < taken <= most
