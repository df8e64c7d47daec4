"""Flipping bits in a folder at rest: is the answer right, or is it CorruptData?

`sample_folder` makes a folder with tables, a log and a manifest; `check_flip` changes one byte of one
file, opens an engine there and asks.  Allowed is the right value or an error; a wrong value, a silent
absence or an invented key is not.  The folder was closed in order, so a mark stands behind the last group
of its log: without it, damage there could not be told from the tail of a power cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from cluster.errors import CorruptData
from node.storage.engine import Batch, Engine, Options
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
    return Sample(disk.moment(), options, model, tuple(sorted(model)), files)


async def check_flip(sample: Sample, number: int, mask: int, *, most_keys: int) -> str:
    """Flip `mask` in byte `number` of the folder; ask for up to `most_keys` keys one by one and in a row.

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
        first = Random(number).randrange(max(1, len(sample.keys) - most_keys))
        asked = sample.keys[first : first + most_keys]
        corrupt = await _check_scan(engine, sample, asked, story)
        for key in (*asked[:: max(1, len(asked) // 10)], b"absent", b"key", b"zzz"):
            try:
                found = await engine.get(key)
            except CorruptData:
                corrupt = True
            else:
                assert found == sample.model.get(key), f"{story}: {key!r} is {found!r}"
    return "some corrupt" if corrupt else "right"


async def _check_scan(engine: Engine, sample: Sample, asked: tuple[bytes, ...], story: str) -> bool:
    """Scan the range of the asked keys; True when the scan ended at damage."""
    seen: list[bytes] = []
    try:
        async for key, value in engine.scan(asked[0], asked[-1] + b"\0"):
            assert sample.model.get(key) == value, f"{story}: a scan gave {key!r} = {value!r}"
            seen.append(key)
    except CorruptData:
        assert seen == list(asked[: len(seen)]), f"{story}: a scan left something out"
        return True
    assert seen == list(asked), f"{story}: a scan left something out"
    return False
