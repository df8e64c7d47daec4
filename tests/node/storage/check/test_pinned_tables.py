"""Pinned tables hold one moment of the store, whatever the engine merges, drops and deletes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from ringmill.node.storage.check import pinned_tables
from ringmill.node.storage.check.pinned_tables import PinnedTables, opened_copies
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.names import table_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.simulator.disk.engine_trace import FOLDER
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]
START, END = b"key", b"kez"


async def churn(engine: Engine, seed: int, model: dict[bytes, bytes]) -> None:
    random = Random(seed)
    for number in range(500):
        await engine.wait_writable()
        key, batch = b"key%04d" % random.randrange(120), Batch()
        if random.random() < 0.2:
            batch.delete(key)
            model.pop(key, None)
        else:
            model[key] = b"%d of %d " % (number, seed) * 5
            batch.put(key, model[key])
        batch.put(b"outside%d" % number, b"not asked for")
        engine.apply(batch)


async def copied(pinned: PinnedTables, disk: LossyDisk, folder: str) -> None:
    """As a backup does it: the files, piece by piece, and nothing else."""
    disk.mkdir(folder)
    for meta in pinned.tables:
        file = disk.create(f"{folder}/{table_name(meta.file_id)}")
        while piece := await pinned.read(meta.file_id, 1000, file.size):
            file.append(piece)
        assert file.size == meta.size
        file.sync()
        file.close()


async def read(disk: LossyDisk, folder: str, pinned: PinnedTables) -> dict[bytes, bytes]:
    with opened_copies(disk, folder, pinned.edit, pinned.sequence) as copies:
        return {key: value async for rows in copies.scan(START, END) for key, value in rows}


async def test_copies_show_the_moment_of_the_pin(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine, model = await open_engine(), dict[bytes, bytes]()
    await churn(engine, 1, model)
    pinned = await engine.pin_tables(START, END)
    expected = dict(model)
    await churn(engine, 2, model)
    await engine.drop_prefix(b"key00")
    await engine.flush()
    await engine.compact_range()
    named = {meta.file_id for meta in pinned.tables}
    assert not named & {meta.file_id for meta in engine._tables.version.all_tables()}, "all are replaced"
    for _ in range(100):
        await asyncio.sleep(0)  # what nobody holds is deleted
    assert {table_name(file_id) for file_id in named} <= set(disk.list(FOLDER))
    await copied(pinned, disk, "copy")
    pinned.release()
    assert await read(disk, "copy", pinned) == expected
    async with asyncio.timeout(10):  # released tables are deleted
        while {table_name(file_id) for file_id in named} & set(disk.list(FOLDER)):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_of_many_copies_those_are_open_that_are_read(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned_tables, "_AT_ONCE", 4)
    engine, model = await open_engine(), dict[bytes, bytes]()
    for number in range(600):
        await engine.wait_writable()
        batch, key = Batch(), b"key%04d" % number
        batch.put(key, b"value %d " % number * 4)
        engine.apply(batch)
        if not key.startswith(b"key005"):
            model[key] = b"value %d " % number * 4
    await engine.drop_prefix(b"key005")
    await engine.flush()
    await engine.compact_range()
    await churn(engine, 7, model)
    pinned = await engine.pin_tables(START, END)
    expected = {key: model[key] for key in sorted(model)}
    assert len(pinned.tables) > 20
    await copied(pinned, disk, "copy")
    pinned.release()
    most = 0
    with opened_copies(disk, "copy", pinned.edit, pinned.sequence) as copies:
        found = dict[bytes, bytes]()
        async for rows in copies.scan(START, END):
            found.update(rows)
            most = max(most, sum(path.startswith("copy/") for path in disk.opened))
        assert [*found.items()] == [*expected.items()]
        some = [row async for rows in copies.scan(b"key003", b"key007") for row in rows]
        assert some == [row for row in expected.items() if b"key003" <= row[0] < b"key007"]
        assert most <= 12 and sum(path.startswith("copy/") for path in disk.opened) <= 4
    assert not any(path.startswith("copy/") for path in disk.opened)


async def test_whoever_hears_late_that_all_is_flushed_leaves_out_what_came_since(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables that are pinned then hold newer versions, too, and were merged meanwhile."""
    engine, model = await open_engine(), dict[bytes, bytes]()
    await churn(engine, 3, model)
    expected, wait_flushed = dict(model), engine._upkeep.wait_flushed

    async def late(sequence: int) -> None:
        await wait_flushed(sequence)
        await churn(engine, 4, model)
        await engine.flush()
        await engine.compact_range()

    monkeypatch.setattr(engine._upkeep, "wait_flushed", late)
    pinned = await engine.pin_tables(START, END)
    await copied(pinned, disk, "copy")
    assert await read(disk, "copy", pinned) == expected != model
    pinned.release()
    pinned.release()


async def test_what_was_healed_after_the_moment_of_the_pin_may_be_lacking(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The range is whole by what healing wrote since, which does not count (rule H5)."""
    engine = await open_engine()
    wait_flushed = engine._upkeep.wait_flushed
    await engine.fence(START, END)

    async def healed_first(sequence: int) -> None:
        batch = Batch()
        batch.put(b"key", b"of another owner")
        engine.apply(batch)
        for mark in engine.corrupt_ranges():
            await engine.mark_healed(mark)
        await wait_flushed(sequence)

    monkeypatch.setattr(engine._upkeep, "wait_flushed", healed_first)
    pinned = await engine.pin_tables(START, END)
    assert not engine.corrupt_ranges() and pinned.may_lack(START, END)
    pinned.release()


async def test_a_copy_with_another_byte_is_refused(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine, model = await open_engine(), dict[bytes, bytes]()
    await churn(engine, 5, model)
    pinned = await engine.pin_tables(START, END)
    await copied(pinned, disk, "copy")
    assert not pinned.may_lack(START, END)
    path = f"copy/{table_name(max(meta.file_id for meta in pinned.tables))}"
    data = bytearray(disk.read_bytes(path))
    data[len(data) // 3] ^= 1
    disk.unlink(path)
    file = disk.create(path)
    file.append(data)
    file.close()
    with pytest.raises(CorruptBlock, match=path):
        await read(disk, "copy", pinned)
    pinned.release()
