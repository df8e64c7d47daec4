"""Memory, spills and merges change nothing in what comes out."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from ringmill import Command, Sum, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.folds import Fold
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files import external_sort
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.run_file import read_index
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, ReduceAttempt, run_map, run_reduce
from ringmill.cluster.mapreduce.messages.task_messages import RunAttempt
from ringmill.cluster.mapreduce.messages.task_service import run_attempt
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import Progress
from tests.cluster.mapreduce import sample_jobs

MIB = 1 << 20


class Bench:
    """Runs the tasks of one job by hand, with as much memory as is said."""

    def __init__(
        self, definition: JobDefinition, folder: Path, files: OsFileSystem, memory_bytes: int
    ) -> None:
        self.definition = definition
        self.folder = folder
        self.files = files
        spec = JobSpec.of(
            definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{folder}/in",), output="/o"
        )
        self.spec = replace(spec, memory_bytes=memory_bytes)
        self.progress = Progress()

    def map(self, attempt: int = 1) -> list[MapOutput]:
        done = []
        for split in plan_input(self.spec.readings, self.files).splits:
            folder = f"{self.folder}/map-{split.index}.{attempt}"
            self.files.mkdir(folder)
            task = MapAttempt(self.spec, split, split.index, attempt)
            done.append(run_map(self.definition, task, self.files, folder, self.progress))
        return done

    def reduce(self, maps: list[MapOutput], partition: int) -> ReduceOutput:
        folder = f"{self.folder}/reduce-{partition}"
        self.files.remove_tree(folder)
        self.files.mkdir(folder)
        task = ReduceAttempt(self.spec, partition, tuple(done.slice(partition) for done in maps), 1)
        return run_reduce(self.definition, task, self.files, folder, self.progress)

    def output(self) -> bytes:
        maps = self.map()
        parts = [self.reduce(maps, partition) for partition in range(self.spec.reducers)]
        assert sum(part.records_in for part in parts) == sum(p.records for m in maps for p in m.partitions)
        return b"".join(Path(part.file).read_bytes() for part in parts)


def text(lines: int, words: int = 97) -> str:
    rng = TaskRandom("text")
    return "\n".join(
        " ".join(f"w{rng.randrange(words) * rng.randrange(words)}" for _ in range(8)) for _ in range(lines)
    )


@pytest.mark.parametrize("memory_bytes", [40_000, 300_000, 64 * MIB])
@pytest.mark.parametrize("name", ["places", "counts", "uncombined"])
def test_the_same_bytes_come_out_whatever_memory_there_is(
    tmp_path: Path, files: OsFileSystem, name: str, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_sort.narrow, "__kwdefaults__", {"factor": 3})
    (tmp_path / "in").write_text(content := text(6000))
    bench = Bench(getattr(sample_jobs, name), tmp_path, files, memory_bytes)
    written = bench.output().decode().splitlines()
    if name == "places":
        offsets: defaultdict[str, list[int]] = defaultdict(list)
        at = 0
        for line in content.split("\n"):
            for word in line.split(" "):
                offsets[word].append(at)
            at += len(line) + 1
        assert {row["key"]: row["value"] for row in map(json.loads, written)} == offsets
    else:
        told = {word: int(count) for word, count in (line.split("\t") for line in written)}
        assert told == Counter(content.split())


@pytest.mark.parametrize("memory_bytes", [40_000, 64 * MIB])
@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("folded", len), ("counted", len), ("counted_first", len), ("lastly", max),
        ("weighed", lambda at: fsum(each / 7 for each in at)),
        ("latest", lambda at: sorted(at, reverse=True)[:3]), ("distinct", lambda at: list(dict.fromkeys(at))),
        ("collected", list),
    ],
)  # fmt: skip
def test_a_fold_gives_what_plain_python_gives_whatever_memory_there_is(
    tmp_path: Path, files: OsFileSystem, name: str, plain: Callable[[list[int]], Any], memory_bytes: int
) -> None:
    (tmp_path / "in").write_text(content := text(3000))
    definition: JobDefinition = getattr(sample_jobs, name)
    written = Bench(definition, tmp_path, files, memory_bytes).output().decode().splitlines()
    offsets: defaultdict[str, list[int]] = defaultdict(list)
    at = 0
    for line in content.split("\n"):
        for word in line.split(" "):
            offsets[word].append(at)
        at += len(line) + 1
    expected = {word: plain(places) for word, places in offsets.items()}
    if definition.output.format == "jsonl":
        assert {row["key"]: row["value"] for row in map(json.loads, written)} == expected
    else:
        assert {word: json.loads(value) for word, value in (line.split("\t") for line in written)} == expected


def test_a_program_runs_for_a_partition_without_records_whether_or_not_it_has_slices(
    tmp_path: Path, files: OsFileSystem
) -> None:
    """A node fetches no slice of length 0; a local run passes them on."""
    (tmp_path / "in").write_text("a")
    counting = Command(["awk", '{ n++ } END { print "total\t" n + 0 }'])
    bench = Bench(job(map=sample_jobs.one, reduce=counting, reducers=2), tmp_path, files, MIB)
    maps = bench.map()
    empty = next(number for number, each in enumerate(maps[0].partitions) if not each.length)
    written = [Path(bench.reduce(given, partition=empty).file).read_bytes() for given in (maps, [])]
    assert written == [b"total\t0\n"] * 2


def test_a_fold_keeps_one_value_a_key_so_that_long_groups_never_spill(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text(text(6000, words=5))
    [done] = Bench(sample_jobs.folded, tmp_path, files, 20_000).map()
    assert (done.spills, done.records_in, done.records_out) == (0, 6000, 48_000)
    assert sum(each.records for each in done.partitions) < 30


def test_a_buffer_beyond_its_bound_is_spilled_and_combining_comes_first(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text(text(6000, words=5))
    [spilled] = Bench(sample_jobs.uncombined, tmp_path, files, 100_000).map(attempt=1)
    assert spilled.spills > 3
    [done] = Bench(sample_jobs.counts, tmp_path, files, 100_000).map(attempt=2)
    assert done.spills == 0
    assert (done.records_in, done.records_out) == (6000, 48_000)
    assert sum(each.records for each in done.partitions) < 30


def test_a_buffer_whose_values_grow_as_they_are_combined_is_spilled(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text("\n".join(f"k{number % 20}" for number in range(20_000)))
    [done] = Bench(sample_jobs.lists, tmp_path, files, 100_000).map()
    assert done.spills >= 20_000 * 32 // 100_000, "an offset takes 32 bytes and more"


def test_a_group_twenty_times_the_memory_passes_through(tmp_path: Path, files: OsFileSystem) -> None:
    (tmp_path / "in").write_text("\n".join("k" + "x" * 99 for _ in range(4000)))
    bench = Bench(sample_jobs.sizes, tmp_path, files, 2 * MIB)
    maps = bench.map()
    partition = next(p for p in range(4) if maps[0].partitions[p].records)
    assert sum(done.partitions[partition].raw_bytes for done in maps) > 20 * 2 * MIB * 0.9
    tracemalloc.start()
    done = bench.reduce(maps, partition)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Path(done.file).read_bytes() == b"k\t40000000\n"
    assert peak < 8 * MIB


def test_an_attempt_repeats_the_former_ones_bytes_and_random_numbers(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text(text(300))
    for definition in (sample_jobs.dice, sample_jobs.places):
        bench = Bench(definition, tmp_path / str(id(definition)), files, MIB)
        bench.spec = replace(bench.spec, inputs=(f"{tmp_path}/in",))
        [first], [second] = bench.map(1), bench.map(2)
        assert first.partitions == second.partitions
        assert read_index(files, first.file) == first.partitions
        assert Path(first.file).read_bytes() == Path(second.file).read_bytes()


@pytest.mark.parametrize(("memory_bytes", "spills"), [(20_000, True), (MIB, False)])
def test_a_key_for_which_the_combiner_gives_nothing_is_gone_whether_or_not_it_was_spilled(
    tmp_path: Path, files: OsFileSystem, memory_bytes: int, spills: bool
) -> None:
    lines = ["even 1", *(f"k{number} 1" for number in range(500)), "even -1"]
    (tmp_path / "in").write_text("\n".join(lines))
    bench = Bench(sample_jobs.balances, tmp_path, files, memory_bytes)
    maps = bench.map()
    assert (maps[0].spills > 0) == spills
    reduced = bench.reduce(maps, 0)
    assert b"even" not in Path(reduced.file).read_bytes() and reduced.records_out == 500


def test_a_combiner_that_changes_the_key_is_an_error_of_the_user(tmp_path: Path, files: OsFileSystem) -> None:
    (tmp_path / "in").write_text("a a")
    with pytest.raises(TaskFailed, match="must keep the key") as caught:
        Bench(sample_jobs.renamed, tmp_path, files, MIB).map()
    assert caught.value.cause is Cause.USER_ERROR


@pytest.mark.parametrize("reduce", [None, Sum()], ids=["lists", "fold"])
@pytest.mark.parametrize(
    ("name", "cause", "said"),
    [
        (
            "wrong_value",
            Cause.USER_ERROR,
            "a value of type str where the hint says int|of the types in its hints: .* 'int' and 'str'",
        ),
        ("wrong_key", Cause.USER_ERROR, "a key of type int, its hint says str"),
        ("nothing", Cause.USER_ERROR, "must give pairs"),
        ("singles", Cause.USER_ERROR, "must give pairs"),
        ("greedy", Cause.OUT_OF_MEMORY, "MemoryError"),
    ],
)
def test_output_that_is_not_what_was_declared_is_the_users_error_and_says_what_it_was(
    tmp_path: Path, files: OsFileSystem, name: str, cause: Cause, said: str, reduce: Fold | None
) -> None:
    (tmp_path / "in").write_text("abc\ndef")
    definition = job(map=getattr(sample_jobs, name), reduce=reduce)
    with pytest.raises(TaskFailed, match=said) as caught:
        Bench(definition, tmp_path, files, MIB).map()
    assert caught.value.cause is cause


def test_progress_ends_at_the_number_of_bytes_read(tmp_path: Path, files: OsFileSystem) -> None:
    (tmp_path / "in").write_text(text(2000))
    bench = Bench(sample_jobs.counts, tmp_path, files, MIB)
    maps = bench.map()
    size = (tmp_path / "in").stat().st_size
    assert sum(done.bytes_in for done in maps) == size
    mapped = bench.progress.now()
    assert mapped.bytes_done == mapped.bytes_total == maps[-1].bytes_in
    bench.reduce(maps, 0)
    reduced = bench.progress.now()
    assert reduced.bytes_done == reduced.bytes_total == sum(m.partitions[0].length for m in maps)


SEEN: list[Progress] = []
SHARES: list[float] = []


def noticed(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    now = SEEN[0].now()
    SHARES.append(now.bytes_done / now.bytes_total)
    yield word, sum(counts)


@pytest.mark.parametrize(("memory_bytes", "first", "last"), [(64 * MIB, 0.3, 0.95), (4096, 0.6, 0.7)])
def test_a_reduce_tells_how_far_it_is_gathered_or_streamed(
    tmp_path: Path, files: OsFileSystem, memory_bytes: int, first: float, last: float
) -> None:
    (tmp_path / "in").write_text(text(4000, words=3000))
    bench = Bench(job(map=sample_jobs.counts.map, reduce=noticed), tmp_path, files, MIB)
    maps = bench.map()
    bench.spec = replace(bench.spec, memory_bytes=memory_bytes)
    SEEN[:], SHARES[:] = [bench.progress], []
    bench.reduce(maps, 0)
    assert len(SHARES) > 1000
    assert sorted(SHARES) == SHARES
    assert SHARES[0] < first < last < SHARES[-1]


def test_one_long_group_is_merged_in_little_memory(tmp_path: Path, files: OsFileSystem) -> None:
    """Short keys before it make the writer expect short groups."""
    lines = [f"key{number}" for number in range(30_000)]
    (tmp_path / "in").write_text("\n".join([*lines, *["zzz"] * 8_000]))
    bench = Bench(job(map=sample_jobs.long_values), tmp_path, files, 2 * MIB)
    tracemalloc.start()
    try:
        maps = bench.map()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(done.spills for done in maps) > 8
    assert sum(done.records_out for done in maps) == 38_000
    assert peak < 24 * MIB, f"{peak >> 20} MiB for a group of 62 MiB"


def test_an_attempt_with_more_memory_gives_what_the_first_would_have_given(
    tmp_path: Path, files: OsFileSystem
) -> None:
    (tmp_path / "in").write_text(text(1500))
    bench = Bench(sample_jobs.rounded, tmp_path, files, 40_000)
    (split,) = plan_input(bench.spec.readings, files).splits
    runs = []
    for factor in (1, 2):
        folder = f"{tmp_path}/map-0.{factor}"
        files.mkdir(folder)
        run = RunAttempt("map", 0, factor, bench.spec.encode(), "", "", folder, factor, split.to_wire())
        output, _ = run_attempt(run, files, lambda *_: sample_jobs.rounded, Progress())
        assert isinstance(output, MapOutput) and output.spills > 2
        runs.append(Path(output.file).read_bytes())
    assert runs[0] == runs[1]
