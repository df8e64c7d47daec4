"""What a healer is given: the ranges that were marked, what can be read there, and the word "healed"."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.read import reading
from ringmill.node.storage.read.lookup import find_off_loop
from ringmill.node.storage.storage_errors import CorruptBlock, CorruptRange
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version import CorruptMark, VersionEdit, without
from ringmill.node.storage.version.version_set import View
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk

OpenEngine = Callable[..., Awaitable[Engine]]
CALM = replace(TINY, memtable_bytes=1 << 20, table_bytes=1 << 20, level0_tables=8, compression="none")
KEYS = [b"key%03d" % number for number in range(60)]
PATIENCE_S = 10


async def write(engine: Engine, keys: list[bytes], value: bytes) -> None:
    batch = Batch()
    for key in keys:
        batch.put(key, value)
    await engine.apply(batch).synced()


def tables_of(disk: LossyDisk) -> list[str]:
    return [f"{FOLDER}/{name}" for name in disk.list(FOLDER) if name.endswith(".sst")]


async def marked(disk: LossyDisk, engine: Engine) -> CorruptMark:
    """An old table without damage, a newer one whose first block is damaged and marked."""
    await write(engine, KEYS, b"old" * 8)
    await engine.flush()
    await write(engine, KEYS, b"new" * 8)
    await engine.flush()
    disk.flip(tables_of(disk)[-1], 30, 1)
    with pytest.raises(CorruptBlock):
        await engine.get(KEYS[0])
    async with asyncio.timeout(PATIENCE_S):
        await engine.damage_found.wait()
        engine.damage_found.clear()
    (mark,) = engine.corrupt_ranges()
    return mark


async def test_a_read_that_meets_damage_rings_the_bell_for_the_healer(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    assert not engine.damage_found.is_set()
    await marked(disk, engine)
    assert not engine.damage_found.is_set()
    await engine.close()
    again = await open_engine(CALM)
    assert again.damage_found.is_set()


async def test_survivors_are_the_newest_values_that_can_still_be_read(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    lost = [key for key in KEYS if mark.covers(key)]
    assert 0 < len(lost) < len(KEYS)
    await write(engine, lost[:1], b"written since")
    expected = {key: b"old" * 8 if mark.covers(key) else b"new" * 8 for key in KEYS}
    expected[lost[0]] = b"written since"
    assert {key: await engine.survivor(key) for key in KEYS} == expected
    assert [pair async for pair in engine.survivors()] == sorted(expected.items())
    assert [key async for key, _ in engine.survivors(KEYS[3], KEYS[7])] == KEYS[3:7]
    assert await engine.survivor(b"never written") is None


async def test_a_block_that_is_damaged_just_now_is_passed_over_by_survivors(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    await write(engine, KEYS, b"old" * 8)
    await engine.flush()
    await write(engine, KEYS[::2], b"new" * 8)
    engine.apply(_deletion(KEYS[-1]))
    await engine.flush()
    disk.flip(tables_of(disk)[-1], 30, 1)
    found = dict([pair async for pair in engine.survivors()])
    assert found.keys() == set(KEYS[:-1])
    assert found[KEYS[0]] == b"old" * 8
    async with asyncio.timeout(PATIENCE_S):
        await engine.damage_found.wait()
        engine.damage_found.clear()


async def test_a_mark_is_healed_piece_by_piece_and_each_piece_survives_a_restart(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    lost = [key for key in KEYS if mark.covers(key)]
    await engine.mark_healed(mark, lost[1], lost[2])
    assert await engine.get(lost[1]) == b"old" * 8
    assert len(engine.corrupt_ranges()) == 2
    await engine.mark_healed(mark, b"", lost[1])  # the whole mark, of which less is left, may be named again
    assert await engine.get(lost[0]) == b"old" * 8
    assert not engine.damage_found.is_set()  # what is left was known before
    await engine.close()
    again = await open_engine(CALM)
    assert again.damage_found.is_set()
    assert await again.get(lost[0]) == await again.get(lost[1]) == b"old" * 8
    with pytest.raises(CorruptRange):
        await again.get(lost[2])
    (left,) = again.corrupt_ranges()
    assert (left.start, left.end) == (lost[2], mark.end)
    await again.mark_healed(left)
    assert not again.corrupt_ranges()
    assert await again.get(lost[2]) == b"old" * 8


async def test_what_is_left_of_a_mark_is_not_news_to_a_reader_while_it_is_written_down(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    lost = [key for key in KEYS if mark.covers(key)]
    commit = TableInstaller.commit

    async def look_beside(installer: TableInstaller, edit: VersionEdit, *rest: Any) -> None:
        engine._on_change()  # as a flush does that has just ended
        await commit(installer, edit, *rest)
        engine._on_change()

    monkeypatch.setattr(TableInstaller, "commit", look_beside)
    await engine.mark_healed(mark, lost[1], lost[2])
    assert len(engine.corrupt_ranges()) == 2
    assert not engine.damage_found.is_set()


async def heal(engine: Engine, mark: CorruptMark) -> None:
    """As a healer does: what other copies hold is written before the range is readable."""
    await write(engine, [key for key in KEYS if mark.covers(key)], b"healed")
    await engine.mark_healed(mark)


async def test_a_get_that_began_before_a_heal_does_not_show_what_survived(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)

    async def slow(
        view: View, cache: BlockCache, key: bytes, sequence: int
    ) -> tuple[int, bytes | None] | None:
        found = await find_off_loop(view, cache, key, sequence)
        await heal(engine, mark)
        return found

    monkeypatch.setattr(reading, "find_off_loop", slow)
    with pytest.raises(CorruptRange):
        await engine.get(KEYS[0])
    assert await engine.get(KEYS[0]) == b"healed"


async def test_a_scan_that_began_before_a_heal_does_not_show_what_survived(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    shown = list[tuple[bytes, bytes]]()
    with pytest.raises(CorruptRange):
        async for key, value in engine.scan(reverse=True):
            if not shown:
                await heal(engine, mark)
            shown.append((key, value))
    assert shown
    assert not [key for key, _ in shown if mark.covers(key)]
    assert dict([pair async for pair in engine.scan()])[KEYS[0]] == b"healed"


async def test_a_snapshot_from_before_a_heal_does_not_show_what_survived(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    with engine.snapshot() as before:
        await heal(engine, mark)
        with pytest.raises(CorruptRange):
            await engine.get(KEYS[0], snapshot=before)
        with pytest.raises(CorruptRange):
            _ = [pair async for pair in engine.scan(snapshot=before)]
        assert await engine.get(KEYS[-1], snapshot=before) == b"new" * 8
        with engine.snapshot() as behind:
            assert dict([pair async for pair in engine.scan(snapshot=behind)])[KEYS[0]] == b"healed"


async def test_a_snapshot_does_not_speak_for_what_was_lost_though_nothing_is_written_in_its_place(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    """As where the loss is accepted: the snapshot is of the last batch, and so is the store."""
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    with engine.snapshot() as before:
        await engine.mark_healed(mark)
        assert not engine.may_lack(KEYS[0], KEYS[-1])
        assert engine.may_lack(KEYS[0], KEYS[1], before)
        assert not engine.may_lack(KEYS[-1], KEYS[-1] + b"z", before)
        with engine.snapshot() as behind:
            assert behind.sequence == before.sequence
            assert not engine.may_lack(KEYS[0], KEYS[1], behind)


async def test_a_mark_that_came_while_another_was_healed_stays(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    mark = await marked(disk, engine)
    await engine.mark_healed(replace(mark, sequence=mark.sequence - 1))
    await engine.mark_healed(replace(mark, sequence=mark.sequence - 1), KEYS[1], KEYS[2])
    assert engine.corrupt_ranges() == (mark,)


async def test_an_engine_tells_whether_and_why_it_is_read_only(
    disk: LossyDisk, open_engine: OpenEngine
) -> None:
    engine = await open_engine(CALM)
    assert engine.read_only_reason is None
    await engine.close()
    disk.capacity = disk.used + 1000
    full = await open_engine(CALM)
    assert full.read_only_reason is not None
    assert "read-only" in full.read_only_reason


def _deletion(key: bytes) -> Batch:
    batch = Batch()
    batch.delete(key)
    return batch


keys = st.binary(max_size=2)
ends = st.one_of(st.none(), keys)


@given(keys, ends, keys, ends, keys)
def test_what_is_left_of_a_mark_covers_what_it_covered_but_for_the_healed_part(
    start: bytes, end: bytes | None, healed: bytes, healed_end: bytes | None, key: bytes
) -> None:
    left = without(CorruptMark(start, end, 7), healed, healed_end)
    is_healed = healed <= key and (healed_end is None or key < healed_end)
    assert any(piece.covers(key) for piece in left) == (
        CorruptMark(start, end, 7).covers(key) and not is_healed
    )
    assert len(left) <= 2
