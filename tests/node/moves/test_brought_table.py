"""What a joiner gets as a table counts as what is merged in does, and hides nothing that is written
meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId, PartitionId, Start
from ringmill.cluster.versions.dots import Dot, VersionVector, actor_of
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject, merge
from ringmill.node.moves.brought_table import TableOfCopy
from ringmill.node.moves.table_of_pages import Item, TableFigures, make_table
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page, PageBody
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, keyspace_prefix, parse_object_key
from ringmill.node.replica.watching.change_feed import ChangeFeed, FeedNews, FeedPlace
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from tests.node.replica.test_object_store import StillClock

COPY = Copy(PartitionId(3), Epoch(7))
KEYSPACE = KeyspaceId(1, 0)
KEYS = [b"key%03d" % number for number in range(40)]
START = Start(1, "0" * 16)
BEFORE, AFTER = Actor("n1#1"), Actor("n2#1")


def written(by: Actor, counter: int, value: bytes | None = b"value", expires_at_ms: int = 0) -> StoredObject:
    """What one owner has written without knowing of anything else."""
    time = HybridTime((1_764_000_000_000 << 16) + counter)
    sibling = Sibling(Dot(by, counter), value, time, OperationId(counter, 1, time), expires_at_ms)
    return StoredObject(VersionVector.of([Dot(by, counter)]), (sibling,))


def place(key: bytes) -> Place:
    return Place(COPY, KEYSPACE, key)


def items_of(objects: dict[bytes, StoredObject]) -> list[Item]:
    """As a page tells them."""
    return [(keyspace_prefix(KEYSPACE) + key, encode_object(one)) for key, one in sorted(objects.items())]


ITEMS = items_of({key: written(BEFORE, number) for number, key in enumerate(KEYS, 1)})


@asynccontextmanager
async def joiner() -> AsyncIterator[tuple[Engine, ObjectStore, HybridClock]]:
    options = replace(TINY, memtable_bytes=1 << 20)
    async with await Engine.open(FOLDER, options, files=LossyDisk(), spawner=TurnSpawner()) as engine:
        clock = HybridClock(StillClock())
        objects = ObjectStore(
            engine,
            actors=CopyActors(NodeId("n4"), START),
            clock=clock,
            options=ReplicaOptions(count_pause_s=0),
            feed=ChangeFeed("0" * 10, StillClock(), most_keys=100),
        )
        await objects.count_stored()
        yield engine, objects, clock


def pages_of(items: list[Item]) -> list[PageBody]:
    """Ten items a page."""
    starts = [items[at][0] for at in range(10, len(items), 10)] + [b""]
    return [
        PageBody.of(Page(Epoch(7), tuple(items[10 * number : 10 * number + 10]), start).encode())
        for number, start in enumerate(starts)
    ]


async def fill(engine: Engine, objects: ObjectStore, clock: HybridClock, items: list[Item]) -> Sequence[Item]:
    """Returns what had to be merged in."""
    table = TableOfCopy(COPY, b"", pages_of(items), engine=engine, objects=objects, clock=clock)
    brought = await table.add()
    assert brought is not None and not objects.written._sets
    assert brought.read_bytes == sum(len(key) + len(encoded) for key, encoded in items)
    for key, encoded in brought.rest:
        where = parse_object_key(copy_prefix(COPY) + key)
        await objects.apply(where, decode_object(encoded), of_owner=True)
    return brought.rest


async def check_counted(objects: ObjectStore) -> None:
    """The figures and sums are those that a count of everything gives."""
    sums = objects.sums.of(COPY)
    assert sums is not None
    told = (sums.root, sums.items, objects.keys, objects.size_bytes, objects.partition_sizes())
    await objects.count_stored()
    counted = objects.sums.of(COPY)
    assert counted is not None
    assert told == (
        counted.root, counted.items, objects.keys, objects.size_bytes, objects.partition_sizes()
    )  # fmt: skip


async def test_a_table_counts_as_what_is_merged_in_does() -> None:
    async with joiner() as (engine, objects, clock):
        assert await fill(engine, objects, clock, ITEMS) == []
        assert engine.sequence == 0, "nothing went through the log"
        assert objects.keys == len(KEYS)
        await check_counted(objects)
        assert [await objects.read(place(key)) for key in KEYS] == [decode_object(one) for _, one in ITEMS]
        assert await fill(engine, objects, clock, ITEMS) == ITEMS, "read again"
        assert objects.keys == len(KEYS)
        await check_counted(objects)


async def test_what_is_not_a_single_value_is_merged_in() -> None:
    both = merge(written(BEFORE, 1), written(AFTER, 1))
    objects_there = {
        b"both": both,
        b"deleted": written(BEFORE, 2, None),
        b"expires": written(BEFORE, 3, expires_at_ms=5),
    }
    async with joiner() as (engine, objects, clock):
        rest = await fill(engine, objects, clock, items_of(objects_there))
        assert [key[-len(name) :] for (key, _), name in zip(rest, (b"both", b"deleted"), strict=True)] == [
            b"both", b"deleted"
        ]  # fmt: skip
        for key, one in objects_there.items():
            assert await objects.read(place(key)) == one
        assert objects.dead.may_hold_dead(COPY, 5)
        await check_counted(objects)


async def test_keys_that_came_before_the_table_are_merged_with_it() -> None:
    async with joiner() as (engine, objects, clock):
        await objects.apply(place(KEYS[3]), written(AFTER, 1), of_owner=True)
        rest = await fill(engine, objects, clock, ITEMS)
        assert rest == [ITEMS[3]]
        assert await objects.read(place(KEYS[3])) == merge(written(BEFORE, 4), written(AFTER, 1))
        await check_counted(objects)


def late_writes(monkeypatch: pytest.MonkeyPatch, write: Callable[[], Awaitable[object]]) -> None:
    """Have something written while the child makes the table, after all keys were looked at."""
    run = TurnSpawner.run

    async def run_late(spawner: TurnSpawner, function: Callable[..., object], /, *args: object) -> object:
        if function is make_table:
            await write()
        return await run(spawner, function, *args)

    monkeypatch.setattr(TurnSpawner, "run", run_late)


@pytest.mark.parametrize("looks", [True, False])
async def test_a_write_that_comes_while_the_table_is_made_is_merged_with_it(
    monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    """Without the look at who has written meanwhile, the older value is gone."""
    if not looks:
        added = TableOfCopy._added

        def added_alone(table: TableOfCopy, told: TableFigures) -> None:
            table._touched.clear()
            added(table, told)

        monkeypatch.setattr(TableOfCopy, "_added", added_alone)
    async with joiner() as (engine, objects, clock):
        late_writes(monkeypatch, lambda: objects.apply(place(KEYS[5]), written(AFTER, 1), of_owner=True))
        rest = await fill(engine, objects, clock, ITEMS)
        both = merge(written(BEFORE, 6), written(AFTER, 1))
        assert (rest == [ITEMS[5]]) is looks
        assert (await objects.read(place(KEYS[5])) == both) is looks
        if looks:
            await check_counted(objects)
            await engine.flush()
            await engine.compact_range()
            assert await objects.read(place(KEYS[5])) == both


async def test_a_copy_that_is_fenced_or_healed_meanwhile_gets_no_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with joiner() as (engine, objects, clock):

        async def heal() -> None:
            objects.heals += 1

        async def fence() -> None:
            await engine.fence(copy_prefix(COPY), copy_prefix(COPY) + b"\xff")

        for meanwhile in (heal, fence):
            late_writes(monkeypatch, meanwhile)
            table = TableOfCopy(COPY, b"", pages_of(ITEMS), engine=engine, objects=objects, clock=clock)
            assert await table.add() is None
        assert engine.stats().table_bytes == 0 and not objects.written._sets


async def test_an_object_that_names_a_write_which_the_joiner_never_made_is_refused() -> None:
    async with joiner() as (engine, objects, clock):
        forged = written(actor_of(NodeId("n4"), START, COPY.copy_epoch), 1)
        with pytest.raises(ProtocolMismatch, match="has not made"):
            await fill(engine, objects, clock, items_of({b"forged": forged}))
        assert engine.stats().table_bytes == 0 and not objects.written._sets


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_whoever_follows_the_changes_of_the_node_looks_for_what_came_once_all_has(
    is_cancelled: bool,
) -> None:
    """Rule N4: it may come from an owner that has started since it was told of it."""
    async with joiner() as (engine, objects, clock):

        async def told(place: FeedPlace) -> FeedNews:
            return await objects.feed.after(place, b"", 1000, 0.0)

        begun = await told(FeedPlace())
        if is_cancelled:
            filling = asyncio.create_task(fill(engine, objects, clock, ITEMS))
            while objects.keys < len(ITEMS):  # noqa: ASYNC110  it has no event for it
                await asyncio.sleep(0)
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
        else:
            await fill(engine, objects, clock, ITEMS)
        news = await told(begun.place)
        assert not news.keys and not news.is_lost
        objects.feed.all_is_brought()
        assert (await told(news.place)).is_lost
