"""Flipping bits in a folder at rest: is the answer right, or is it CorruptData?

`sample_folder` makes a folder with tables, a log and a manifest; `check_flip` changes one byte of one
file, opens an engine there and asks.  Allowed is the right value or an error; a wrong value, a silent
absence or an invented key is not.  The folder was closed in order, so a mark stands behind the last group
of its log: without it, damage there could not be told from the tail of a power cut.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from cluster.errors import CorruptData
from node.storage.engine import Batch, Engine, Options
from node.storage.names import parse_name
from node.storage.table_reader import open_table
from simulator.disk.engine_trace import FOLDER, TINY, InlineSpawner
from simulator.disk.lossy import LossyDisk
from simulator.disk.moment import CrashModel, Moment

__all__ = ["Sample", "check_flip", "sample_folder"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A folder at rest, and what it holds."""

    moment: Moment
    options: Options
    model: dict[bytes, bytes]
    keys: tuple[bytes, ...]  # in order
    files: tuple[tuple[str, int], ...]  # names and sizes
    blocks: Mapping[str, tuple[tuple[int, bytes], ...]]  # of each table: offset and lowest key of its blocks

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)

    def place(self, number: int) -> tuple[str, int]:
        """The file and offset of byte `number` of the folder."""
        for name, size in self.files:
            if number < size:
                return name, number
            number -= size
        raise IndexError(number)

    def near(self, name: str, offset: int, many: int) -> tuple[bytes, ...]:
        """Up to `many` keys in a row, those that a damage there may touch among them."""
        blocks = self.blocks.get(name)
        if blocks is None:
            first = Random(offset).randrange(len(self.keys))
        else:
            lowest = blocks[bisect_right(blocks, (offset, b"\xff")) - 1][1]
            first = bisect_left(self.keys, lowest) - many // 3
        first = max(0, min(first, len(self.keys) - many))
        return self.keys[first : first + many]


async def sample_folder(seed: int, size: int) -> Sample:
    """A closed folder of about `size` bytes, most of them in about ten tables."""
    options = replace(
        TINY, memtable_bytes=size // 5, table_bytes=size // 10, level1_bytes=size // 4, block_bytes=400
    )
    random, model, disk = Random(seed), dict[bytes, bytes](), LossyDisk()
    async with await Engine.open(FOLDER, options, files=disk, spawner=InlineSpawner()) as engine:
        while engine.stats().table_bytes < size - 1000:
            await engine.wait_writable()
            batch, key = Batch(), b"key%05d" % random.randrange(size // 40)
            if random.random() < 0.1:
                batch.delete(key)
                model.pop(key, None)
            else:
                model[key] = random.randbytes(random.randrange(80))
                batch.put(key, model[key])
            await engine.apply(batch).buffered()
        await engine.settle()
    await (
        await Engine.open(FOLDER, options, files=disk, spawner=InlineSpawner())
    ).close()  # a short manifest
    names = [f"{FOLDER}/{name}" for name in disk.list(FOLDER)]
    files = tuple((name, disk.size(name)) for name in names)
    blocks = {name: _blocks_of(disk, name) for name in names if name.endswith(".sst")}
    return Sample(disk.moment(), options, model, tuple(sorted(model)), files, blocks)


def _blocks_of(disk: LossyDisk, name: str) -> tuple[tuple[int, bytes], ...]:
    named = parse_name(name.rpartition("/")[2])
    assert named is not None, name
    table = open_table(disk, FOLDER, named.file_id)
    try:
        return tuple((handle.offset, table.bounds(at)[0]) for at, handle in enumerate(table.handles))
    finally:
        table.close()


async def check_flip(sample: Sample, number: int, mask: int, *, most_keys: int) -> str:
    """Flip `mask` in byte `number` of the folder; ask for up to `most_keys` keys around the damage, in a row
    both ways and one by one.

    "right", "some corrupt" or "refused to open".  Raises AssertionError for any other answer.
    """
    disk = LossyDisk.after(sample.moment.crash(CrashModel.PREFIX, Random(0)))
    name, offset = sample.place(number)
    disk.flip(name, offset, mask)
    story = f"byte {offset} of {name} ^ {mask:#x}"
    try:
        engine = await Engine.open(FOLDER, sample.options, files=disk, spawner=InlineSpawner())
    except CorruptData:
        return "refused to open"
    async with engine:
        asked = sample.near(name, offset, most_keys)
        corrupt = await _check_scan(engine, sample, asked, story, reverse=False)
        corrupt |= await _check_scan(engine, sample, asked, story, reverse=True)
        for key in (*asked[:: max(1, len(asked) // 30)], b"absent", b"key", b"zzz"):
            try:
                found = await engine.get(key)
            except CorruptData:
                corrupt = True
            else:
                assert found == sample.model.get(key), f"{story}: {key!r} is {found!r}"
    return "some corrupt" if corrupt else "right"


async def _check_scan(
    engine: Engine, sample: Sample, asked: tuple[bytes, ...], story: str, *, reverse: bool
) -> bool:
    """Scan the range of the asked keys; True when the scan ended at damage."""
    seen: list[bytes] = []
    expected = list(reversed(asked) if reverse else asked)
    try:
        async for key, value in engine.scan(asked[0], asked[-1] + b"\0", reverse=reverse):
            assert sample.model.get(key) == value, f"{story}: a scan gave {key!r} = {value!r}"
            seen.append(key)
    except CorruptData:
        assert seen == expected[: len(seen)], f"{story}: a scan left something out"
        return True
    assert seen == expected, f"{story}: a scan left something out"
    return False
