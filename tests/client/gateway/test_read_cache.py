"""The cache of reads: one read for a herd, nothing old after a write, and each caller's own."""

from __future__ import annotations

import asyncio

import pytest

from ringmill import CausalContext, Item, NotFound
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

    async def load(self) -> Item:
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

    async def load() -> Item:
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
    store, cache = Store(), ReadCache(60.0, most_bytes=3000)
    store.may_go_on.set()

    async def expired() -> Item:
        return item(b"v", ttl=0.0)

    await cache.get("short", "", expired, uncounted)
    assert not (await cache.get("short", "", expired, uncounted))[1]
    store.value = b"v" * 400
    for name in ("a", "b", "c", "d"):
        await cache.get(name, "", store.load, uncounted)
    assert not (await cache.get("a", "", store.load, uncounted))[1], "the oldest made room"
    assert (await cache.get("d", "", store.load, uncounted))[1]
