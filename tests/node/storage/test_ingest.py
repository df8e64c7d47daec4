"""Tables that are added beside the log: whole or not at all, and older than whatever else is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.engine_options import STRATEGIES, EngineOptions
from ringmill.node.storage.ingest import TablePlace, write_table
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment

OpenEngine = Callable[..., Awaitable[Engine]]

KEYS = [b"key%03d" % number for number in range(60)]
TABLE = dict.fromkeys(KEYS, b"table")
SOUND = [model for model in CrashModel if model is not CrashModel.LYING]


def put(*keys: bytes, value: bytes = b"batch") -> Batch:
    batch = Batch()
    for key in keys:
        batch.put(key, value)
    return batch


def values_of(files: FileSystem, place: TablePlace, keys: list[bytes]) -> tuple[TableMeta | None, int]:
    return write_table(files, place, keys, [b"table"] * len(keys)), len(keys)


async def add_table(
    engine: Engine,
    keys: list[bytes] = KEYS,
    on_added: Callable[[], None] = lambda: None,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> bool:
    """`meanwhile` is done when the keys were looked at."""
    ingest = engine.ingest()
    try:
        assert not await ingest.held(min(keys, default=b""), max(keys, default=b"") + b"\0")
        if meanwhile is not None:
            await meanwhile()
        assert await ingest.make(values_of, keys) == len(keys)
        return await ingest.add(on_added)
    finally:
        ingest.discard()


async def content(engine: Engine) -> dict[bytes, bytes]:
    return {key: value async for key, value in engine.scan()}


async def test_a_table_is_there_at_once_and_after_a_restart_without_a_batch(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    told = list[bytes | None]()
    assert await add_table(engine, KEYS, lambda: told.append(engine.get_nowait(KEYS[7])))
    assert told == [b"table"]
    assert engine.sequence == 0
    await engine.close()
    again = await open_engine()
    assert await content(again) == TABLE
    assert [await again.get(key) for key in KEYS] == [b"table"] * len(KEYS)


async def test_a_table_without_keys_makes_no_file(open_engine: OpenEngine, disk: LossyDisk) -> None:
    engine, told = await open_engine(), list[str]()
    assert await add_table(engine, [], lambda: told.append("added"))
    assert told == ["added"] and not tables_of(disk)


async def test_keys_of_which_the_store_knows_something_are_reported(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    engine.apply(put(KEYS[1], KEYS[2]))
    await engine.flush()
    batch = put(KEYS[3], KEYS[9])
    batch.delete(KEYS[2])
    batch.delete(KEYS[4])
    engine.apply(batch)
    ingest = engine.ingest()
    assert await ingest.held(KEYS[0], KEYS[9]) == {*KEYS[1:5]}
    ingest.discard()


async def test_what_is_written_while_the_table_is_made_is_newer_whatever_is_merged(
    open_engine: OpenEngine,
) -> None:
    engine = await open_engine()
    written = KEYS[::3]

    async def write() -> None:
        for key in written:  # enough for some flushes and merges, down to the deepest level in use
            await engine.wait_writable()
            engine.apply(put(key, *(b"other%05d" % number for number in range(20))))
        await engine.wait_idle()

    assert await add_table(engine, meanwhile=write)
    expected = TABLE | dict.fromkeys(written, b"batch")
    for _ in range(2):
        assert {key: value for key, value in (await content(engine)).items() if key in TABLE} == expected
        assert [await engine.get(key) for key in KEYS] == [expected[key] for key in KEYS]
        await engine.compact_range()
    await engine.close()
    again = await open_engine()
    assert [await again.get(key) for key in KEYS] == [expected[key] for key in KEYS]


async def test_what_is_merged_while_the_table_is_made_keeps_its_place_before_the_table(
    open_engine: OpenEngine,
) -> None:
    engine = await open_engine()
    engine.apply(put(b"first"))

    async def write_and_merge() -> None:
        engine.apply(put(KEYS[7]))
        await engine.flush()
        await engine.compact_range()  # all there is: no older table, no snapshot and no drop

    assert await add_table(engine, meanwhile=write_and_merge)
    with engine.snapshot():
        engine.apply(put(b"last"))
        await engine.flush()
        await engine.compact_range()  # for the snapshot it has to tell versions apart by their sequences
    assert await engine.get(KEYS[7]) == b"batch"
    assert await engine.get(KEYS[8]) == b"table"


@pytest.mark.parametrize("is_killed", [False, True])
async def test_versions_are_kept_only_until_a_table_was_added_or_given_up(
    disk: LossyDisk, *, is_killed: bool
) -> None:
    spawner = DyingSpawner()
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=spawner) as engine:
        spawner.is_deadly = is_killed
        with pytest.raises(ChildProcessError) if is_killed else nullcontext():
            await add_table(engine)
        assert engine.stats().snapshots == 0


async def test_tables_sink_no_deeper_than_their_size_asks(
    open_engine: OpenEngine,
) -> None:
    engine = await open_engine(replace(TINY, level1_bytes=1 << 20))
    for first in range(0, 60, 10):
        assert await add_table(engine, KEYS[first : first + 10])
    assert [(each.level, each.tables) for each in engine.stats().levels] == [(1, 6)]
    assert await content(engine) == TABLE


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each != "leveled"])
async def test_a_store_with_one_level_takes_no_table(
    open_engine: OpenEngine, disk: LossyDisk, strategy: str
) -> None:
    engine = await open_engine(replace(TINY, strategy=strategy))
    assert not await add_table(engine)
    assert await content(engine) == {} and not tables_of(disk)


async def test_a_range_that_is_dropped_or_fenced_takes_no_table(
    open_engine: OpenEngine, disk: LossyDisk
) -> None:
    engine = await open_engine()

    async def drop() -> None:
        await (await engine.drop_prefix(b"key0")).synced()

    assert not await add_table(engine, meanwhile=drop)
    assert not await add_table(engine, [b"other"], meanwhile=lambda: engine.fence(b"oth", b"oti"))
    assert not tables_of(disk)


class DyingSpawner(TurnSpawner):
    """Children die when their work is done and nobody has heard of it."""

    is_deadly = False

    async def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = await super().run(function, *args, **kwargs)
        if self.is_deadly:
            raise ChildProcessError("child was killed")
        return result


async def test_a_child_that_dies_leaves_nothing(disk: LossyDisk) -> None:
    spawner = DyingSpawner()
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=spawner) as engine:
        spawner.is_deadly = True
        with pytest.raises(ChildProcessError):
            await add_table(engine)
        spawner.is_deadly = False
        assert not tables_of(disk) and await content(engine) == {}
        assert await add_table(engine)


@pytest.mark.parametrize("model", SOUND)
async def test_a_power_cut_leaves_the_whole_table_or_none_and_it_stays_the_oldest(model: CrashModel) -> None:
    options = EngineOptions(memtable_bytes=1 << 20)
    moments: list[tuple[Moment, bool]] = []
    disk, is_done = LossyDisk(), False
    async with await Engine.open(FOLDER, options, files=disk, spawner=TurnSpawner()) as engine:
        await engine.apply(put(b"first")).synced()
        disk.hook = lambda call, path: moments.append((disk.moment(), is_done))
        engine.apply(put(b"second"))

        async def write() -> None:
            engine.apply(put(KEYS[0]))

        assert await add_table(engine, meanwhile=write)
        is_done = True
        await engine.apply(put(b"last")).synced()
        disk.hook = None
    assert len(moments) > 10
    for seed, (moment, was_done) in enumerate(moments):
        left = LossyDisk.after(moment.crash(model, Random(seed)))
        async with await Engine.open(FOLDER, options, files=left, spawner=TurnSpawner()) as engine:
            found = await content(engine)
            assert found[b"first"] == b"batch" and not engine.corrupt_ranges()
            values = [found.get(key) for key in KEYS[1:]]
            assert values == [b"table"] * 59 or (values == [None] * 59 and not was_done)
            engine.apply(put(*KEYS[:5], value=b"newer"))
            await engine.flush()
            await engine.compact_range()
            assert [await engine.get(key) for key in KEYS[:5]] == [b"newer"] * 5


async def test_no_later_batch_has_the_number_of_a_table_after_a_power_cut(disk: LossyDisk) -> None:
    async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
        engine.apply(put(b"never synced by itself"))
        assert await add_table(engine)
        (meta,) = engine._tables.version.tables()
        moment = disk.moment()
    left = LossyDisk.after(moment.crash(CrashModel.PREFIX, Random(1)))
    async with await Engine.open(FOLDER, TINY, files=left, spawner=TurnSpawner()) as engine:
        assert engine.sequence >= meta.last_sequence


def tables_of(disk: LossyDisk) -> list[str]:
    """Tables in the folder, finished or not."""
    found = ((name, parse_name(name)) for name in disk.list(FOLDER))
    return [name for name, parsed in found if parsed is not None and parsed.kind in ("table", "temporary")]
