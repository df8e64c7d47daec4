"""The feed of changes: each key once, from a place on, and a place that it does not reach back to is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import KeyspaceId, NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, keyspace_prefix
from ringmill.node.replica.watching import change_feed, changed_keys
from ringmill.node.replica.watching.change_feed import ChangeFeed, FeedNews, FeedPlace
from ringmill.node.replica.watching.changed_keys import PAGE
from ringmill.node.replica.watching.feed_serving import FEED, FeedRequest, FeedServing
from ringmill.node.replica.watching.feed_waiters import FeedWaiter, FeedWaiters, _OfKeyspace
from tests.traced_memory import TracedMemory


class HandClock:
    """A clock that goes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


def note(feed: ChangeFeed, *keys: bytes) -> None:
    """Objects of these keys have changed."""
    feed.note(bytes(COPY_PREFIX_BYTES) + key for key in keys)


async def ask(
    feed: ChangeFeed, place: FeedPlace, most: int = 100, within_s: float = 0.0, beginning: bytes = b"k"
) -> FeedNews:
    news = await feed.after(place, beginning, most, within_s)
    return news._replace(keys=tuple(key[COPY_PREFIX_BYTES:] for key in news.keys))


async def test_each_key_is_reported_once_in_the_order_of_its_last_change() -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=10)
    assert not feed.is_on
    begun = await ask(feed, FeedPlace())
    assert begun.is_lost and feed.is_on
    note(feed, b"k1", b"k2", b"other")
    note(feed, b"k1")
    first = await ask(feed, begun.place, most=1)
    assert (first.keys, first.is_lost) == ((b"k2",), False)
    rest = await ask(feed, first.place)
    assert rest.keys == (b"k1",)
    assert (await ask(feed, rest.place)).keys == ()
    assert (await ask(feed, begun.place)).keys == (b"k2", b"k1")


async def test_a_change_ends_the_wait_and_a_stop_does() -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=10)
    place = (await ask(feed, FeedPlace())).place
    waiting = asyncio.ensure_future(ask(feed, place, within_s=60))
    await asyncio.sleep(0)
    note(feed, b"other")
    await asyncio.sleep(0)
    note(feed, b"k")
    news = await waiting
    assert news.keys == (b"k",)
    waiting = asyncio.ensure_future(ask(feed, news.place, within_s=60))
    await asyncio.sleep(0)
    feed.end()
    with pytest.raises(Unavailable, match="stopping"):
        await waiting


async def test_a_place_of_another_start_or_behind_what_is_kept_is_lost() -> None:
    clock = HandClock()
    feed = ChangeFeed("boot", clock, most_keys=3)
    place = (await ask(feed, FeedPlace())).place
    note(feed, b"k1", b"k2", b"k3")
    assert not (await ask(feed, place)).is_lost
    note(feed, b"k4")
    assert (await ask(feed, place)).is_lost
    assert (await ask(ChangeFeed("other", clock, most_keys=3), place)).is_lost


async def test_what_moves_bring_pushes_nothing_out_and_is_looked_for_once() -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=3)
    feed.note_brought()
    place = (await ask(feed, FeedPlace())).place
    feed.all_is_brought()
    assert not (await ask(feed, place)).is_lost  # it came before that place
    with feed.bringing():
        note(feed, *(b"k%d" % number for number in range(10)))
    note(feed, b"k")
    news = await ask(feed, place)
    assert (news.keys, news.is_lost) == ((b"k",), False)
    waiting = asyncio.ensure_future(ask(feed, news.place, within_s=60))
    await asyncio.sleep(0)
    feed.all_is_brought()
    lost = await waiting
    assert lost.is_lost and (await ask(feed, place)).is_lost
    feed.all_is_brought()
    note(feed, b"k1")
    news = await ask(feed, lost.place)
    assert (news.keys, news.is_lost) == ((b"k1",), False)


async def test_nobody_asks_for_long_and_the_feed_ends_and_begins_anew() -> None:
    clock = HandClock()
    feed = ChangeFeed("boot", clock, most_keys=10)
    place = (await ask(feed, FeedPlace())).place
    clock.now += 119
    note(feed, b"k1")
    assert feed.is_on
    clock.now += 2
    note(feed, b"k2")
    assert not feed.is_on
    assert (await ask(feed, place)).is_lost


async def test_whoever_waits_is_told_in_the_order_of_asking() -> None:
    """So that a seed gives one run: where events lie in memory differs from one run to the next."""
    feed = ChangeFeed("boot", HandClock(), most_keys=10)
    place = (await ask(feed, FeedPlace())).place
    told: list[int] = []

    async def wait(number: int) -> None:
        await ask(feed, place, within_s=60)
        told.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(wait(number))
        await asyncio.sleep(0)
        note(feed, b"k")
    assert told == list(range(40))


async def test_many_changes_are_looked_through_in_turns_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=100_000)
    place = (await ask(feed, FeedPlace())).place
    note(feed, *(b"other:%d" % number for number in range(5_000)))
    judged, most_of_a_turn, is_over = 0, 0, False

    def begins(key: bytes, beginning: bytes) -> bool:
        nonlocal judged
        judged += 1
        return judge(key, beginning)

    judge = change_feed._begins
    monkeypatch.setattr(change_feed, "_begins", begins)

    async def turns() -> None:
        nonlocal judged, most_of_a_turn
        while not is_over:
            most_of_a_turn, judged = max(most_of_a_turn, judged), 0
            if most_of_a_turn:
                note(feed, b"k")  # while it is looked through
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turns())
    quiet = await ask(feed, place)
    is_over = True
    await turning
    assert quiet.keys == () and 0 < most_of_a_turn <= PAGE
    assert (await ask(feed, quiet.place)).keys == (b"k",)


async def test_old_places_by_the_dozen_take_little_memory_and_one_page_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who polls with the same old cursor again and again, for a prefix that nothing begins with."""
    feed = ChangeFeed("boot", SystemClock(), most_keys=100_000)
    place = (await ask(feed, FeedPlace())).place
    note(feed, *(b"other:%d" % number for number in range(10_000)))
    judged, most_of_a_turn, is_over = 0, 0, False

    def begins(key: bytes, beginning: bytes) -> bool:
        nonlocal judged
        judged += 1
        return judge(key, beginning)

    async def turns() -> None:
        nonlocal judged, most_of_a_turn
        while not is_over:
            most_of_a_turn, judged = max(most_of_a_turn, judged), 0
            await asyncio.sleep(0)

    judge = change_feed._begins
    monkeypatch.setattr(change_feed, "_begins", begins)
    monkeypatch.setattr(change_feed, "_REST_S", 0)
    with TracedMemory() as memory:
        turning = asyncio.ensure_future(turns())
        quiet = await asyncio.gather(*(ask(feed, place) for _ in range(20)))
        is_over = True
        await turning
    assert {(news.keys, news.place.number) for news in quiet} == {((), 10_000)}
    assert memory.peak_bytes < 1 << 20
    assert 0 < most_of_a_turn <= PAGE


async def test_a_look_through_many_changes_ends_with_its_time_and_goes_on_where_it_was() -> None:
    clock = HandClock()
    feed = ChangeFeed("boot", clock, most_keys=100_000)
    place = (await ask(feed, FeedPlace())).place
    note(feed, *(b"k:%d" % number for number in range(5_000)))
    asking = asyncio.ensure_future(feed.after(place, b"k", 10_000, 0.0, 1.0))
    await asyncio.sleep(0)
    clock.now += 2
    first = await asking
    assert 0 < len(first.keys) == first.place.number - place.number < 5_000 and not first.is_lost
    rest = await feed.after(first.place, b"k", 10_000, 0.0, 1.0)
    assert len({*first.keys, *rest.keys}) == 5_000


@pytest.mark.parametrize("within_s", [0.0, 60.0])
async def test_a_look_through_many_changes_waits_for_its_turn_no_longer_than_it_has(within_s: float) -> None:
    feed = ChangeFeed("boot", SystemClock(), most_keys=100_000)
    place = (await ask(feed, FeedPlace())).place
    note(feed, *(b"k:%d" % number for number in range(5_000)))
    async with feed._turn, asyncio.timeout(10):
        news = await feed.after(place, b"k", 10_000, within_s, 0.05)
    assert (news.keys, news.place, news.is_lost) == ((), place, False), "nothing was looked through"
    assert len((await feed.after(place, b"k", 10_000, 0.0, 60.0)).keys) == 5_000
    assert not feed._turn.locked()


async def test_what_was_looked_through_is_told_before_the_caller_has_gone() -> None:
    clock, lefts = HandClock(), list[float]()

    class Feed(ChangeFeed):
        async def after(
            self, place: FeedPlace, beginning: bytes, most: int, within_s: float, left_s: float = 0.0
        ) -> FeedNews:
            lefts.append(left_s)
            return FeedNews((), place)

    serving = FeedServing(Feed("boot", clock, most_keys=10), clock)
    request = FeedRequest(KeyspaceId(1, 1), b"k", FeedPlace(), 3_000, 10)
    for timeout_s in (4.0, 0.4, 0.1):
        until = clock.now + timeout_s
        await serving.answer(Incoming(NodeId("n1"), FEED, request.encode(), until, Priority.READ))
    assert lefts == pytest.approx([3.7, 0.3, 0.05])


async def test_what_was_forgotten_while_it_was_looked_through_is_lost() -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=5_000)
    place = (await ask(feed, FeedPlace())).place
    note(feed, *(b"k:%d" % number for number in range(5_000)))
    asking = asyncio.ensure_future(ask(feed, place, most=10_000))
    await asyncio.sleep(0)
    note(feed, *(b"more:%d" % number for number in range(4_000)))
    news = await asking
    assert news.is_lost and news.place.number == 9_000


async def test_a_change_wakes_those_alone_that_wait_for_it_and_their_places_pass_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=8)
    place = (await ask(feed, FeedPlace())).place
    looks, since = 0, feed._since

    async def count(*asked: Any) -> FeedNews:
        nonlocal looks
        looks += 1
        return await since(*asked)

    monkeypatch.setattr(feed, "_since", count)
    prefixes = [b"a", b"b", b"zz", b""]
    waiting = [asyncio.ensure_future(ask(feed, place, within_s=60, beginning=each)) for each in prefixes]
    many = [asyncio.ensure_future(ask(feed, place, within_s=60, beginning=b"zz")) for _ in range(200)]
    await asyncio.sleep(0)
    looks = 0
    note(feed, *(b"z%d" % number for number in range(8)))
    news = await waiting[3]
    assert (len(news.keys), news.is_lost, looks) == (8, False, 1)
    note(feed, b"c", b"b1")
    news = await waiting[1]
    assert (news.keys, news.is_lost, looks) == ((b"b1",), False, 2), (
        "though c and others pushed its place out"
    )
    assert not waiting[0].done()
    feed.note_brought()
    feed.all_is_brought()
    assert (await waiting[0]).is_lost
    assert all(each.is_lost for each in await asyncio.gather(*many))


async def test_two_changes_before_whoever_waits_has_its_turn_are_both_told() -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=10)
    place = (await ask(feed, FeedPlace())).place
    waiting = asyncio.ensure_future(ask(feed, place, within_s=60))
    await asyncio.sleep(0)
    note(feed, b"k1")
    note(feed, b"k2")
    assert (await waiting).keys == (b"k1", b"k2")


async def test_who_was_woken_and_found_nothing_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = ChangeFeed("boot", HandClock(), most_keys=10)
    place = (await ask(feed, FeedPlace())).place
    looks = 0

    async def nothing(place: FeedPlace, *_: object) -> FeedNews:
        nonlocal looks
        looks += 1
        assert looks < 10, "it does not wait"
        await asyncio.sleep(0)
        return FeedNews((), place)

    monkeypatch.setattr(feed, "_since", nothing)
    waiting = asyncio.ensure_future(ask(feed, place, within_s=60))
    for expected in (1, 2, 3):
        for _ in range(20):
            await asyncio.sleep(0)
        assert looks == expected
        note(feed, b"k")
    waiting.cancel()


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_polls_is_told_every_key_of_its_prefix_that_changed(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(changed_keys, "PAGE", 3)
    monkeypatch.setattr(change_feed, "_FEW", 2)
    monkeypatch.setattr(change_feed, "_REST_S", 0)
    draws = Random(seed)
    feed = ChangeFeed("boot", SystemClock(), most_keys=draws.choice([5, 12, 40]))
    prefixes = [b"", b"a", b"ab", b"abc", b"b"] * 2
    due: list[set[bytes]] = [set() for _ in prefixes]

    async def watch(number: int) -> None:
        place = FeedPlace()
        while True:
            most, within_s = draws.choice([1, 2, 100]), draws.choice([0.0, 0.0005, 0.002, 1.0])
            news = await ask(feed, place, most, within_s, prefixes[number])
            place = news.place
            if news.is_lost:
                due[number].clear()  # it looks at all keys
            due[number].difference_update(news.keys)
            await asyncio.sleep(draws.choice([0, 0, 0, 0.0005]))

    watching = [asyncio.create_task(watch(number)) for number in range(len(prefixes))]
    await asyncio.sleep(0)
    names = [b"a", b"ab", b"abc", b"abcd", b"b", b"c", b"bb", *(b"x%d" % number for number in range(20))]
    for _ in range(150):
        keys = draws.choices(names, k=draws.choice([1, 1, 2, 7]))
        for missing, prefix in zip(due, prefixes, strict=True):
            missing.update(key for key in keys if key.startswith(prefix))
        note(feed, *keys)
        if draws.random() < 0.6:
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while any(due):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    for each in watching:
        each.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    assert not feed._waiting


def test_a_change_in_another_keyspace_looks_at_no_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    waiters, looked = FeedWaiters(), list[bytes]()
    one, other = (keyspace_prefix(KeyspaceId(1, ordinal)) for ordinal in (1, 2))
    waiting = {length: waiters.add(one + b"z" * length) for length in range(1024)}
    of = _OfKeyspace.of

    def count(group: _OfKeyspace, key: bytes) -> Iterator[FeedWaiter]:
        looked.append(key)
        return of(group, key)

    monkeypatch.setattr(_OfKeyspace, "of", count)
    assert not [*waiters.of(other + b"z" * 1024)] and not looked
    assert {*waiters.of(one + b"zz" + b"y")} == {waiting[0], waiting[1], waiting[2]} and len(looked) == 1
    for length, waiter in waiting.items():
        waiters.remove(waiter, one + b"z" * length)
    assert not waiters and not waiters._by_keyspace
