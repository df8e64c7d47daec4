"""What a dropped keyspace has left goes from all owners, and nothing brings it back (rule P6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from ringmill.cluster.consensus.register import Cas
from ringmill.cluster.errors import DiskFull, InvalidArgument
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created, dropped
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.repair.dropped.keyspace_removal import KeyspaceRemoval
from ringmill.node.replica.pages import ReadPage, ask_page
from ringmill.node.replica.purging.gone_keyspaces import Sought
from ringmill.node.replica.registers import register_store
from ringmill.node.replica.replica_messages import DELIVER, Deliver, DeliverAnswer, HintItem
from ringmill.node.replica.stepping import change as change_stored
from ringmill.node.replica.stored_key import (
    Copy,
    HintKey,
    Kind,
    Place,
    keyspace_prefix,
    kind_prefix,
    prefix_end,
    registers_prefix,
)
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.request_values import WriteRequest
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_exchange import equal, moved, no_hints, rounds, until

KEYS = [b"key%03d" % number for number in range(60)]
KEPT = KEYS[:20]
NODES = ("n1", "n2", "n3")


async def change(world: HealingWorld, make: Any, name: str = "n1") -> None:
    await world.inside(name, world[name].membership.epochs.change(lambda topology, _: make(topology), 5.0))


async def make_carts(world: HealingWorld, kind: str = "objects", by: str = "n1") -> KeyspaceId:
    await change(world, lambda topology: created(topology, NewKeyspace("carts", kind=kind)), by)
    return world[by].membership.topology.serving_topology().keyspace_named("carts").id


async def drop_carts(world: HealingWorld) -> None:
    await change(world, lambda topology: dropped(topology, "carts", may_be_done=True))


async def put_carts(world: HealingWorld, keys: Sequence[bytes], level: str = "all", by: str = "n1") -> None:
    for key in keys:
        request = WriteRequest("carts", key, bytes(300), WriteOptions(level))
        await world.inside(by, world[by].requests.write(request))


async def left(world: HealingWorld, name: str, carts: KeyspaceId) -> int:
    """How many keys of the keyspace the store of a node shows, of whatever kind."""

    async def count() -> int:
        found = 0
        for kind, skipped in ((Kind.OBJECT, 11), (Kind.REGISTER, 11), (Kind.HINT, 3)):
            start = kind_prefix(kind)
            async for key, _ in world[name].replica.engine.scan(start, prefix_end(start)):
                found += key[skipped:].startswith(keyspace_prefix(carts))
        return found

    return await world.inside(name, count())


async def is_gone(world: HealingWorld, carts: KeyspaceId, names: Sequence[str] = NODES) -> bool:
    return not sum([await left(world, name, carts) + world[name].repair.keyspaces.waiting for name in names])


def place_of(world: HealingWorld, carts: KeyspaceId, key: bytes) -> Place:
    topology = world["n1"].membership.topology.serving_topology()
    return Place(Copy(topology.partition_of(carts, key), Epoch(1)), carts, key)


async def figures(world: HealingWorld, name: str) -> tuple[Any, ...]:
    """What a node says that it stores; the sums of all its copies among it."""
    objects = world[name].replica.objects
    copies = [Copy(PartitionId(number), Epoch(1)) for number in range(world.world.options.partitions)]
    roots = [None if (sums := objects.sums.of(copy)) is None else sums.root for copy in copies]
    items = [None if (sums := objects.sums.of(copy)) is None else sums.items for copy in copies]
    return objects.keys, objects.size_bytes, objects.dead.total, roots, items


def test_the_space_returns_at_all_owners_and_the_rest_stays() -> None:
    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEYS)
        for key in KEPT:
            await world.put("n1", key, b"kept", "all")
        await world.delete("n1", KEPT[0], "all")
        full = world[NODES[0]].replica.objects.size_bytes
        await drop_carts(world)
        await until(lambda: is_gone(world, carts))
        for name in NODES:
            removal, objects = world[name].repair.keyspaces, world[name].replica.objects
            assert removal.keys == len(KEYS) and removal.size_bytes > 300 * len(KEYS), name
            assert objects.size_bytes < full - 300 * len(KEYS)
            shown = await figures(world, name)
            await world.inside(name, objects.count_stored())
            assert await figures(world, name) == shown, "the figures are those of a new count"
        before = moved(world)[0]
        await rounds(world, 1)
        assert moved(world)[0] == before, "owners whose copies were swept are equal"
        assert await equal(world, KEPT)
        assert await world.get("n2", KEPT[1]) == [b"kept"]

    run(story)


def test_what_is_much_is_dropped_by_markers_that_reach_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmill.node.repair.dropped.keyspace_removal.FEW_KEYS", 2)

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEYS)
        engine = world["n1"].replica.engine
        await world.inside("n1", engine.write_tables())
        await world.put("n1", KEPT[0], b"kept", "all")
        full = sum(level.size_bytes for level in engine.stats().levels)
        await drop_carts(world)
        await until(lambda: is_gone(world, carts))
        await world.inside("n1", engine.wait_idle())
        assert sum(level.size_bytes for level in engine.stats().levels) < full / 5
        assert await world.get("n1", KEPT[0]) == [b"kept"]
        second = await make_carts(world)
        await put_carts(world, KEPT)
        await drop_carts(world)
        await until(lambda: is_gone(world, second))

    run(story)


def test_an_owner_that_was_away_removes_it_too_and_brings_nothing_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEYS)
        await world.down("n3")
        for key in KEPT:
            await world.put("n1", key, b"v", "2")
        await drop_carts(world)
        await until(lambda: is_gone(world, carts, NODES[:2]))
        await world.up("n3")
        await until(lambda: is_gone(world, carts))
        await until(lambda: equal(world, KEPT))
        await rounds(world, 1)
        assert await is_gone(world, carts)

    run(story)


def test_an_owner_that_has_heard_of_neither_document_removes_what_comparing_brought(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_hints(monkeypatch)

    async def deaf(_: Topology) -> None:
        return None

    async def story(world: HealingWorld) -> None:
        await asyncio.sleep(5)
        agent = world["n1"].membership.topology
        with pytest.MonkeyPatch.context() as patch:  # inside, so that nothing holds the nodes afterwards
            patch.setattr(agent, "adopt", deaf)
            carts = await make_carts(world, by="n2")
            await put_carts(world, KEYS, "2", by="n2")
            await rounds(world, 1)
            assert agent.epoch == 1 and await left(world, "n1", carts), "it takes what a peer holds"
            await change(world, lambda topology: dropped(topology, "carts", may_be_done=True), "n2")
        await until(lambda: agent.epoch == 3)
        await until(lambda: is_gone(world, carts))
        before = moved(world)[0]
        await rounds(world, 1)
        assert moved(world)[0] == before and await is_gone(world, carts)

    run(story)


def test_a_second_drop_leaves_what_is_looked_through_after_it_looked_through() -> None:
    async def story(world: HealingWorld) -> None:
        await asyncio.sleep(5)
        for name in ("books", "carts"):
            await change(world, lambda topology, name=name: created(topology, NewKeyspace(name)))
        removal, looked = world["n1"].repair.keyspaces, list[Copy]()
        await until(lambda: removal.is_done)
        sweep, copies = removal._sweep, world.world.options.partitions

        async def noted(copy: Copy, sought: Iterable[Sought]) -> bool:
            looked.append(copy)
            if len(looked) == 2:
                await drop_carts(world)
            if len(looked) == copies:
                waiting.append(removal.waiting)
            return await sweep(copy, sought)

        waiting: list[int] = []
        removal._sweep = noted  # type: ignore[method-assign]
        seeks = removal.seeks
        await change(world, lambda topology: dropped(topology, "books", may_be_done=True))
        await until(lambda: removal.is_done)
        assert waiting == [3], "the first two, and the last one that is looked through now"
        assert len(looked) == copies + 2
        assert removal.seeks - seeks <= 2 * 2 * copies, "for these two alone"

    run(story)


def test_owners_that_remove_it_at_different_times_do_not_fill_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """n3 has heard of the drop, and has removed nothing yet; then it counts as one that cannot tell."""
    sweep = KeyspaceRemoval._sweep
    held = asyncio.Event()

    async def later(removal: KeyspaceRemoval, copy: Copy, sought: Iterable[Sought]) -> bool:
        if id(removal._objects) in slow and not held.is_set():
            raise DiskFull("not yet")
        return await sweep(removal, copy, sought)

    slow: list[int] = []
    monkeypatch.setattr(KeyspaceRemoval, "_sweep", later)

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        slow.append(id(world["n3"].replica.objects))
        await put_carts(world, KEYS)
        await world.put("n1", KEPT[0], b"kept", "all")
        await drop_carts(world)
        await until(lambda: is_gone(world, carts, NODES[:2]))
        before = moved(world)[0]
        await rounds(world, 2)
        assert moved(world)[0] == before and await is_gone(world, carts, NODES[:2])
        assert "not yet" in world["n3"].repair.keyspaces.story
        counts = world["n3"].replica.objects.counts
        held.set()
        await until(lambda: is_gone(world, carts))
        await rounds(world, 1)
        assert moved(world)[0] == before
        assert world["n3"].replica.objects.counts == counts, "nothing was counted anew"

    run(story)


def test_hints_of_it_go_and_late_ones_store_nothing() -> None:
    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEPT)
        await world.down("n3")
        await put_carts(world, KEYS, "2")
        await world.put("n1", KEPT[0], b"v", "2")
        hints = world["n1"].replica.hints
        assert hints.counts()[NodeId("n3")] == len(KEYS) + 1
        place = place_of(world, carts, KEYS[0])
        late = await world.inside("n1", world["n1"].replica.objects.read(place))
        await drop_carts(world)
        await until(lambda: is_gone(world, carts, NODES[:2]))
        assert hints.counts()[NodeId("n3")] == 1, "those of another keyspace stay"
        await world.up("n3")
        await until(lambda: is_gone(world, carts))
        items = (HintItem(carts, KEYS[0], encode_object(late)),)
        call = world["n1"].core.transport.call(
            NodeId("n3"), DELIVER, Deliver(Epoch(2), items).encode(), timeout_s=5.0, priority=Priority.REPAIR
        )
        answer = DeliverAnswer.decode(await world.inside("n1", call), 1)
        assert answer.refusals == ("",), "who brings it may strike it off"
        assert await is_gone(world, carts)
        await world.inside("n1", hints.keep(place_hint(world, carts), [NodeId("n3")], late))
        with pytest.raises(InvalidArgument, match="was dropped"):
            await world.inside("n1", hints.keep_counted(place_hint(world, carts), NodeId("n3"), late))
        assert await is_gone(world, carts)

    run(story)


def place_hint(world: HealingWorld, carts: KeyspaceId) -> HintKey:
    return HintKey(place_of(world, carts, KEYS[1]).copy.partition, carts, KEYS[1])


def test_a_write_that_was_under_way_is_not_made_after_the_drop() -> None:
    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEPT[:1])
        place = place_of(world, carts, KEPT[0])
        objects = world["n1"].replica.objects
        held = await world.inside("n1", objects.read(place))
        await drop_carts(world)
        with pytest.raises(InvalidArgument, match="was dropped before"):
            await world.inside("n1", objects.apply(place, held))
        await until(lambda: is_gone(world, carts))

    run(story)


def test_a_removal_that_was_cut_off_goes_on_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    remove, done = KeyspaceRemoval._remove, list[bytes]()

    def few(removal: KeyspaceRemoval, *asked: Any) -> None:
        if len(done) > 3:
            raise DiskFull("full")
        done.append(asked[1])
        remove(removal, *asked)

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEYS)
        await drop_carts(world)
        await until(lambda: len(done) > 3)
        await asyncio.sleep(5)
        assert sum([await left(world, name, carts) for name in NODES])
        monkeypatch.setattr(KeyspaceRemoval, "_remove", remove)
        for name in NODES:
            await world.down(name)
        await asyncio.gather(*(world.up(name) for name in NODES))
        await until(lambda: is_gone(world, carts))

    monkeypatch.setattr(KeyspaceRemoval, "_remove", few)
    run(story)


def test_damage_of_it_is_healed_from_nobody() -> None:
    """The others hold nothing of it any more, so they could not be asked."""

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEYS)
        await world.inside("n1", world["n1"].replica.engine.write_tables())
        await world.put("n1", KEPT[0], b"kept", "all")
        await world.down("n2")
        await drop_carts(world)
        await until(lambda: is_gone(world, carts, ("n1", "n3")))
        for name in ("n1", "n3"):
            engine = world[name].replica.engine
            place = place_of(world, carts, KEYS[0])
            await world.inside(name, engine.fence(place.stored_key, place.stored_key + b"\0"))
        await until(lambda: not world["n1"].repair.healing.unfilled)
        await until(lambda: not world["n3"].repair.healing.unfilled)

    run(story)


def test_a_page_of_it_is_refused_and_not_empty() -> None:
    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world)
        await put_carts(world, KEPT)
        partition, row = place_of(world, carts, KEPT[0]).copy.partition, world.world.topology.rows[0]
        await drop_carts(world)
        await until(lambda: is_gone(world, carts))
        prefix = keyspace_prefix(carts)
        asked = ReadPage(Epoch(2), partition, prefix + b"k", prefix_end(prefix))
        call = ask_page(world["n2"].core.transport, NodeId("n1"), asked, row, timeout_s=5.0)
        with pytest.raises(InvalidArgument, match="dropped"):
            await world.inside("n2", call)

    run(story)


def test_registers_go_too() -> None:
    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world, "registers")
        for key in KEPT:
            request = ChangeRequest(RegisterRead("carts", key, 5.0), Cas(None, b"v", 0), None)
            await world.inside("n1", world["n1"].requests.change_register(request))
        assert await left(world, "n1", carts) == len(KEPT)
        await drop_carts(world)
        await until(lambda: is_gone(world, carts))

    run(story)


def test_a_register_that_is_healed_meanwhile_is_not_put_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step waits for the disk while its keyspace is removed; the damage is behind what that reads."""
    monkeypatch.setattr("ringmill.node.repair.dropped.keyspace_removal.FEW_KEYS", 0)
    step, held = change_stored, list[bytes]()

    async def story(world: HealingWorld) -> None:
        carts = await make_carts(world, "registers")
        for key in KEYS:
            request = ChangeRequest(RegisterRead("carts", key, 5.0), Cas(None, b"v", 0), None)
            await world.inside("n1", world["n1"].requests.change_register(request))
        engine = world["n1"].replica.engine
        await world.inside("n1", engine.write_tables())
        partition = place_of(world, carts, KEYS[0]).copy.partition
        mine = [key for key in KEYS if place_of(world, carts, key).copy.partition == partition]
        assert len(mine) > 1
        damaged = registers_prefix(Copy(partition, Epoch(1))) + keyspace_prefix(carts) + mine[-1]

        async def late(at: Any, key: bytes, *asked: Any, **options: Any) -> Any:
            if at is engine and key == damaged and not held:
                held.append(key)
                await drop_carts(world)
                removal = world["n1"].repair.keyspaces
                await until(lambda: all(copy.partition != partition for copy in removal._gone.unswept))
            return await step(at, key, *asked, **options)

        with pytest.MonkeyPatch.context() as patch:  # inside, so that nothing holds the nodes afterwards
            patch.setattr(register_store, "change", late)
            await world.inside("n1", engine.fence(damaged, damaged + b"\0"))
            await until(lambda: bool(held) and not world["n1"].repair.healing.unfilled)
        await until(lambda: is_gone(world, carts))
        assert held

    run(story)


def test_a_node_that_is_behind_removes_nothing_of_a_later_document() -> None:
    async def story(world: HealingWorld) -> None:
        later = KeyspaceId(Epoch(9), 0)
        place = Place(Copy(world.world.partition(KEPT[0]), Epoch(1)), later, KEPT[0])
        await world.put("n1", KEPT[0], b"kept", "all")
        held = await world.held("n1", KEPT[0])
        objects = world["n1"].replica.objects
        await world.inside("n1", objects.apply(place, held))
        carts = await make_carts(world)
        await drop_carts(world)
        await until(lambda: is_gone(world, carts))
        assert (await world.inside("n1", objects.read(place))) == held
        assert objects.gone.has(carts) and not objects.gone.has(later)
        assert not objects.gone.has(DEFAULT_KEYSPACE)

    run(story)
