"""Loading a job's output into a keyspace: window by window, under names that the journal knows first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import msgpack
import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData, InvalidArgument, QuorumNotReached, RingmillError
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.files.keyspace_records import encode_records
from ringmill.cluster.mapreduce.machine.job_events import NOT_LOADED, LoadMoved
from ringmill.node.jobs.keyspaces import loading
from ringmill.node.jobs.keyspaces.loading import Loader
from tests.node.held_keyspaces import HeldKeyspaces
from tests.traced_memory import TracedMemory

KEYS = [b"k%d" % number for number in range(10)]
VALUES = {key: [key.upper()] for key in KEYS}


class Bench:
    """Two parts of five records; windows of four."""

    def __init__(self, folder: Path, files: OsFileSystem) -> None:
        self.folder = folder
        self.files = files
        self.keyspaces = HeldKeyspaces(index="siblings")
        self.told: list[LoadMoved | int] = []  # marks, and the number of puts by then
        self.delays: list[RingmillError] = []
        self.parts = [self.part(number, KEYS[5 * number : 5 * number + 5]) for number in range(2)]

    def part(self, number: int, keys: list[bytes]) -> StagedPart:
        data = encode_records((key, VALUES[key]) for key in keys)
        path = self.folder / f"part-{number}"
        path.write_bytes(data)
        return StagedPart(number, str(path), len(data), google_crc32c.value(data), len(keys), path.name)

    def replace(self, path: Path, kind: str) -> None:
        kept = path.rename(self.folder / "kept")
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(kept if kind == "link" else "/dev/zero")

    def loader(self) -> Loader:
        return Loader(
            "index", KeyspaceId(1, 1), self.parts, name="job-1.1.1", window=4, keyspaces=self.keyspaces,
            files=self.files, moved=self.moved, delayed=self.delays.append, rest=lambda: asyncio.sleep(0),
        )  # fmt: skip

    async def moved(self, mark: LoadMoved) -> None:
        await asyncio.sleep(0)
        self.told += [mark, len(self.keyspaces.puts)]

    async def cut_after(self, puts: int) -> LoadMoved:
        """A coordinator that ends after some puts; returns the last mark that it has kept."""
        running = asyncio.create_task(self.loader().run(NOT_LOADED))
        while len(self.keyspaces.puts) < puts:  # noqa: ASYNC110 - a turn of the loop each
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [each for each in self.told if isinstance(each, LoadMoved)][-1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(loading, "AT_A_TIME", 1)
    monkeypatch.setattr(loading, "failure_pause_s", lambda seed, failures: 0.0)
    return Bench(tmp_path, OsFileSystem())


async def test_a_window_is_noted_before_its_first_put(bench: Bench) -> None:
    await bench.loader().run(NOT_LOADED)
    assert bench.keyspaces.held["index"] == VALUES
    marks = [each for each in bench.told if isinstance(each, LoadMoved)]
    assert [mark.records for mark in marks] == [0, 4, 8]
    assert [each for each in bench.told if isinstance(each, int)] == [0, 4, 8]
    assert not any(is_again for _, _, is_again in bench.keyspaces.puts)
    assert len({name for _, name, _ in bench.keyspaces.puts}) == len(KEYS)


async def test_a_second_coordinator_repeats_the_window_under_its_names(bench: Bench) -> None:
    mark = await bench.cut_after(6)
    first = {key: name for key, name, _ in bench.keyspaces.puts}
    bench.keyspaces.puts.clear()
    await bench.loader().run(mark)
    again = {key: name for key, name, is_again in bench.keyspaces.puts if is_again}
    assert bench.keyspaces.held["index"] == VALUES
    assert list(again) == KEYS[4:8]
    assert {key: first[key] for key in KEYS[4:6]} == {key: again[key] for key in KEYS[4:6]}
    assert [key for key, _, is_again in bench.keyspaces.puts if not is_again] == KEYS[8:]


async def test_without_the_journal_a_record_gets_a_second_name(bench: Bench) -> None:
    """What the rule is for: a put of another name counts as another put."""
    mark = await bench.cut_after(6)
    first = {key: name for key, name, _ in bench.keyspaces.puts}
    bench.keyspaces.puts.clear()
    await bench.loader().run(LoadMoved(mark.records, 0))
    second = {key: name for key, name, _ in bench.keyspaces.puts}
    assert first[KEYS[4]] != second[KEYS[4]]
    assert not any(is_again for _, _, is_again in bench.keyspaces.puts)


async def test_a_put_of_unknown_outcome_is_repeated_as_a_later_attempt(bench: Bench) -> None:
    bench.keyspaces.errors = [QuorumNotReached("one of two", outcome="unknown")]
    await bench.loader().run(NOT_LOADED)
    repeated = [(name, is_again) for key, name, is_again in bench.keyspaces.puts if key == KEYS[0]]
    assert [is_again for _, is_again in repeated] == [False, True]
    assert len({name for name, _ in repeated}) == 1
    assert [str(error) for error in bench.delays] == ["one of two"]


async def test_of_a_key_given_twice_in_a_window_the_last_value_stays(bench: Bench) -> None:
    twice = encode_records([(b"k", [b"1"]), (b"k", [b"2"])])
    path = bench.folder / "part-9"
    path.write_bytes(twice)
    bench.parts = [StagedPart(0, str(path), len(twice), google_crc32c.value(twice), 2, path.name)]
    await bench.loader().run(NOT_LOADED)
    assert [key for key, _, _ in bench.keyspaces.puts] == [b"k"]
    assert bench.keyspaces.held["index"] == {b"k": [b"2"]}


def damage(bench: Bench) -> None:
    path = Path(bench.parts[1].path)
    path.write_bytes(path.read_bytes().replace(b"K7", b"K9"))


def lose(bench: Bench) -> None:
    Path(bench.parts[1].path).unlink()


@pytest.mark.parametrize(("spoil", "error"), [(damage, CorruptData), (lose, RingmillError)])
async def test_a_part_that_is_not_what_was_written_fails_before_anything_is_put(
    bench: Bench, spoil: Callable[[Bench], None], error: type[RingmillError]
) -> None:
    spoil(bench)
    with pytest.raises(error) as failed:
        await bench.loader().run(NOT_LOADED)
    assert failed.value.outcome == "failed"
    assert bench.keyspaces.puts == []


async def test_a_keyspace_that_is_dropped_in_the_midst_says_how_far_the_load_was(bench: Bench) -> None:
    gone: list[RingmillError] = [InvalidArgument("there is no keyspace 'index'", outcome="failed")]
    bench.keyspaces.errors = [*[QuorumNotReached("no", outcome="unknown")] * 2, *gone]
    with pytest.raises(InvalidArgument, match="0 of 10 records are in keyspace 'index'") as failed:
        await bench.loader().run(NOT_LOADED)
    assert failed.value.outcome == "unknown"


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
async def test_a_part_that_is_no_file_is_neither_followed_nor_waited_for(bench: Bench, kind: str) -> None:
    bench.replace(Path(bench.parts[0].path), kind)
    with pytest.raises(CorruptData, match="part 0 is a link or no regular file") as failed:
        async with asyncio.timeout(10):
            await bench.loader().run(NOT_LOADED)
    assert failed.value.outcome == "failed" and bench.keyspaces.puts == []


def rows(*each: object) -> bytes:
    return b"".join(map(msgpack.packb, each))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (rows(["text", 0, [b"v"]], [b"k", 0, [b"v"]]), "no record for a keyspace"),
        (rows([b"k", 0, [5]], [b"k", 0, [b"v"]]), "no record for a keyspace"),
        (rows([b"k", 0, []], [b"k", 0, [b"v"]]), "no record for a keyspace"),
        (rows(7, 8), "no record for a keyspace"),
        (rows(7, {}), "no records of a keyspace"),
        (b"\xc1", "no records of a keyspace"),
        (rows([b"k", 0, [b"v"]], [b"k", 0, [b"v"]])[:-1], "has no end"),
        (rows([b"k", 0, [b"v"]]), "1 records in place of 2"),
        (rows(*[[b"k", 0, [b"v"]]] * 3), "3 records in place of 2"),
    ],
)
async def test_a_part_that_is_no_file_of_records_fails_the_load(bench: Bench, data: bytes, says: str) -> None:
    path = bench.folder / "part-9"
    path.write_bytes(data)
    bench.parts = [StagedPart(9, str(path), len(data), google_crc32c.value(data), 2, path.name)]
    with pytest.raises(CorruptData, match=says) as failed:
        await bench.loader().run(NOT_LOADED)
    assert failed.value.outcome == "failed"


def nested(depth: int) -> bytes:
    return b"\x90" if depth == 0 else b"\x93" + nested(depth - 1) * 3


@pytest.mark.parametrize(
    "content",
    [
        b"\x93\xdd\x01\x00\x00\x00" + b"\x80" * (4 << 20),
        b"\x93\xdd\x01\x00\x00\x00" + b"\x90" * (4 << 20),
        nested(12),
        b"\x93\xa1k\x00\xdf\x01\x00\x00\x00" + b"\x00" * (4 << 20),
        (b"\x93\xa1k\x00\x91\xc7\x00\x05" + b"\x80") * (1 << 18),
    ],
    ids=["maps", "arrays", "nested", "a large map", "extensions"],
)
async def test_a_part_of_the_jobs_own_that_is_large_in_memory_is_refused_before_it_is_made(
    bench: Bench, content: bytes
) -> None:
    """The job's code may write its part itself, with a checksum that is right; the node reads it."""
    path = bench.folder / "part-9"
    path.write_bytes(content)
    bench.parts = [StagedPart(0, str(path), len(content), google_crc32c.value(content), 2, path.name)]
    with TracedMemory() as memory, pytest.raises(CorruptData):
        await bench.loader().run(NOT_LOADED)
    assert memory.peak_bytes < 20 << 20
    assert bench.keyspaces.puts == []
