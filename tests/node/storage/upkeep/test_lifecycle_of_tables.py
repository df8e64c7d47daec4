"""Merging by each strategy, dropping, deleting, checkpoints: the same answers, and space comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ringmill.cluster.overload.giving_way import LOOK_S
from ringmill.node.storage.check import damage_marks
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.engine_options import COMPRESSIONS, STRATEGIES
from ringmill.node.storage.read import reading
from ringmill.node.storage.read.lookup import find_off_loop, find_survivor
from ringmill.node.storage.upkeep import compaction_pick
from ringmill.node.storage.upkeep.compaction_child import compact
from ringmill.node.storage.upkeep.compactor import MOST_PUT_OFF_S, Compactor
from ringmill.node.storage.version.version_set import View
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]


async def churn(engine: Engine, seed: int, count: int, keys: int) -> dict[bytes, bytes]:
    """Random puts and deletes, applied to the engine and to a dict."""
    random, model = Random(seed), dict[bytes, bytes]()
    for _ in range(count):
        await engine.wait_writable()
        batch, key = Batch(), b"key%04d" % random.randrange(keys)
        if random.random() < 0.3:
            batch.delete(key)
            model.pop(key, None)
        else:
            model[key] = random.randbytes(random.randrange(50))
            batch.put(key, model[key])
        engine.apply(batch)
    return model


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_every_strategy_and_compression_gives_the_same_answers(
    open_engine: OpenEngine, strategy: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction_pick, "_FEW_TABLES", 2)
    options = replace(
        TINY, strategy=strategy, compression=compression, time_window_sequences=300, joined_prefix_bytes=4
    )
    engine = await open_engine(options)
    model = await churn(engine, 5, 1500, 200)
    await engine.wait_idle()
    assert {key: value async for key, value in engine.scan()} == model
    assert engine.stats().counters.compactions
    await engine.close()
    again = await open_engine(options)
    for number in range(200):
        assert await again.get(b"key%04d" % number) == model.get(b"key%04d" % number)
    await again.compact_range()
    assert {key: value async for key, value in again.scan()} == model
    assert sum(level.tombstones for level in again.stats().levels) == 0


async def test_tables_that_meet_nothing_move_without_rewriting(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    for number in range(1500):
        await engine.wait_writable()
        batch = Batch()
        batch.put(b"key%06d" % number, b"value")
        engine.apply(batch)
    await engine.wait_idle()
    counters = engine.stats().counters
    assert counters.moves > 5
    assert counters.compaction_written_bytes == 0


async def test_deletes_give_their_space_back(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    model = await churn(engine, 6, 1500, 300)
    await engine.flush()
    full = engine.stats().table_bytes
    for key in model:
        await engine.wait_writable()
        batch = Batch()
        batch.delete(key)
        engine.apply(batch)
    await engine.flush()
    assert [pair async for pair in engine.scan()] == []
    assert engine.stats().table_bytes < full / 4


class SlowCompactions(TurnSpawner):
    """`meanwhile` is done during each."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if function is compact and self.meanwhile is not None:
            await self.meanwhile()
        return await super().run(function, *args, **kwargs)


async def test_a_range_that_is_compacted_keeps_no_other_compaction_waiting(disk: LossyDisk) -> None:
    spawner, seen = SlowCompactions(), list[int]()
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=spawner) as engine:
        await churn(engine, 13, 3000, 1500)
        await engine.flush()
        counters = engine.stats().counters

        async def fill_a_memtable() -> None:
            before = counters.flushes
            while counters.flushes == before:
                batch = Batch()
                batch.put(b"key%04d" % len(seen), bytes(100))
                engine.apply(batch)
                await asyncio.sleep(0)
            seen.append(engine.stats().unmerged_tables)

        spawner.meanwhile = fill_a_memtable
        await engine.compact_range()
        spawner.meanwhile = None
        assert len(seen) > TINY.slow_at_tables
        assert max(seen) < TINY.slow_at_tables


async def test_what_only_returns_space_waits_while_requests_do_and_a_minute_at_most(
    disk: LossyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_busy = True
    options = replace(TINY, memtable_bytes=1 << 20, level0_tables=9)
    engine = await Engine.open(FOLDER, options, files=disk, spawner=TurnSpawner(), is_busy=lambda: is_busy)

    async def key_by_key(change: Callable[[Batch, bytes], None]) -> None:
        for number in range(100):
            change(batch := Batch(), b"key%04d" % number)
            engine.apply(batch)

    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds == LOOK_S:
            slept.append(seconds)
        await real_sleep(0 if seconds == LOOK_S else seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await key_by_key(lambda batch, key: batch.put(key, b"value"))
    await engine.flush()
    assert not slept, "nothing can wait"
    await key_by_key(lambda batch, key: batch.delete(key))
    await engine.flush()
    assert sum(slept) == MOST_PUT_OFF_S
    assert engine.stats().table_bytes == 0
    slept.clear()
    is_busy = False
    await key_by_key(lambda batch, key: batch.put(key, b"value"))
    await engine.flush()
    await key_by_key(lambda batch, key: batch.delete(key))
    await engine.flush()
    assert not slept
    await engine.close()


async def test_a_dropped_prefix_gives_its_space_back_and_its_marker_goes(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine()
    model = await churn(engine, 7, 1500, 300)
    await engine.flush()
    full = engine.stats().table_bytes
    await engine.drop_prefix(b"key0")
    await engine.flush()
    assert [pair async for pair in engine.scan()] == []
    assert engine.stats().table_bytes < full / 10
    batch = Batch()
    batch.put(b"key0001", b"again")
    engine.apply(batch)
    await engine.close()
    again = await open_engine()
    await again.wait_idle()
    assert [pair async for pair in again.scan()] == [(b"key0001", b"again")]
    assert again.stats().corrupt_ranges == 0
    assert model


async def test_drops_that_a_snapshot_is_older_than_are_not_looked_for(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine()
    await churn(engine, 11, 1500, 300)
    with engine.snapshot():
        for number in range(20):
            await engine.drop_prefix(b"key%03d" % number)
        await engine.flush()
        await engine.wait_idle()
        with monkeypatch.context() as patched:
            patched.setattr(Compactor, "_hides", lambda *_: pytest.fail("it looks through the tables"))
            await engine._upkeep.compactor._forget_finished_drops()
        assert len(engine._tables.version.drops) == 20
    await engine.flush()
    async with asyncio.timeout(5):
        while engine._tables.version.drops:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_read_that_waits_for_the_disk_knows_of_drops_that_are_forgotten_meanwhile(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, goes_on = await open_engine(), asyncio.Event()
    for key in (b"dropped", b"kept"):
        batch = Batch()
        batch.put(key, b"value")
        engine.apply(batch)
    await engine.flush()

    def late(find: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def find_late(view: View, *asked: Any) -> Any:
            await goes_on.wait()
            return await find(view, *asked)

        return find_late

    for module, find in ((reading, find_off_loop), (damage_marks, find_survivor)):
        monkeypatch.setattr(module, find.__name__, late(find))
    with engine.snapshot():  # so that the table stays until both reads have begun
        await (await engine.drop_prefix(b"drop")).synced()
        reads = [asyncio.create_task(read(b"dropped")) for read in (engine.get, engine.survivor)]
        await asyncio.sleep(0)
    await engine.flush()
    async with asyncio.timeout(5):
        while engine._reading.drops():  # noqa: ASYNC110
            await asyncio.sleep(0)
    goes_on.set()
    assert [await each for each in reads] == [None, None]
    assert await engine.get(b"kept") == b"value"


async def test_a_snapshot_keeps_what_was_dropped(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    model = await churn(engine, 8, 600, 100)
    with engine.snapshot() as snapshot:
        await engine.drop_prefix(b"key")
        await engine.flush()
        await engine.compact_range()
        assert {key: value async for key, value in engine.scan(snapshot=snapshot)} == model
        assert [pair async for pair in engine.scan()] == []
    await engine.flush()
    await engine.compact_range()
    assert engine.stats().table_bytes == 0


async def test_a_checkpoint_opens_as_the_store_was(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine()
    model = await churn(engine, 9, 700, 150)
    await engine.checkpoint("copy")
    await churn(engine, 10, 700, 150)
    await engine.wait_idle()
    async with await Engine.open("copy", TINY, files=disk, spawner=TurnSpawner()) as copy:
        assert {key: value async for key, value in copy.scan()} == model
    with pytest.raises(FileExistsError):
        await engine.checkpoint("copy")


async def test_files_go_when_the_last_reader_has_gone(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine()
    model = await churn(engine, 11, 500, 100)
    await engine.flush()
    scan = engine.scan()
    first = await anext(scan)
    await churn(engine, 12, 500, 100)
    await engine.flush()
    await engine.compact_range()
    names = len(disk.list(FOLDER))
    rest = [first] + [pair async for pair in scan]
    assert dict(rest) == model
    async with asyncio.timeout(10):
        while len(disk.list(FOLDER)) >= names:  # noqa: ASYNC110  a thread deletes them
            await asyncio.sleep(0)
    await engine.close()
    await (await open_engine()).close()
    kinds = [name.rpartition(".")[2] for name in disk.list(FOLDER)]
    assert kinds.count("tmp") == 0
