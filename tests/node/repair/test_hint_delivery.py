"""Kept writes reach their owner once it is back, and only then are they let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, InvalidArgument
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import QuorumReceipt
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.node_options import HintOptions, NodeOptions
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_batch import Applied
from ringmill.node.replica.stored_key import Copy, HintKey, Kind, Place, kind_prefix
from ringmill.node.storage.storage_errors import StorageFailed
from tests.log_records import own_records
from tests.node.one_key import read_request, write_request
from tests.node.small_world import World


async def put(world: World, at: str, key: bytes, value: bytes | None) -> QuorumReceipt:
    return await world.on(at, world.nodes[at].requests.write(write_request("", key, value, timeout_s=0.5)))


async def get(world: World, at: str, key: bytes) -> list[bytes | None]:
    result = await world.on(at, world.nodes[at].requests.get(read_request(key, "one")))
    return [sibling.value for sibling in result.siblings]


def hints(world: World) -> int:
    return sum(node.hints.total for node in world.nodes.values())


def test_an_owner_that_comes_back_gets_every_write_it_missed() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        world.seen("n3", "down")
        for number in range(150):
            await put(world, "n1", b"k%d" % (number % 100), b"%d" % number)
        await world.until(lambda: hints(world) == 100)
        await world.start("n3")
        world.seen("n3", "up")
        await world.until(lambda: hints(world) == 0)
        assert world.nodes["n1"].delivery.delivered == 100
        for name in ("n1", "n2"):
            world.kill(name)
        for number in range(50, 150):
            assert await get(world, "n3", b"k%d" % (number % 100)) == [b"%d" % number]

    world.run(story())


def delivery_s(load: int) -> float:
    """How long an idle node takes to deliver, batch by batch, to one that says that it has so much to do."""
    world = World(options=NodeOptions(hints=HintOptions(batch_items=1)))

    async def story() -> float:
        world.kill("n3")
        world.seen("n3", "down")
        for number in range(100):
            await put(world, "n1", b"k%d" % number, b"v")
        await world.start("n3")
        world.nodes["n3"].transport.load = lambda: load
        begun = world.loop.time()
        world.seen("n3", "up")
        await world.until(lambda: hints(world) == 0)
        return world.loop.time() - begun

    return world.run(story())


def test_what_an_owner_missed_comes_more_slowly_while_it_has_much_to_do() -> None:
    assert delivery_s(load=255) > 4 * delivery_s(load=100)


def test_hints_outlive_the_crash_of_the_node_that_keeps_them() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        world.seen("n3", "down")
        await put(world, "n1", b"k", b"v")
        await world.until(lambda: hints(world) == 1)
        await asyncio.sleep(0.01)  # one more group commit
        world.kill("n1")
        await world.start("n1")
        assert world.nodes["n1"].hints.counts() == {"n3": 1}
        await world.start("n3")
        await world.until(lambda: hints(world) == 0)
        assert await get(world, "n3", b"k") == [b"v"]

    world.run(story())


def test_hints_that_the_disk_refused_keep_none_from_being_delivered() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        world.cut("n1", "n3")
        await put(world, "n1", b"k", b"v")
        await world.until(lambda: hints(world) == 1)
        node = world.nodes["n1"]
        await node.engine.sync()
        node.engine.can_sync.clear()
        (key,) = node.hints.waiting_for(NodeId("n3"), 10)
        held = await node.hints.get(key)
        assert held is not None
        node.engine.failure = DiskFull("no room")
        with pytest.raises(DiskFull):
            await node.hints.keep(key._replace(key=b"other"), [NodeId("n3")], decode_object(held.encoded))
        node.engine.failure = None
        world.cut("n1", "n3", is_cut=False)
        world.seen("n3", "up")
        await world.until(lambda: node.delivery.delivered >= 1, timeout_s=5)
        assert node.hints.has_refused, "its disk hangs"
        node.engine.can_sync.set()
        await world.until(lambda: hints(world) == 0, timeout_s=5)

    world.run(story())


def test_a_hint_is_kept_until_the_owner_has_synced_it() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        world.seen("n3", "down")
        await put(world, "n1", b"k", b"v")
        await world.until(lambda: hints(world) == 1)
        node = await world.start("n3")
        node.engine.can_sync.clear()
        world.seen("n3", "up")
        await world.until(lambda: node.objects.keys == 1)
        world.kill("n3")  # it had the write, in memory
        assert hints(world) == 1
        again = await world.start("n3")
        assert again.objects.keys == 0
        await world.until(lambda: hints(world) == 0)
        assert await get(world, "n3", b"k") == [b"v"]

    world.run(story())


def test_an_owner_that_refuses_is_left_alone_for_longer_and_longer() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        await put(world, "n1", b"k", b"v")
        await world.until(lambda: hints(world) == 1)
        node = world.nodes["n3"]
        node.engine.failure = StorageFailed("000007.log: No space left")
        world.seen("n3", "up")
        await world.until(lambda: world.nodes["n1"].delivery.refused == 4)
        began = world.loop.time()
        await world.until(lambda: world.nodes["n1"].delivery.refused == 5)
        assert world.loop.time() - began > 1.0
        node.engine.failure = None
        await world.until(lambda: hints(world) == 0)

    world.run(story())


def test_hints_that_are_refused_permanently_are_in_nobody_s_way() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        for number in range(80):
            await put(world, "n1", b"bad%d" % number, b"v")
        await put(world, "n1", b"good", b"v")
        await world.until(lambda: hints(world) == 81)
        objects = world.nodes["n3"].objects
        apply = objects.apply

        async def damaged(
            place: Place, incoming: StoredObject, attempt: str = "", *, of_owner: bool = False
        ) -> Applied:
            if place.key.startswith(b"bad"):
                raise CorruptData("000003.table: a damaged block")
            return await apply(place, incoming, attempt, of_owner=of_owner)

        objects.apply = damaged  # type: ignore[method-assign]
        world.seen("n3", "up")
        await world.until(lambda: hints(world) == 80)
        objects.apply = apply  # type: ignore[method-assign]
        await world.until(lambda: hints(world) == 0)
        assert await get(world, "n3", b"good") == [b"v"]

    world.run(story())


def test_a_hint_too_large_to_cross_is_kept_told_of_once_and_in_nobody_s_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    tries = 0

    async def story() -> None:
        transport = world.nodes["n1"].transport
        call = transport.call

        async def limited(to: NodeId, method: str, body: bytes, **options: Any) -> bytes:
            nonlocal tries
            if len(body) > 500_000:
                tries += 1
                raise InvalidArgument(f"{method}: a body of {len(body)} bytes is over the frame limit")
            return await call(to, method, body, **options)

        world.seen("n3", "down")
        for number in range(4):
            await put(world, "n1", b"before%d" % number, bytes(200_000))
        await put(world, "n1", b"too large", bytes(600_000))
        await put(world, "n1", b"after", b"v")
        await world.until(lambda: hints(world) == 6)
        transport.call = limited  # type: ignore[method-assign]
        world.seen("n3", "up")
        await world.until(lambda: tries == 4)
        assert hints(world) == 1
        transport.call = call  # type: ignore[method-assign]
        await world.until(lambda: hints(world) == 0)

    world.run(story())
    assert len([record for record in own_records(caplog) if "cannot be delivered" in record.message]) == 1


def test_a_hint_too_large_to_cross_is_delivered_once_a_delete_has_made_its_key_small() -> None:
    world = World()

    async def story() -> None:
        transport = world.nodes["n1"].transport
        call = transport.call

        async def limited(to: NodeId, method: str, body: bytes, **options: Any) -> bytes:
            if len(body) > 500_000:
                raise InvalidArgument(f"{method}: a body of {len(body)} bytes is over the frame limit")
            return await call(to, method, body, **options)

        world.seen("n3", "down")
        await put(world, "n1", b"key", bytes(600_000))
        await world.until(lambda: hints(world) == 1)
        transport.call = limited  # type: ignore[method-assign]
        world.seen("n3", "up")
        await world.on("n2", world.nodes["n2"].requests.write(write_request("", b"key", None, level="3")))
        await world.until(lambda: hints(world) == 0)
        assert await get(world, "n3", b"key") == []

    world.run(story())


def test_a_write_merged_in_while_a_hint_is_under_way_is_delivered_too() -> None:
    assert _last_value_after_a_merge_under_way(strike_off_blindly=False) == [b"new"]


def test_without_comparing_what_was_delivered_that_write_would_be_lost() -> None:
    assert _last_value_after_a_merge_under_way(strike_off_blindly=True) == [b"old"]


def _last_value_after_a_merge_under_way(*, strike_off_blindly: bool) -> list[bytes | None]:
    """What n3 holds after a hint for it was delivered while a newer write was merged into the hint."""
    world = World()

    async def story() -> list[bytes | None]:
        store = world.nodes["n1"].hints
        if strike_off_blindly:
            _forget_to_compare(store)
        world.seen("n3", "down")
        await put(world, "n1", b"k", b"old")
        await world.until(lambda: hints(world) == 1)
        world.nodes["n3"].engine.can_sync.clear()  # the delivery arrives, its ack takes a while
        world.seen("n3", "up")
        await world.until(lambda: world.nodes["n3"].objects.keys == 1)
        world.seen("n3", "down")
        await put(world, "n1", b"k", b"new")
        world.nodes["n3"].engine.can_sync.set()
        await world.until(lambda: world.nodes["n1"].delivery.delivered or not strike_off_blindly)
        world.seen("n3", "up")
        await world.until(lambda: hints(world) == 0)
        return await get(world, "n3", b"k")

    return world.run(story())


def _forget_to_compare(store: HintStore) -> None:
    """Rule H1 switched off: whatever was delivered, the hint goes."""
    real = store.strike_off

    async def blind(key: HintKey, target: object, delivered: bytes) -> bool:
        hint = await store.get(key)
        return await real(key, target, delivered if hint is None else hint.encoded)  # type: ignore[arg-type]

    store.strike_off = blind  # type: ignore[method-assign]


def test_a_hint_for_two_owners_is_kept_for_the_one_that_lacks_it() -> None:
    world = World(4, n=4, w=2)

    async def story() -> None:
        for name in ("n3", "n4"):
            world.kill(name)
            world.seen(name, "down")
        await put(world, "n1", b"k", b"v")
        await world.until(lambda: hints(world) == 2)
        await world.start("n3")
        world.seen("n3", "up")
        await world.until(lambda: hints(world) == 1)
        assert world.nodes["n1"].hints.counts() == {"n4": 1}
        await world.start("n4")
        world.seen("n4", "up")
        await world.until(lambda: hints(world) == 0)
        assert await get(world, "n4", b"k") == [b"v"]

    world.run(story())


def test_hints_that_a_damaged_owner_refuses_keep_no_other_waiting() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        world.seen("n3", "down")
        for number in range(640):
            await put(world, "n1", b"k%d" % number, b"v")
        await world.until(lambda: hints(world) == 640)
        last = world.nodes["n1"].hints.waiting_for(NodeId("n3"), 640)[-1]
        prefix = Place(Copy(last.partition, Epoch(1)), last.keyspace, b"").stored_key
        n3 = await world.start("n3")
        n3.engine.fenced |= {kind_prefix(Kind.OBJECT)}
        world.seen("n3", "up")
        await world.until(lambda: world.nodes["n1"].delivery.refused > 2_000)
        n3.engine.fenced = {
            kind_prefix(Kind.OBJECT) + bytes([0, partition])
            for partition in range(16)
            if not prefix.startswith(kind_prefix(Kind.OBJECT) + bytes([0, partition]))
        }
        sound = sum(
            key.partition == last.partition for key in world.nodes["n1"].hints.waiting_for(n3.name, 640)
        )
        await world.until(lambda: hints(world) == 640 - sound, timeout_s=12)
        n3.engine.fenced.clear()
        await world.until(lambda: hints(world) == 0, timeout_s=12)

    world.run(story())
