"""Deletes are forgotten once all owners have them, what they took on the disk returns, and no key comes
back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ringmill.cluster.errors import DeadlineExceeded, Stale
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.quorum.watermark import OwnerWatermark
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import OperationId, StoredObject
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.metrics.upkeep_families import upkeep_families
from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair.forgetting import Forgetting
from ringmill.node.repair.purging import Purging
from ringmill.node.replica import object_store
from ringmill.node.replica.object_store import Intent
from ringmill.node.replica.replica_messages import DELIVER, Deliver, DeliverAnswer, HintItem
from ringmill.node.replica.stored_key import Copy, HintKey, Place, copy_prefix, prefix_end
from ringmill.node.requests.request_values import WriteRequest
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%03d" % number for number in range(60)]
VALUE = bytes(range(256)) * 4
NAMES = ("n1", "n2", "n3")
LOOSE = KeyspaceEntry(KeyspaceId(1, 20), "loose", quorum="sloppy")
SOON = PurgeOptions(after_s=5.0, every_s=0.5, settle_s=1.0, least_garbage_bytes=1)


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.25)


def tombstones(world: HealingWorld, *names: str) -> int:
    return sum(world[name].replica.objects.dead.total for name in names or NAMES)


def place_of(world: HealingWorld, key: bytes) -> Place:
    copy = Copy(world.world.partition(key), world.world.row(key).copy_epochs[0])
    return Place(copy, DEFAULT_KEYSPACE, key)


def disk_bytes(world: HealingWorld, name: str) -> int:
    """Of all tables."""
    disk = world.world.nodes[name].disk.lossy
    tables = [each for each in disk.list("/data/store") if each.endswith(".sst")]
    return sum(disk.size(f"/data/store/{each}") for each in tables)


async def fill(world: HealingWorld, keys: list[bytes] = KEYS) -> None:
    for number, key in enumerate(keys):
        await world.put(f"n{1 + number % 3}", key, VALUE, "all")


async def nothing_left(world: HealingWorld, keys: list[bytes] = KEYS) -> None:
    for key in keys:
        for name in NAMES:
            assert (await world.held(name, key)).is_absent, (name, key)


def test_deletes_are_forgotten_and_their_space_returns() -> None:
    async def story(world: HealingWorld) -> None:
        await fill(world)
        await world.put("n1", b"kept", VALUE, "all")
        for name in NAMES:
            await world.inside(name, world[name].replica.engine.flush())
        before = {name: disk_bytes(world, name) for name in NAMES}
        for key in KEYS:
            await world.delete("n2", key, "all")
        assert tombstones(world) > 2 * len(KEYS)  # the first may be forgotten already
        await until(lambda: not tombstones(world))
        await until(lambda: all(disk_bytes(world, name) < before[name] / 10 for name in NAMES))
        assert all(before[name] > len(KEYS) * 100 for name in NAMES)
        await nothing_left(world)
        assert await world.get("n3", b"kept") == [VALUE]
        assert [world[name].replica.objects.keys for name in NAMES] == [1, 1, 1]
        assert all(world[name].replica.objects.size_bytes < 2 * len(VALUE) for name in NAMES)

    run(story, purge=SOON)


def test_what_has_expired_is_forgotten_too() -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS[:10]:
            request = WriteRequest("", key, VALUE, WriteOptions("all", ttl_ms=2000))
            await world.inside("n1", world["n1"].requests.write(request))
        request = WriteRequest("", b"later", VALUE, WriteOptions("all", ttl_ms=3_600_000))
        await world.inside("n1", world["n1"].requests.write(request))
        forgotten = [world[name].repair.forgetting for name in NAMES]
        await until(lambda: all(each.forgotten == 10 for each in forgotten))
        await nothing_left(world, KEYS[:10])
        assert await world.get("n2", b"later") == [VALUE]

    run(story, purge=SOON)


def test_a_step_of_all_clocks_takes_no_value_that_has_time_left() -> None:
    """Somebody sets them right within `--purge-after`, and starts the nodes again."""

    async def story(world: HealingWorld) -> None:
        request = WriteRequest("", b"k", VALUE, WriteOptions("all", ttl_ms=7_200_000))
        await world.inside("n1", world["n1"].requests.write(request))
        clocks = [world.world.nodes[name].clock for name in NAMES]
        for clock in clocks:
            clock.jump(86_400.0)
        await asyncio.sleep(40)
        assert not any(world[name].core.hybrid.jumped_ms for name in NAMES)
        stories = {world[name].repair.purging.story for name in NAMES}
        assert any("clock was set forwards" in each for each in stories), stories
        for clock in clocks:
            clock.jump(-86_400.0)
        for name in NAMES:
            await world.down(name)
        for name in NAMES:
            await world.up(name)
        assert await world.get("n2", b"k") == [VALUE]
        await world.delete("n3", b"k", "all")
        await until(lambda: not tombstones(world), 120.0)

    run(story, purge=PurgeOptions(after_s=50.0, every_s=0.5, settle_s=1.0, least_garbage_bytes=1))


def test_small_steps_of_clocks_hold_no_delete_back() -> None:
    """Each machine stands still for two seconds at times, as for a snapshot, and is set right after it."""

    async def story(world: HealingWorld) -> None:
        async def step_now_and_then() -> None:
            while True:
                for name in NAMES:
                    world.world.nodes[name].clock.jump(2.0)
                await asyncio.sleep(40)

        stepping = asyncio.ensure_future(step_now_and_then())
        await asyncio.sleep(5)
        await world.put("n1", b"k", VALUE, "all")
        await world.delete("n3", b"k", "all")
        await until(lambda: not tombstones(world), 150.0)
        stepping.cancel()

    run(story, purge=PurgeOptions(after_s=50.0, every_s=0.5, settle_s=1.0, least_garbage_bytes=1))


def attempts(world: HealingWorld) -> int:
    return sum(world[name].repair.purging._attempts for name in NAMES)


def test_nobody_is_asked_before_something_would_be_forgotten() -> None:
    async def story(world: HealingWorld) -> None:
        await fill(world, KEYS[:20])
        for key in KEYS[:10]:
            await world.delete("n1", key, "all")
        request = WriteRequest("", b"brief", VALUE, WriteOptions("all", ttl_ms=50_000))
        await world.inside("n1", world["n1"].requests.write(request))
        await asyncio.sleep(90)
        assert not attempts(world)
        await until(lambda: not tombstones(world))
        before = attempts(world)
        assert before in (1, 2), "a round may come between two deletes"
        await until(lambda: all(world[name].repair.forgetting.forgotten == 11 for name in NAMES))
        await asyncio.sleep(200)
        assert attempts(world) == before + 1

    run(story, purge=PurgeOptions(after_s=100.0, every_s=1.0))


def test_deletes_that_go_on_are_forgotten_in_steps() -> None:
    async def story(world: HealingWorld) -> None:
        begun = asyncio.get_running_loop().time()
        for number in range(40):
            await world.delete("n2", b"k%d" % number, "all")
            await asyncio.sleep(1)
        lasted_s = asyncio.get_running_loop().time() - begun
        assert 10 < attempts(world) < lasted_s - 20 + 2, "one in a second, once the first is old enough"
        assert tombstones(world, "n3") < 30

    run(story, purge=PurgeOptions(after_s=20.0, every_s=0.25))


def test_a_key_that_is_deleted_again_while_its_delete_is_forgotten_is_forgotten_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    forget = Forgetting._forget

    async def slowly(forgetting: Forgetting, dead: list[tuple[Place, bytes]]) -> int:
        if dead and forgetting._node == "n3":
            said.append("begun")
            await until(lambda: "deleted again" in said)
        return await forget(forgetting, dead)

    monkeypatch.setattr(Forgetting, "_forget", slowly)

    async def story(world: HealingWorld) -> None:
        await world.put("n1", b"key", VALUE, "all")
        await world.delete("n1", b"key", "all")
        await until(lambda: "begun" in said)
        await world.delete("n2", b"key", "all")
        said.append("deleted again")
        await until(lambda: not tombstones(world))

    run(story, purge=SOON)


def test_an_owner_that_is_away_holds_everything_back() -> None:
    async def story(world: HealingWorld) -> None:
        await fill(world, KEYS[:20])
        await world.down("n3")
        for key in KEYS[:20]:
            await world.delete("n1", key)
        await asyncio.sleep(60)
        assert tombstones(world, "n1", "n2") == 40
        assert "n3 is away" in world["n1"].repair.purging.story
        await world.up("n3")
        await until(lambda: not tombstones(world))
        await nothing_left(world, KEYS[:20])
        assert not world["n1"].repair.purging.story

    run(story, purge=SOON)


async def forget_one(world: HealingWorld, key: bytes) -> StoredObject:
    """Put and delete it, and wait until it is forgotten.  Returns the value's object."""
    await world.put("n1", key, VALUE, "all")
    old = await world.held("n2", key)
    await world.delete("n1", key, "all")
    await until(lambda: not tombstones(world))
    return old


def test_a_version_that_was_deleted_and_forgotten_is_refused() -> None:
    async def story(world: HealingWorld) -> None:
        old = await forget_one(world, b"k")
        place = place_of(world, b"k")
        with pytest.raises(Stale, match="older than the watermark"):
            await world.inside("n2", world["n2"].replica.objects.apply(place, old))
        hints = world["n1"].replica.hints
        key = HintKey(place.copy.partition, DEFAULT_KEYSPACE, b"k")
        await world.inside("n1", hints.keep(key, ["n3"], old))  # type: ignore[list-item]
        await until(lambda: not hints.total)
        await nothing_left(world, [b"k"])
        assert world["n3"].replica.watermarks.refused == 1
        told = {each.name: each.samples[0].value for each in upkeep_families(world["n3"]) if each.samples}
        assert told["stale_refused_total"] == 1
        assert told["stale_refused_timestamp_seconds"] == pytest.approx(world["n3"].core.clock.wall(), abs=60)
        await world.put("n3", b"k", b"again", "all")
        assert await world.get("n1", b"k") == [b"again"]

    run(story, purge=SOON)


def test_a_later_attempt_of_a_write_that_may_be_forgotten_is_not_applied() -> None:
    async def story(world: HealingWorld) -> None:
        old = await forget_one(world, b"k")
        intent = Intent(VALUE, old.siblings[0].operation, is_retry=True)
        work = world["n2"].replica.objects.write(place_of(world, b"k"), intent, lambda *_: None)
        with pytest.raises(DeadlineExceeded):
            await world.inside("n2", work)
        await nothing_left(world, [b"k"])
        new = Intent(VALUE, OperationId(1, 1, HybridTime(0)), is_retry=True)  # its client knew no time yet
        await world.inside(
            "n2", world["n2"].replica.objects.write(place_of(world, b"k"), new, lambda *_: None)
        )

    run(story, purge=SOON)


@pytest.mark.parametrize("is_voided", [True, False])
def test_what_comes_from_elsewhere_voids_an_attempt(is_voided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_voided:
        monkeypatch.setattr(OwnerWatermark, "void", lambda watermark, attempt: False)

    async def story(world: HealingWorld) -> None:
        await world.put("n1", b"other", VALUE, "all")
        old = await world.held("n2", b"other")
        await world.delete("n1", b"other", "all")
        await asyncio.sleep(6)
        purging, dot = world["n1"].repair.purging, Dot(Actor("n9#1.0"), 1)
        compare = purging._compare

        async def beside(*rest: object) -> object:
            left = None if is_voided else await compare(*rest)  # type: ignore[arg-type]
            operation = OperationId(9, 9, HybridTime(0))
            one = old.siblings[0]._replace(dot=dot, operation=operation)
            late = encode_object(StoredObject(VersionVector((dot,)), (one,)))
            item = HintItem(DEFAULT_KEYSPACE, b"other", late)
            work = world["n3"].core.transport.call(
                NodeId("n2"),
                DELIVER,
                Deliver(Epoch(1), (item,)).encode(),
                timeout_s=5,
                priority=Priority.REPAIR,
            )
            assert DeliverAnswer.decode(await world.inside("n3", work), 1).refusals == ("",)
            return await compare(*rest) if is_voided else left  # type: ignore[arg-type]

        purging._compare = beside  # type: ignore[method-assign, assignment]
        await world.inside("n1", purging.round())
        partition = world.world.partition(b"other")
        if not is_voided:  # n2 alone holds it, the others refuse it forever
            assert all(world[name].replica.watermarks.proven(partition) for name in NAMES)
            held = [(await world.held(name, b"other")).context.covers(dot) for name in ("n2", "n3")]
            assert held == [True, False]
            return
        assert "n2: it accepted an older version meanwhile" in purging.held_back.values()
        assert not any(world[name].replica.watermarks.proven(partition) for name in NAMES)
        purging._compare = compare  # type: ignore[method-assign]
        await world.inside("n1", purging.round())
        for name in NAMES:
            assert dot in [one.dot for one in (await world.held(name, b"other")).siblings]

    run(story, purge=PurgeOptions(after_s=5.0, every_s=1000.0, settle_s=1.0))


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_write_that_only_a_fallback_holds_is_not_taken_for_forgotten(
    is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coordinator lost power before it was on its disk; two fallbacks had it."""
    if not is_asked:

        async def take_for_granted(purging: Purging, attempt: str, owners: Any, rows: Any, *rest: Any) -> Any:
            return rest[0]

        monkeypatch.setattr(Purging, "_ask_vouched", take_for_granted)

    async def story(world: HealingWorld) -> None:
        place = place_of(world, b"k")
        owners = world.world.row(b"k").nodes
        keeper = next(name for name in world.world.nodes if name not in owners)
        await world.put(owners[0], b"k", VALUE, "all")
        one = (await world.held(owners[1], b"k")).siblings[0]
        dot = Dot(Actor("n9#1.0"), 1)
        other = one._replace(dot=dot, operation=OperationId(9, 9, HybridTime(0)))
        find = world.world.topology.partition_of
        names = (b"x%d" % number for number in range(10_000))
        name = next(each for each in names if find(LOOSE.id, each) == place.copy.partition)
        key = HintKey(place.copy.partition, LOOSE.id, name)
        delivery, hints = world[keeper].repair.delivery, world[keeper].replica.hints
        may_try = delivery._may_try
        delivery._may_try = lambda target: False  # type: ignore[method-assign]
        await world.inside(
            keeper, hints.keep_counted(key, owners[1], StoredObject(VersionVector((dot,)), (other,)))
        )
        await world.delete(owners[0], b"k", "all")
        await asyncio.sleep(30)
        assert (tombstones(world, *owners) > 0) == is_asked
        if is_asked:
            assert "hints wait there for an owner" in world[min(owners)].repair.purging.story
        delivery._may_try = may_try  # type: ignore[method-assign]
        await until(lambda: not hints.total)
        copy = Place(place.copy, LOOSE.id, name)
        held = await world.inside(owners[1], world[owners[1]].replica.objects.read(copy))
        assert [each.value for each in held.siblings] == ([VALUE] if is_asked else [])
        await until(lambda: not tombstones(world, *owners))

    run(story, nodes=4, purge=SOON, keyspaces=[LOOSE])


@pytest.mark.parametrize("is_judged", [True, False])
def test_what_survived_damage_does_not_come_back(is_judged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_judged:
        monkeypatch.setattr(object_store, "without_stale", lambda kept, others, watermark: kept)

    async def story(world: HealingWorld) -> None:
        await fill(world, KEYS[:8])
        objects = world["n1"].replica.objects
        await world.inside("n1", world["n1"].replica.engine.flush())
        former = {key: await world.held("n1", key) for key in KEYS[:8]}
        for key in KEYS[:8]:
            await world.delete("n2", key, "all")
        await until(lambda: not tombstones(world))
        back = 0
        for key in KEYS[:8]:
            place = place_of(world, key)
            survived = {place.stored_key: former[key]}
            prefix = copy_prefix(place.copy)
            left, stale = await world.inside("n1", _survivors(objects, survived, prefix))
            assert not left
            back += place.stored_key not in stale
            assert await world.inside("n1", _survivors(objects, survived, prefix, knows_deletes=False)) == (
                {},
                {},
            )
        assert back == (0 if is_judged else 8)

    run(story, purge=SOON)


async def _survivors(
    objects: Any, survived: dict[bytes, StoredObject], prefix: bytes, *, knows_deletes: bool = True
) -> Any:
    """What healing makes of keys of which only this survived."""

    async def found(start: bytes, end: bytes | None) -> AsyncIterator[tuple[bytes, bytes]]:
        for key, stored in survived.items():
            yield key, encode_object(stored)

    class Survived:
        survivors = staticmethod(found)

    engine = objects._engine
    objects._engine = Survived()
    try:
        return await objects._survivors(prefix, prefix_end(prefix), {}, knows_deletes=knows_deletes)
    finally:
        objects._engine = engine
