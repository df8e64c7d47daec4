"""Watches of a prefix over a few nodes: whatever changes anywhere is told, and what may be missed is owed."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, Unavailable
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.watch_cursor import decode_watch_cursor, encode_watch_cursor
from ringmill.node.node_options import NodeOptions, ReplicaOptions
from ringmill.node.requests.scans.scan_values import ScanRequest
from ringmill.node.requests.watches.prefix_watches import PrefixNews, PrefixRequest
from tests.node.one_key import write_request
from tests.node.small_world import World


async def poll(
    world: World, at: str, cursor: bytes = b"", timeout_s: float = 10.0, prefix: bytes = b"user:"
) -> PrefixNews:
    request = PrefixRequest("", prefix, cursor, ReadOptions("", timeout_s), connection="c")
    return await world.on(at, world.nodes[at].requests.watch_prefix(request))


async def put(world: World, at: str, key: bytes, value: bytes | None = b"v") -> None:
    requests, request = world.nodes[at].requests, write_request("", key, value)
    await world.on(at, requests.write(request))


def test_a_watch_begins_with_all_keys_and_then_hears_of_what_changes_anywhere() -> None:
    world = World(5)

    async def story() -> None:
        begun = await poll(world, "n1")
        assert begun.keys == () and begun.unscanned
        owed = await poll(world, "n2", begun.unscanned)
        assert owed.unscanned == begun.unscanned and owed.cursor == begun.cursor
        await put(world, "n3", b"other:1")
        await put(world, "n4", b"user:1")
        cursor, keys = begun.cursor, set[bytes]()
        for name in ("n2", "n3", "n4", "n5"):
            news = await poll(world, name, cursor, timeout_s=1.0)
            cursor, keys = news.cursor, {*keys, *news.keys}
        assert keys == {b"user:1"}
        waiting = asyncio.ensure_future(poll(world, "n5", cursor))
        await put(world, "n2", b"user:2", None)
        news = await waiting
        assert news.keys == (b"user:2",) and not news.unscanned

    world.run(story())


def test_a_cursor_forgets_members_that_have_left_and_one_that_is_back_is_looked_at_anew() -> None:
    world = World(3)

    async def story() -> None:
        cursor = decode_watch_cursor((await poll(world, "n1")).cursor)
        left = cursor._replace(places={**cursor.places, "n4": (b"feed", 7), "n9": (b"feed", 7)})
        await put(world, "n1", b"user:1")
        news = await poll(world, "n2", encode_watch_cursor(left))
        assert news.keys == (b"user:1",)
        assert {*decode_watch_cursor(news.cursor).places} == {*world.names}
        quiet = await poll(
            world, "n2", encode_watch_cursor(left._replace(prefix=b"job:")), 1.0, prefix=b"job:"
        )
        assert not quiet.keys and {*decode_watch_cursor(quiet.cursor).places} == {*world.names}
        del cursor.places["n3"]  # it was away, and is a member again
        back = await poll(world, "n2", encode_watch_cursor(cursor))
        assert back.unscanned and {*decode_watch_cursor(back.cursor).places} == {*world.names}

    world.run(story())


def test_a_quiet_watch_keeps_its_place_while_other_keys_are_written() -> None:
    """Its places go on, though nothing of it has changed: the feeds reach back to 10 keys here."""
    world = World(3, options=NodeOptions(replica=ReplicaOptions(feed_keys=10)))

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        for number in range(22):
            await put(world, "n2", b"other:%d" % number)
            if number % 2:
                news = await poll(world, "n1", cursor, timeout_s=0.5)
                assert not news.keys and not news.unscanned
                cursor = news.cursor
        places = {name: number for name, (_, number) in decode_watch_cursor(cursor).places.items()}
        assert places == {name: world.nodes[name].objects.feed._number for name in world.names}
        await put(world, "n2", b"user:1")
        assert (await poll(world, "n1", cursor)).keys == (b"user:1",)

    world.run(story())


def test_a_busy_watch_keeps_its_places_at_members_that_have_no_news_for_it() -> None:
    """No poll takes long enough for these to answer that there is nothing."""
    world = World(5, options=NodeOptions(replica=ReplicaOptions(feed_keys=10)))

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        for number in range(40):
            polling = asyncio.ensure_future(poll(world, "n1", cursor))
            await asyncio.sleep(0.1)
            await put(world, "n2", b"other:%d" % number)
            await put(world, "n2", b"user:1", b"%d" % number)
            news = await polling
            assert news.keys == (b"user:1",) and not news.unscanned
            cursor = news.cursor
        places = {name: number for name, (_, number) in decode_watch_cursor(cursor).places.items()}
        for name in world.names:
            assert places[name] >= world.nodes[name].objects.feed._number - 2

    world.run(story())


@pytest.mark.parametrize("timeout_s", [0.05, 0.3, 0.4, 2.0, 3.3])
def test_a_poll_asks_all_members_however_short_it_is(timeout_s: float) -> None:
    world = World(3)

    async def story() -> None:
        begun = await poll(world, "n1", timeout_s=timeout_s)
        assert begun.unscanned and {*decode_watch_cursor(begun.cursor).places} == {*world.names}
        assert (await poll(world, "n1", begun.cursor, timeout_s)).keys == ()
        await put(world, "n2", b"user:1")
        assert (await poll(world, "n1", begun.cursor, timeout_s)).keys == (b"user:1",)

    world.run(story())


def test_answers_that_take_a_while_count_for_a_poll_whose_time_is_up() -> None:
    world = World(3)

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        for other in ("n2", "n3"):
            for link in (world.network.link("n1", other), world.network.link(other, "n1")):
                link.latency_s = 0.03
        assert (await poll(world, "n1", cursor, timeout_s=1.0)).keys == ()

    world.run(story())


def test_a_node_that_hears_too_few_says_so() -> None:
    world = World(3)

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        world.cut("n1", "n2")
        assert (await poll(world, "n1", cursor, timeout_s=2.0)).keys == ()  # n1 and n3 are enough at w = 2
        world.cut("n1", "n3")
        with pytest.raises(QuorumNotReached, match="watch needs 2 owners, 1 answered"):
            await poll(world, "n1", cursor, timeout_s=2.0)

    world.run(story())


def test_cursors_of_other_watches_are_refused_and_a_stopping_node_sends_watches_elsewhere() -> None:
    world = World(3)

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        other = PrefixRequest("", b"job:", cursor)
        with pytest.raises(InvalidArgument, match="another prefix"):
            await world.on("n1", world.nodes["n1"].requests.watch_prefix(other))
        with pytest.raises(InvalidArgument, match="damaged"):
            await poll(world, "n1", cursor[:-1] + b"?")
        waiting = asyncio.ensure_future(poll(world, "n1", cursor))
        await world.until(lambda: len(world.nodes["n1"].requests._held_watches) > 0)
        world.nodes["n1"].requests.end_watches()
        with pytest.raises(Unavailable, match="stopping"):
            await waiting

    world.run(story())


def test_a_scan_names_keys_without_a_value_where_it_is_asked_for_them() -> None:
    world = World(3)

    async def story() -> None:
        await put(world, "n1", b"user:1")
        await put(world, "n1", b"user:2", None)
        scan = world.nodes["n2"].requests.scan
        page = await world.on("n2", scan(ScanRequest("", deleted_too=True)))
        assert {item.key: len(item.siblings) for item in page.items} == {b"user:1": 1, b"user:2": 0}
        page = await world.on("n2", scan(ScanRequest("")))
        assert [item.key for item in page.items] == [b"user:1"]

    world.run(story())


def test_members_that_are_far_away_are_heard() -> None:
    """A question takes 0.3 s there and back, and its deadline is met a round trip early."""
    world = World(3)

    async def story() -> None:
        cursor = (await poll(world, "n1")).cursor
        for one in world.names:
            for other in world.names:
                if one != other:
                    world.network.link(one, other).latency_s = 0.16
        cursor = (await poll(world, "n1", cursor, timeout_s=3.0)).cursor
        waiting = asyncio.ensure_future(poll(world, "n1", cursor))
        await asyncio.sleep(2.0)
        began = world.loop.time()
        await put(world, "n2", b"user:1")
        assert (await waiting).keys == (b"user:1",)
        assert world.loop.time() - began < 1.0

    world.run(story())
