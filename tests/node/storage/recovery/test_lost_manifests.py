"""A folder whose manifest or CURRENT is damaged opens, fenced, with all that was there for the healer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import ParamSpec, TypeVar

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.ingest import TablePlace, write_table
from ringmill.node.storage.log.framing import Record, frame, read_records
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.recovery import opening, salvage, salvaged_tables
from ringmill.node.storage.storage_errors import CorruptRange
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment

OpenEngine = Callable[..., Awaitable[Engine]]
Model = dict[bytes, bytes]
P = ParamSpec("P")
T = TypeVar("T")
CALM = replace(TINY, memtable_bytes=1 << 20)
FEW = replace(TINY, level0_tables=100, slow_at_tables=100, stop_at_tables=100)


def files_of(disk: LossyDisk, kind: str) -> list[str]:
    return [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if kind in name]


async def put(engine: Engine, key: bytes, value: bytes) -> None:
    batch = Batch()
    batch.put(key, value)
    await engine.wait_writable()
    await engine.apply(batch).synced()


async def delete(engine: Engine, key: bytes) -> None:
    batch = Batch()
    batch.delete(key)
    await engine.apply(batch).synced()


async def fill(engine: Engine, seed: int, operations: int = 250) -> Model:
    """Puts, deletions, flushes and merges; what the store holds then."""
    random, model = Random(seed), Model()
    for number in range(operations):
        key = b"key%03d" % random.randrange(80)
        if random.random() < 0.2:
            model.pop(key, None)
            await engine.wait_writable()
            await delete(engine, key)
        else:
            model[key] = b"value %d" % number
            await put(engine, key, model[key])
    await engine.wait_idle()
    return model


async def kill(engine: Engine) -> None:
    assert engine._runner is not None
    engine._runner.cancel()
    engine._runner = None
    engine._lock.release()  # as the system does for a process that was killed


def destroy_manifests(disk: LossyDisk) -> None:
    for path in files_of(disk, "MANIFEST"):
        disk.flip(path, 60, 0x40)  # in the edit that makes all out of nothing


async def expect_fenced(engine: Engine) -> None:
    for key in (b"key001", b"never written"):
        with pytest.raises(CorruptRange):
            await engine.get(key)
    with pytest.raises(CorruptRange):
        _ = [pair async for pair in engine.scan()]


@pytest.mark.parametrize("seed", range(6))
async def test_without_a_manifest_the_newest_value_of_every_key_survives_and_heals(
    disk: LossyDisk, open_engine: OpenEngine, seed: int
) -> None:
    engine = await open_engine(TINY)
    model = await fill(engine, seed)
    highest = engine.sequence
    await engine.close()
    destroy_manifests(disk)
    again = await open_engine(TINY)
    assert again.sequence > highest
    await expect_fenced(again)
    assert dict([pair async for pair in again.survivors()]) == model
    for key in (b"key%03d" % number for number in range(80)):
        assert await again.survivor(key) == model.get(key)
    await put(again, b"key040", b"since")
    model[b"key040"] = b"since"
    (mark,) = again.corrupt_ranges()
    await again.mark_healed(mark, b"", b"key030")
    assert [pair async for pair in again.scan(b"", b"key030")] == [
        pair for pair in sorted(model.items()) if pair[0] < b"key030"
    ]
    await again.wait_idle()
    await again.close()
    third = await open_engine(TINY)
    assert dict([pair async for pair in third.survivors()]) == model
    (mark,) = third.corrupt_ranges()
    await third.mark_healed(mark)
    assert dict([pair async for pair in third.scan()]) == model
    assert not third._tables.version.salvaged
    await third.compact_range()
    assert dict([pair async for pair in third.scan()]) == model


@pytest.mark.parametrize("is_flushed", [True, False])
async def test_a_folder_that_was_healed_is_whole_at_the_next_start(
    disk: LossyDisk, open_engine: OpenEngine, is_flushed: bool
) -> None:
    engine = await open_engine(CALM)
    for number in range(50):
        await put(engine, b"key%03d" % number, b"value")
    if is_flushed:
        await engine.flush()
    await engine.close()
    destroy_manifests(disk)
    again = await open_engine(CALM)
    await expect_fenced(again)
    (mark,) = again.corrupt_ranges()
    await again.mark_healed(mark)
    await again.close()
    third = await open_engine(CALM)
    assert not third.corrupt_ranges()
    assert len([pair async for pair in third.scan()]) == 50
    await put(third, b"since", b"1")
    await kill(third)
    fourth = await Engine.open(FOLDER, CALM, files=disk.after_kill(), spawner=TurnSpawner())
    assert not fourth.corrupt_ranges()
    assert await fourth.get(b"since") == b"1"
    await fourth.close()


def made(files: FileSystem, place: TablePlace, keys: list[bytes]) -> tuple[TableMeta | None, None]:
    return write_table(files, place, keys, [b"ingested"] * len(keys)), None


async def test_what_the_logs_hold_survives_beside_a_table_that_was_added_later(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    await put(engine, b"x", b"old")
    await engine.flush()
    await put(engine, b"x", b"new")
    await put(engine, b"y", b"in the log alone")
    ingest = engine.ingest()
    await ingest.make(made, [b"z1", b"z2"])
    assert await ingest.add(lambda: None)
    ingest.discard()
    await engine.close()
    destroy_manifests(disk)
    again = await open_engine(CALM)
    assert dict([pair async for pair in again.survivors()]) == {
        b"x": b"new", b"y": b"in the log alone", b"z1": b"ingested", b"z2": b"ingested",
    }  # fmt: skip


async def test_what_was_deleted_since_the_salvage_stays_deleted(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    model = await fill(engine, 1)
    await engine.close()
    destroy_manifests(disk)
    again = await open_engine(TINY)
    gone, dropped = sorted(model)[3], b"key07"
    await delete(again, gone)
    await (await again.drop_prefix(dropped)).synced()
    await again.flush()
    await again.compact_range()  # the deletion has nothing to hide here, but in what was salvaged
    await again.wait_idle()
    (mark,) = again.corrupt_ranges()
    await again.mark_healed(mark)
    expected = {key: value for key, value in model.items() if key != gone and not key.startswith(dropped)}
    assert dict([pair async for pair in again.scan()]) == expected


@pytest.mark.parametrize("harm", ["missing", "flip", "empty"])
async def test_a_lost_current_costs_nothing_while_the_newest_manifest_is_whole(
    disk: LossyDisk, open_engine: OpenEngine, harm: str
) -> None:
    engine = await open_engine(TINY)
    model = await fill(engine, 2)
    await engine.close()
    match harm:
        case "missing":
            disk.unlink(f"{FOLDER}/CURRENT")
        case "flip":
            disk.flip(f"{FOLDER}/CURRENT", 12, 1)
        case _:
            disk.truncate(f"{FOLDER}/CURRENT", 0)
    again = await open_engine(TINY)
    assert not again.corrupt_ranges()
    assert dict([pair async for pair in again.scan()]) == model


@pytest.mark.parametrize("harm", ["all manifests", "all but tables", "all but logs"])
async def test_whatever_is_left_of_a_folder_opens(
    disk: LossyDisk, open_engine: OpenEngine, harm: str
) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 3)
    await put(engine, b"in the log", b"1")
    await engine.close()
    doomed = {"all manifests": ("MANIFEST",), "all but tables": ("MANIFEST", "CURRENT", ".log")}
    for kind in doomed.get(harm, ("MANIFEST", "CURRENT", ".sst")):
        for path in files_of(disk, kind):
            disk.unlink(path)
    again = await open_engine(TINY)
    await expect_fenced(again)
    await put(again, b"since", b"1")
    await again.flush()
    await again.close()
    third = await open_engine(TINY)
    assert await third.get(b"since") == b"1"
    await expect_fenced(third)


async def test_numbers_of_files_go_on_above_all_that_may_have_been_reserved(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 4)
    taken = await engine._tables.take_ids(5000)
    await engine.close()
    destroy_manifests(disk)
    again = await open_engine(TINY)
    assert (await again._tables.take_ids(1))[0] > taken[-1]


async def test_damaged_manifests_are_kept_aside(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(TINY)
    await fill(engine, 5)
    await engine.close()
    destroy_manifests(disk)
    damaged = {path: disk.read_bytes(path) for path in files_of(disk, "MANIFEST")}
    assert damaged
    await open_engine(TINY)
    for path, content in damaged.items():
        assert disk.read_bytes(path.replace("/", "/quarantine/")) == content


async def test_an_edit_that_rots_at_the_end_is_not_a_power_cut(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(FEW)
    await put(engine, b"key1", b"old")
    await engine.flush()
    await put(engine, b"key1", b"new")
    await engine.flush()
    manifest = files_of(disk, "MANIFEST")[-1]
    end = disk.size(manifest)
    await put(engine, b"key2", b"1")
    assert disk.size(manifest) == end
    await kill(engine)
    model = {b"key1": b"new", b"key2": b"1"}
    for at in range(end - 1, 0, -1):
        hurt = disk.after_kill()
        hurt.flip(manifest, at, 1)
        async with await Engine.open(FOLDER, FEW, files=hurt, spawner=TurnSpawner()) as again:
            for key, value in model.items():
                try:
                    assert await again.get(key) == value
                except CorruptData:
                    assert await again.survivor(key) == value


async def test_a_power_cut_at_any_call_of_a_start_beside_damage_loses_nothing_more(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(TINY)
    model = await fill(engine, 6, 120)
    await engine.close()
    destroy_manifests(disk)
    moments: list[Moment] = []
    disk.hook = lambda call, path: moments.append(disk.moment())
    again = await open_engine(TINY)
    await put(again, b"since", b"1")
    await again.wait_idle()
    (mark,) = again.corrupt_ranges()
    await again.mark_healed(mark, b"", b"key040")
    await again.close()
    disk.hook = None
    assert len(moments) > 10
    models = [model for model in CrashModel if model is not CrashModel.LYING]
    for number, moment in enumerate(moments):
        left = LossyDisk.after(moment.crash(models[number % len(models)], Random(number)))
        async with await Engine.open(FOLDER, TINY, files=left, spawner=TurnSpawner()) as third:
            found = dict([pair async for pair in third.survivors()])
            assert {key: found.get(key) for key in model} == model, number
            assert found.keys() - model.keys() <= {b"since"}
            (mark,) = third.corrupt_ranges()
            assert mark.end is None


class LeavesChildren:
    """Runs children here; while `is_holding`, a node is killed before its child has made its file."""

    def __init__(self) -> None:
        self.is_holding = False
        self.held: list[int] = []  # numbers of files that such a child may still write

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.is_holding:
            self.held += [each for job in args for each in getattr(job, "file_ids", ())]
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return function(*args, **kwargs)


async def numbers_given_twice(disk: LossyDisk) -> list[int]:
    """Of files, after eight starts on damaged manifests, four of them killed with a child at work."""
    given: list[int] = []

    def remember(call: str, path: str) -> None:
        named = parse_name(path.rpartition("/")[2])
        if call == "create" and named is not None and "CURRENT" not in path:
            given.append(named.file_id)

    disk.hook = remember
    random, spawner = Random(1), LeavesChildren()
    for number in range(8):
        engine = await Engine.open(FOLDER, TINY, files=disk, spawner=spawner)
        await fill(engine, random.randrange(100), 60)
        if number % 2:
            await engine.close()
        else:
            before, spawner.is_holding = len(spawner.held), True
            while len(spawner.held) == before:
                await put(engine, b"key", bytes(50))
            await kill(engine)
            spawner.is_holding = False
        for path in files_of(disk, "MANIFEST") + files_of(disk, "CURRENT"):
            disk.flip(path, random.randrange(disk.size(path)), 1)
    assert len(given) > 20
    return [each for each, times in Counter(given + spawner.held).items() if times > 1]


async def test_a_number_is_never_given_twice_beside_damage(disk: LossyDisk) -> None:
    assert await numbers_given_twice(disk) == []


async def test_without_going_on_far_above_a_number_would_be_given_twice(
    disk: LossyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safeguard switched off: a start goes on above the numbers that it finds."""
    monkeypatch.setattr(salvage, "FRESH_IDS", 0)
    monkeypatch.setattr(opening, "FRESH_IDS", 0)
    assert await numbers_given_twice(disk) != []


async def test_without_comparing_versions_an_old_value_would_survive(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safeguard switched off: the oldest table wins, whatever the versions say."""
    seen = 0
    for seed in range(6):
        fresh = LossyDisk()
        async with await Engine.open(FOLDER, TINY, files=fresh, spawner=TurnSpawner()) as engine:
            model = await fill(engine, seed)
        destroy_manifests(fresh)
        monkeypatch.setattr(salvaged_tables, "_rank", lambda head, table: (0, False, -table.file_id))
        async with await Engine.open(FOLDER, TINY, files=fresh, spawner=TurnSpawner()) as again:
            seen += dict([pair async for pair in again.survivors()]) != model
        monkeypatch.undo()
    assert seen


async def test_a_manifest_of_version_1_is_read(disk: LossyDisk, open_engine: OpenEngine) -> None:
    engine = await open_engine(TINY)
    model = await fill(engine, 8)
    await engine.close()
    manifest = files_of(disk, "MANIFEST")[-1]
    named = parse_name(manifest.rpartition("/")[2])
    assert named is not None
    items = read_records(named.file_id, disk.read_bytes(manifest))
    records = [item.payload for item in items if isinstance(item, Record)]
    disk.truncate(manifest, 0)
    file = disk.open_append(manifest)
    for number, payload in enumerate(records):
        former = payload[:9] + b"\1\0" + payload[11:]
        if number:
            former = payload[:9] + msgpack.packb(msgpack.unpackb(payload[9:])[:9])
        file.append(frame(named.file_id, disk.size(manifest), former))
    file.sync()
    again = await open_engine(TINY)
    assert not again.corrupt_ranges()
    assert dict([pair async for pair in again.scan()]) == model
