"""Watches: who waits for a key hears of what is new, wherever it was written, and is never told less."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    QuorumNotReached,
    Unavailable,
)
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.node.node_options import NodeOptions, RequestOptions
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from tests.node.one_key import put, values
from tests.node.small_world import World


async def watch(
    world: World, at: str, after: bytes = b"", timeout_s: float = 10.0, level: str = "", connection: str = "c"
) -> ReadResult | None:
    request = WatchRequest("", b"key", after, ReadOptions(level, timeout_s), connection=connection)
    return await world.on(at, world.nodes[at].requests.watch(request))


def holder(world: World, at: str) -> int:
    """How many watches a node holds."""
    return len(world.nodes[at].requests._held_watches)


def test_what_is_there_already_is_reported_at_once_and_then_only_what_is_new() -> None:
    world = World()

    async def story() -> None:
        await put(world, "n1", b"1")
        first = await watch(world, "n2")
        assert first is not None and values(first) == [b"1"]
        began = world.loop.time()
        waiting = asyncio.ensure_future(watch(world, "n2", first.context))
        await world.until(lambda: holder(world, "n2"))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        await put(world, "n3", b"2")
        told = await waiting
        assert told is not None and values(told) == [b"2"]
        assert world.loop.time() - began < 1.5, "woken, not found by the next look"
        assert not world.nodes["n2"].objects.waiters.are_there

    world.run(story())


def test_time_ends_a_watch_without_news() -> None:
    world = World()

    async def story() -> None:
        assert await watch(world, "n1", timeout_s=1.0) is None
        receipt = await put(world, "n1", b"1")
        assert await watch(world, "n1", receipt.context, timeout_s=7.0) is None
        assert holder(world, "n1") == 0

    world.run(story())


def test_an_owner_that_missed_a_write_finds_it_when_it_looks_again() -> None:
    world = World()

    async def story() -> None:
        first = await put(world, "n1", b"1", level="3")
        world.cut("n1", "n2")
        waiting = asyncio.ensure_future(watch(world, "n2", first.context, 30.0))
        await world.until(lambda: holder(world, "n2"))
        began = world.loop.time()
        await put(world, "n1", b"2")  # at n1 and n3
        told = await waiting
        assert told is not None and values(told) == [b"2"]
        assert world.loop.time() - began < 5.0

    world.run(story())


def test_a_delete_is_reported_as_one_and_siblings_as_siblings() -> None:
    world = World()

    async def story() -> None:
        first = await put(world, "n1", b"1")
        await put(world, "n1", b"2", is_blind=True)
        both = await watch(world, "n2", first.context)
        assert both is not None and sorted(filter(None, values(both))) == [b"1", b"2"]
        await put(world, "n3", None)
        gone = await watch(world, "n2", both.context)
        assert gone is not None and values(gone) == []
        assert await watch(world, "n1", gone.context, timeout_s=1.0) is None

    world.run(story())


def test_a_watch_never_tells_less_than_its_caller_has_seen() -> None:
    world = World()

    async def story() -> None:
        for other in ("n2", "n3"):
            world.cut("n1", other)
        seen = await put(world, "n1", b"1", level="1")
        beside = await put(world, "n2", b"other", level="1")
        with pytest.raises(QuorumNotReached, match="the session has seen"):
            await watch(world, "n2", seen.context, level="1", timeout_s=0.5)
        for other in ("n2", "n3"):
            world.cut("n1", other, is_cut=False)
        told = await watch(world, "n2", seen.context, level="1")
        assert told is not None and sorted(filter(None, values(told))) == [b"1", b"other"]
        assert beside.dot

    world.run(story())


def limited(watches: int) -> NodeOptions:
    return replace(NodeOptions(), requests=RequestOptions(watches=watches, watches_of_a_connection=2))


def test_a_node_holds_no_more_watches_than_its_limit() -> None:
    world = World(options=limited(3))

    async def story() -> None:
        held = [asyncio.ensure_future(watch(world, "n1", connection=name)) for name in ("a", "a", "b")]
        await world.until(lambda: holder(world, "n1") == 3)
        with pytest.raises(Overloaded, match="3 watches wait on this node, the limit is 3"):
            await watch(world, "n1", connection="c")
        await put(world, "n2", b"v")
        assert [values(shown) for shown in await asyncio.gather(*held) if shown is not None] == [[b"v"]] * 3
        assert not world.nodes["n1"].requests._held_watches._by_connection

    world.run(story())


def test_a_connection_holds_no_more_watches_than_its_limit() -> None:
    world = World(options=limited(9))

    async def story() -> None:
        context = (await put(world, "n2", b"w", level="3")).context
        held = [asyncio.ensure_future(watch(world, "n1", context, 2.0, connection="a")) for _ in range(2)]
        await world.until(lambda: holder(world, "n1") == 2)
        with pytest.raises(Overloaded, match="2 watches wait for this connection, the limit is 2"):
            await watch(world, "n1", context, connection="a")
        assert await asyncio.gather(*held) == [None, None]

    world.run(story())


def test_a_stopping_node_sends_watches_elsewhere() -> None:
    world = World()

    async def story() -> None:
        waiting = asyncio.ensure_future(watch(world, "n1"))
        await world.until(lambda: holder(world, "n1"))
        world.nodes["n1"].requests.end_watches()
        with pytest.raises(Unavailable, match="stopping") as told:
            await waiting
        assert told.value.outcome == "failed"
        with pytest.raises(Unavailable, match="stopping"):
            await watch(world, "n1")

    world.run(story())


def test_a_context_of_another_key_is_refused() -> None:
    world = World()

    async def story() -> None:
        with pytest.raises(InvalidArgument):
            await watch(world, "n1", b"no context")

    world.run(story())


def test_all_who_have_seen_the_same_are_told_of_a_change_by_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    reads = 0

    async def story() -> None:
        nonlocal reads
        first = await put(world, "n1", b"1", level="3")
        seen = await watch(world, "n1", first.context, timeout_s=0.5)
        assert seen is None
        watches = world.nodes["n1"].requests._watches
        read = watches._reader.read

        async def count(request: ReadRequest) -> ReadResult:
            nonlocal reads
            reads += 1
            return await read(request)

        monkeypatch.setattr(watches._reader, "read", count)
        held = [asyncio.ensure_future(watch(world, "n1", first.context)) for _ in range(100)]
        await world.until(lambda: holder(world, "n1") == 100)
        await asyncio.sleep(0.5)
        assert reads <= 3, "as they begin"
        reads = 0
        await put(world, "n2", b"2", level="3")
        told = await asyncio.gather(*held)
        assert reads <= 3
        assert [values(each) for each in told if each is not None] == [[b"2"]] * 100
        assert len({each.context for each in told if each is not None}) == 1
        again = [watch(world, "n1", told[0].context, timeout_s=0.5) for each in told if told[0] is not None]
        assert await asyncio.gather(*again) == [None] * 100
        assert not watches._reads._next and not watches._reads._under_way

    world.run(story())


def test_only_those_who_have_seen_the_same_and_ask_at_the_same_level_share_a_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    asked: list[tuple[bytes, str]] = []

    async def story() -> None:
        contexts = [b"", *[(await put(world, "n1", value, level="3")).context for value in (b"1", b"2")]]
        watches = world.nodes["n1"].requests._watches
        read = watches._reader.read

        async def note(request: ReadRequest) -> ReadResult:
            seen = request.options.seen
            assert seen is not None
            asked.append((seen.context, request.options.level))
            return await read(request)

        monkeypatch.setattr(watches._reader, "read", note)
        kinds = [(context, level) for context in contexts for level in ("1", "3")]
        told = await asyncio.gather(
            *(watch(world, "n1", context, timeout_s=0.5, level=level) for context, level in kinds)
        )
        assert set(asked) == set(kinds)
        assert [each is None for each in told] == [context == contexts[-1] for context, _ in kinds]

    world.run(story())


def test_a_poll_whose_time_ends_while_it_looks_again_has_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        first = await put(world, "n1", b"1", level="3")
        watches = world.nodes["n1"].requests._watches
        read = watches._reader.read

        async def slow(request: ReadRequest) -> ReadResult:
            if world.loop.time() > began + 1.0:
                await asyncio.sleep(0.5)
                raise DeadlineExceeded("the key was not read in time", outcome="failed")
            return await read(request)

        began = world.loop.time()
        monkeypatch.setattr(watches._reader, "read", slow)
        assert await watch(world, "n1", first.context, 3.4) is None
        with pytest.raises(DeadlineExceeded):
            await watch(world, "n1", first.context, 0.4)

    world.run(story())
