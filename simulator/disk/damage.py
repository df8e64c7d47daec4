"""Flips bits in a folder at rest and checks that each answer is right or CorruptData.

`sample_folder` makes a folder with tables, a log and a manifest; `check_flip` changes one byte of one
file, opens an engine there, which never fails, and asks.  Allowed is the right value or an error; a wrong
value, a silent absence or an invented key is not.  The folder was closed in order, so a mark stands behind
the last group of its log: without it, damage there could not be told from the tail of a power cut.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.node.storage.names import parse_name
from ringmill.node.storage.table.table_format import TRAILER_BYTES
from ringmill.node.storage.table.table_reader import open_table
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment

__all__ = ["Sample", "check_flip", "check_flips", "sample_folder"]


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of a table: one data block, which holds keys from `low` to `high`, both included."""

    start: int
    end: int
    low: bytes
    high: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """A folder at rest, and what it holds."""

    moment: Moment
    options: EngineOptions
    model: dict[bytes, bytes]
    keys: tuple[bytes, ...]  # in order, those that were deleted among them
    files: tuple[tuple[str, int], ...]  # names and sizes
    blocks: Mapping[str, tuple[Span, ...]]  # of each table

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

    def touched(self, name: str, offset: int) -> tuple[bytes, ...]:
        """Every key whose answer a damage there may change: those of one block, or all of them."""
        for span in self.blocks.get(name, ()):
            if span.start <= offset < span.end:
                return self.keys[bisect_left(self.keys, span.low) : bisect_right(self.keys, span.high)]
        return self.keys


async def sample_folder(seed: int, size: int) -> Sample:
    """A closed folder of about `size` bytes: some ten tables, a log, at most 1,600 keys."""
    most_bytes = max(80, size // 800)
    options = replace(
        TINY,
        memtable_bytes=size // 5,
        table_bytes=size // 10,
        level1_bytes=size // 4,
        block_bytes=5 * most_bytes,
    )
    random, model, disk = Random(seed), dict[bytes, bytes](), LossyDisk()
    keys = [b"key%05d" % number for number in range(2 * size // most_bytes)]

    async def write(engine: Engine) -> None:
        await engine.wait_writable()
        batch, key = Batch(), random.choice(keys)
        if random.random() < 0.1:
            batch.delete(key)
            model.pop(key, None)
        else:
            model[key] = random.randbytes(random.randrange(most_bytes))
            batch.put(key, model[key])
        await engine.apply(batch).buffered()

    async with await Engine.open(FOLDER, options, files=disk, spawner=TurnSpawner()) as engine:
        while engine.stats().table_bytes < size * 7 // 8:
            await write(engine)
        await engine.wait_idle()
        while engine.stats().memtable_bytes < size // 16:
            await write(engine)
    # opened and closed once more: a short manifest, and marks on both sides of a log's end
    await (await Engine.open(FOLDER, options, files=disk, spawner=TurnSpawner())).close()
    names = [f"{FOLDER}/{name}" for name in disk.list(FOLDER)]
    files = tuple((name, disk.size(name)) for name in names)
    blocks = {name: _blocks_of(disk, name) for name in names if name.endswith(".sst")}
    return Sample(disk.moment(), options, model, tuple(keys), files, blocks)


def _blocks_of(disk: LossyDisk, name: str) -> tuple[Span, ...]:
    named = parse_name(name.rpartition("/")[2])
    assert named is not None, name
    table = open_table(disk, FOLDER, named.file_id)
    try:
        return tuple(
            Span(handle.offset, handle.offset + handle.size + TRAILER_BYTES, *table.bounds(at))
            for at, handle in enumerate(table.handles)
        )
    finally:
        table.close()


async def check_flip(sample: Sample, number: int, mask: int) -> str:
    """Flip `mask` in byte `number` of the folder, open it, and ask for all that the damage may touch: in a
    row both ways, and key by key.

    "right" or "some corrupt".  Raises AssertionError for any other answer, one that does not open included.
    """
    return await check_flips(sample, [(number, mask)])


async def check_flips(
    sample: Sample, hits: Sequence[tuple[int, int]], *, bad: Sequence[int] = (), reopens: int = 0
) -> str:
    """Check what a store answers after several flips at once.

    It is checked `reopens` times more, each after a write and a kill.  The sectors of the `bad` bytes cannot
    be read.
    """
    disk = LossyDisk.after(sample.moment.crash(CrashModel.PREFIX, Random(0)))
    places = [(*sample.place(number), mask) for number, mask in hits]
    for name, offset, mask in places:
        disk.flip(name, offset, mask)
    story = ", ".join(f"byte {offset} of {name} ^ {mask:#x}" for name, offset, mask in places)
    asked = tuple(sorted({key for name, offset, _ in places for key in sample.touched(name, offset)}))
    for name, offset in map(sample.place, bad):
        disk.spoil(name, offset)
        story += f" the sector of byte {offset} of {name}"
        asked = sample.keys
    model, written = dict(sample.model), dict[bytes, bytes]()
    is_corrupt = False
    for number in range(reopens + 1):
        try:
            engine = await Engine.open(FOLDER, sample.options, files=disk, spawner=TurnSpawner())
        except CorruptData as error:
            raise AssertionError(f"{story}: opening {number}: {error}") from error
        async with engine:
            is_corrupt |= await _check_all(engine, model, asked, f"{story}: opening {number}")
            for key, value in written.items():
                assert await engine.get(key) == value, f"{story}: {key!r} was written since"
            if number < reopens:
                key = asked[number * 7919 % len(asked)]
                written[key] = model[key] = b"since %d" % number
                batch = Batch()
                batch.put(key, written[key])
                await engine.wait_writable()
                await engine.apply(batch).synced()
                disk = disk.after_kill()
    return "some corrupt" if is_corrupt else "right"


async def _check_all(
    engine: Engine, model: Mapping[bytes, bytes], asked: tuple[bytes, ...], story: str
) -> bool:
    is_corrupt = await _check_scan(engine, model, asked, story, reverse=False)
    is_corrupt |= await _check_scan(engine, model, asked, story, reverse=True)
    for key in (*asked, b"key", b"zzz"):
        try:
            found = await engine.get(key)
        except CorruptData:
            is_corrupt = True
        else:
            assert found == model.get(key), f"{story}: {key!r} is {found!r}"
    return is_corrupt


async def _check_scan(
    engine: Engine, model: Mapping[bytes, bytes], asked: tuple[bytes, ...], story: str, *, reverse: bool
) -> bool:
    """Scan the range of the asked keys; True when the scan ended at damage."""
    seen: list[bytes] = []
    expected = [key for key in (reversed(asked) if reverse else asked) if key in model]
    try:
        async for key, value in engine.scan(asked[0], asked[-1] + b"\0", reverse=reverse):
            assert model.get(key) == value, f"{story}: a scan gave {key!r} = {value!r}"
            seen.append(key)
    except CorruptData:
        assert seen == expected[: len(seen)], f"{story}: a scan left something out"
        return True
    assert seen == expected, f"{story}: a scan left something out"
    return False
