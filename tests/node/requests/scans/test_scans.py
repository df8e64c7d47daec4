"""Scans over a few nodes: whole, merged, bounded, and in an order that a cursor can name."""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ringmill.cluster.errors import CorruptData, InvalidArgument, QuorumNotReached
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.limits import MAX_SCAN_BYTES, MAX_SCAN_ITEMS
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, encode_cursor
from ringmill.node.node_options import NodeOptions, ReplicaOptions
from ringmill.node.requests.scans.scan_values import ScannedKey, ScanRequest, ScanResult
from ringmill.node.requests.scans.scanner import PAGE_S
from ringmill.node.requests.scans.walk import walk_of
from tests.node.one_key import write_request
from tests.node.small_world import World

ALL = ScanBounds()
SHORT_PAGES = NodeOptions(replica=ReplicaOptions(page_items=3))


async def write(world: World, key: bytes, value: bytes | None, at: str = "n1", **given: Any) -> None:
    request = write_request("", key, value, **given)
    requests = world.nodes[at].requests
    await world.on(at, requests.write(request))


async def page(world: World, at: str = "n1", **given: Any) -> ScanResult:
    level, timeout_s = given.pop("r", ""), given.pop("timeout_s", 0.0)
    request = ScanRequest("", options=ReadOptions(level, timeout_s), **given)
    return await world.on(at, world.nodes[at].requests.scan(request))


async def whole(world: World, at: str = "n1", bounds: ScanBounds = ALL, **given: Any) -> list[ScannedKey]:
    """All pages, each asked of the same node."""
    told = await page(world, at, bounds=bounds, **given)
    found = list(told.items)
    while told.cursor:
        told = await page(world, at, cursor=told.cursor, **given)
        found += told.items
    return found


def keys(found: list[ScannedKey]) -> list[bytes]:
    return [each.key for each in found]


def in_order(world: World, names: list[bytes]) -> list[bytes]:
    home = world.topology.keyspaces[0].id
    return sorted(names, key=lambda name: (world.topology.partition_of(home, name), name))


def run(story: Callable[[World], Coroutine[Any, Any, None]], **given: Any) -> None:
    world = World(**given)
    world.run(story(world))


NAMES = [b"k%02d" % number for number in range(40)]


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_a_scan_returns_every_key_once_partition_by_partition(limit: int) -> None:
    async def story(world: World) -> None:
        for name in NAMES:
            await write(world, name, b"v" + name)
        found = await whole(world, "n4", limit=limit)
        assert keys(found) == in_order(world, NAMES)
        assert [each.siblings[0].value for each in found] == [b"v" + each.key for each in found]

    run(story, nodes=4)


def test_bounds_leave_out_what_is_outside() -> None:
    async def story(world: World) -> None:
        for name in [*NAMES, b"z", b"\xff", b"\xff\xff", b"{t}a", b"{t}b", b"{t"]:
            await write(world, name, b"v")
        assert sorted(keys(await whole(world, bounds=ScanBounds(prefix=b"k1")))) == NAMES[10:20]
        assert sorted(keys(await whole(world, bounds=ScanBounds(start=b"k05", end=b"k08")))) == NAMES[5:8]
        assert sorted(keys(await whole(world, bounds=ScanBounds(b"k1", b"k18", b"k30")))) == NAMES[18:20]
        assert keys(await whole(world, bounds=ScanBounds(end=b"k00"))) == []
        assert keys(await whole(world, bounds=ScanBounds(start=b"m", end=b"b"))) == []
        assert sorted(keys(await whole(world, bounds=ScanBounds(b"\xff")))) == [b"\xff", b"\xff\xff"]
        assert keys(await whole(world, bounds=ScanBounds(b"{t}"))) == [b"{t}a", b"{t}b"]
        assert sorted(keys(await whole(world, bounds=ScanBounds(b"{t")))) == [b"{t", b"{t}a", b"{t}b"]

    run(story)


def test_what_was_deleted_or_has_expired_is_left_out() -> None:
    async def story(world: World) -> None:
        for name in NAMES[:6]:
            await write(world, name, b"v")
        await write(world, NAMES[0], None)
        await write(world, NAMES[1], b"short", ttl_ms=500)
        await write(world, NAMES[2], b"long", ttl_ms=3_600_000)
        await world.until(lambda: world.loop.time() > 2.0)
        assert sorted(keys(await whole(world))) == NAMES[2:6]

    run(story)


def test_a_scan_shows_the_merge_of_its_owners() -> None:
    """Every owner of some key lacks something: a value, a delete, one of two siblings."""

    async def story(world: World) -> None:
        await write(world, b"seen by two", b"old")
        await write(world, b"deleted", b"old")
        world.cut("n1", "n3")
        world.cut("n2", "n3")
        await write(world, b"seen by two", b"new", at="n1")
        await write(world, b"deleted", None, at="n1")
        await write(world, b"fresh", b"v", at="n1")
        for name in ("n1", "n2"):
            world.cut(name, "n3", is_cut=False)
        found = {each.key: each for each in await whole(world, "n3")}
        assert set(found) == {b"seen by two", b"fresh"}
        assert [one.value for one in found[b"seen by two"].siblings] == [b"new"]

    run(story)


def test_siblings_are_shown_as_a_read_shows_them() -> None:
    async def story(world: World) -> None:
        await write(world, b"k", b"one")
        await write(world, b"k", b"two", at="n2", is_blind=True)
        (found,) = await whole(world)
        assert [each.value for each in found.siblings] == [b"two", b"one"]
        await write(world, b"k", b"both", context=found.context)
        (found,) = await whole(world)
        assert [each.value for each in found.siblings] == [b"both"]

    run(story)


def test_keys_only_brings_no_values() -> None:
    async def story(world: World) -> None:
        await write(world, b"k", b"value")
        (found,) = await whole(world, keys_only=True)
        assert [each.value for each in found.siblings] == [b""]
        assert found.context

    run(story)


def test_any_node_goes_on_after_the_one_that_made_the_cursor_has_died() -> None:
    async def story(world: World) -> None:
        for name in NAMES:
            await write(world, name, b"v")
        first = await page(world, "n1", limit=7)
        world.kill("n1")
        rest = await page(world, "n3", cursor=first.cursor)
        assert keys([*first.items, *rest.items]) == in_order(world, NAMES)
        assert not rest.cursor

    run(story)


def test_an_owner_that_is_short_of_some_keys_ends_the_page_where_its_answer_ends() -> None:
    """Owners end their pages at different keys, as one of them holds much more."""

    async def story(world: World) -> None:
        for number, name in enumerate(b"{t}" + name for name in NAMES):
            if number % 3 == 0:
                world.cut("n1", "n3")
                world.cut("n2", "n3")
            await write(world, name, b"v", at="n1")
            for other in ("n1", "n2"):
                world.cut(other, "n3", is_cut=False)
        for at in world.names:
            assert keys(await whole(world, at)) == [b"{t}" + name for name in NAMES]

    run(story, options=SHORT_PAGES)


def test_tombstones_alone_are_progress() -> None:
    async def story(world: World) -> None:
        for name in NAMES:
            await write(world, b"{t}" + name, b"v")
            await write(world, b"{t}" + name, None)
        await write(world, b"{t}last", b"v")
        assert keys(await whole(world, bounds=ScanBounds(b"{t}"))) == [b"{t}last"]
        world.cut("n1", "n2")
        world.cut("n1", "n3")  # n1 is alone: each step takes its time, and none succeeds
        with pytest.raises(QuorumNotReached) as lost:
            await page(world, "n1", timeout_s=0.5)
        assert lost.value.outcome == "failed"
        assert lost.value.acked == ["n1"]

    run(story, options=SHORT_PAGES)


def test_a_page_ends_where_nobody_answers_and_the_next_one_says_why() -> None:
    """What was found before is not thrown away."""

    async def story(world: World) -> None:
        for name in NAMES:
            await write(world, name, b"v")
        first = await page(world, "n1", limit=3)
        world.kill("n2")
        world.kill("n3")
        with pytest.raises(QuorumNotReached, match="scan"):
            await page(world, "n1", cursor=first.cursor, timeout_s=0.5)
        weak = await page(world, "n1", cursor=first.cursor, r="one")
        assert weak.is_weak
        assert keys([*first.items, *weak.items]) == in_order(world, NAMES)

    run(story)


def test_damage_at_one_owner_is_not_absence() -> None:
    async def story(world: World) -> None:
        for name in NAMES:
            await write(world, name, b"v")
        world.nodes["n1"].engine.scan_failure = CorruptData("a block is damaged")
        assert keys(await whole(world, "n1")) == in_order(world, NAMES)
        world.nodes["n2"].engine.scan_failure = OSError(errno.EIO, "Input/output error", "/data/7.table")
        with pytest.raises(QuorumNotReached, match="damaged"):
            await page(world, "n1")
        assert keys(await whole(world, "n3", r="one")) == in_order(world, NAMES)

    run(story)


def test_a_silent_owner_is_replaced() -> None:
    async def story(world: World) -> None:
        for name in NAMES[:5]:
            await write(world, name, b"v")
        world.cut("n1", "n2")
        began = world.loop.time()
        assert sorted(keys(await whole(world, "n1"))) == NAMES[:5]
        assert world.loop.time() - began < 16.0

    run(story)


def test_a_page_has_at_most_a_thousand_keys_and_a_mebibyte() -> None:
    async def story(world: World) -> None:
        for number in range(12):
            await write(world, b"{t}%02d" % number, bytes(100_000))
        asked_at = world.loop.time()
        large = await page(world, bounds=ScanBounds(b"{t}"))
        assert world.loop.time() < asked_at + PAGE_S / 2, "a key without room ends the page"
        assert len(large.items) == 10
        assert sum(len(each.siblings[0].value or b"") for each in large.items) <= MAX_SCAN_BYTES
        rest = await page(world, cursor=large.cursor)
        assert keys([*large.items, *rest.items]) == [b"{t}%02d" % number for number in range(12)]
        with pytest.raises(InvalidArgument, match="limit is 1000"):
            await page(world, limit=MAX_SCAN_ITEMS + 1)

    run(story)


def test_what_a_scan_does_not_take() -> None:
    async def story(world: World) -> None:
        await write(world, b"a", b"v")
        await write(world, b"b", b"v")
        cursor = (await page(world, limit=1)).cursor
        request = ScanRequest("registers")
        for wrong, told in (
            (request, "no scans"),
            (ScanRequest("", cursor=cursor[:-1]), "damaged"),
            (ScanRequest("", ScanBounds(b"p"), cursor), "cursor alone"),
            (ScanRequest("", ScanBounds(bytes(1025))), "prefix has 1025 bytes"),
            (ScanRequest("", options=ReadOptions("9")), "level 9"),
        ):
            with pytest.raises(InvalidArgument, match=told):
                await world.on("n1", world.nodes["n1"].requests.scan(wrong))

    run(story)


@pytest.mark.parametrize(
    ("key", "bounds", "takes"),
    [
        (b"k3", ScanBounds(), 0),
        (b"k3", ScanBounds(end=b"k2"), 1),
        (b"k2", ScanBounds(end=b"k2"), 1),
        (b"k3", ScanBounds(b"j"), 1),
        (b"", ScanBounds(start=b"k3", end=b"k2"), None),
    ],
)
def test_a_cursor_that_stands_behind_the_end_of_its_bounds_goes_on_with_the_next_partition(
    key: bytes, bounds: ScanBounds, takes: int | None
) -> None:
    """The gateway for Redis makes one where a client goes on with another pattern."""
    cursor = encode_cursor(ScanCursor(KeyspaceId(1, 0), PartitionId(5), key, bounds))
    _, begun = walk_of(ScanRequest("", cursor=cursor), KeyspaceId(1, 0), 16)
    assert (begun and begun.partition) == (None if takes is None else 5 + takes)
    last = ScanCursor(KeyspaceId(1, 0), PartitionId(15), b"k3", ScanBounds(end=b"k2"))
    assert walk_of(ScanRequest("", cursor=encode_cursor(last)), KeyspaceId(1, 0), 16)[1] is None


def test_an_owner_that_had_no_time_is_not_called_silent() -> None:
    """One has failed, and so few are left that nobody waits for the other."""

    async def story(world: World) -> None:
        world.nodes["n2"].engine.scan_failure = OSError(errno.EIO, "no")
        world.cut("n1", "n3")
        with pytest.raises(QuorumNotReached) as short:
            await page(world, r="all", timeout_s=2.0)
        assert short.value.failed["n3"] == "no answer yet"
        world.nodes["n2"].engine.scan_failure = None
        with pytest.raises(QuorumNotReached) as short:
            await page(world, r="all", timeout_s=2.0)
        assert short.value.failed["n3"].startswith("no answer within 1.9")

    run(story)
