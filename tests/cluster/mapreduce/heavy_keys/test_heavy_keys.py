"""A map tells of the keys that have most of what it leaves, at next to no cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.run_file import read_groups
from ringmill.cluster.mapreduce.heavy_keys import (
    KEY_CHARS,
    MOST_TOLD,
    HeavyKey,
    KeyTotals,
    KeyWeights,
)
from ringmill.cluster.mapreduce.kernel.task import MapAttempt, run_map
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice, without_heavy_keys
from ringmill.cluster.mapreduce.progress import Progress
from tests.cluster.mapreduce import batch_jobs
from tests.cluster.mapreduce.heavy_keys import heavy_jobs

RARE = "".join(f"w{n} " for n in range(6000))  # each once
HOT = "the " * 3000 + "and " * 1500


class Mapped:
    """The one map of a job over a text."""

    def __init__(self, folder: Path, files: OsFileSystem, definition: JobDefinition, text: str, **spec: Any):
        self.definition, self.files = definition, files
        (folder / "in").write_text(text)
        self.spec = replace(
            JobSpec.of(
                definition, job="j", module="m", name="n", bundle_sha256="", inputs=(f"{folder}/in",),
                output="/o",
            ),
            **spec,
        )  # fmt: skip
        [split] = plan_input(self.spec.readings, files).splits
        files.mkdir(f"{folder}/map")
        self.output = run_map(
            definition, MapAttempt(self.spec, split, 0, 1), files, f"{folder}/map", Progress()
        )

    @property
    def told(self) -> dict[str, int]:
        return {each.key: each.records for each in self.output.heavy}

    def records_in(self, partition: int) -> dict[Any, int]:
        """The records of each key in a partition, as a reduce finds them."""
        found: dict[Any, int] = {}
        groups = read_groups(self.files, self.output.slice(partition), self.definition.value_codec)
        for key, values in groups:
            decoded = self.definition.key_codec.decode(key)
            found[decoded] = found.get(decoded, 0) + len(values)
        return found


@pytest.mark.parametrize("memory_bytes", [400_000, 64 << 20])
def test_the_keys_with_most_values_are_told_with_their_part_whatever_memory_there_is(
    tmp_path: Path, files: OsFileSystem, memory_bytes: int
) -> None:
    mapped = Mapped(tmp_path, files, heavy_jobs.listed, HOT + RARE, memory_bytes=memory_bytes)
    assert mapped.told == {"'the'": 3000, "'and'": 1500}
    for each in mapped.output.heavy:
        assert mapped.records_in(each.partition)[each.key.strip("'")] == each.records


def test_a_fold_leaves_a_hot_key_one_record_so_none_is_told(tmp_path: Path, files: OsFileSystem) -> None:
    mapped = Mapped(tmp_path, files, heavy_jobs.folded, HOT + RARE)
    assert (mapped.told, sum(each.records for each in mapped.output.partitions)) == ({}, 6002)


def test_where_one_reduce_has_everything_no_key_is_told(tmp_path: Path, files: OsFileSystem) -> None:
    assert Mapped(tmp_path, files, heavy_jobs.listed, HOT, reducers=1).told == {}


def test_keys_that_are_about_as_frequent_as_others_are_not_told(tmp_path: Path, files: OsFileSystem) -> None:
    assert Mapped(tmp_path, files, heavy_jobs.listed, RARE * 3).told == {}


def test_a_key_is_told_in_the_part_that_the_job_chose_for_it(tmp_path: Path, files: OsFileSystem) -> None:
    mapped = Mapped(tmp_path, files, heavy_jobs.chosen, HOT)
    assert {each.partition for each in mapped.output.heavy} == {3}


def test_of_groups_their_prefix_is_told(tmp_path: Path, files: OsFileSystem) -> None:
    mapped = Mapped(tmp_path, files, heavy_jobs.grouped, "ann\n" * 3400 + "bob\n" * 10)
    assert list(mapped.told) == ["'ann'"]
    assert mapped.told["'ann'"] == pytest.approx(3400, abs=34)


@pytest.mark.parametrize("definition", [heavy_jobs.sorted_pairs, batch_jobs.hashed_lines])
def test_keys_that_nothing_groups_are_told_by_a_sample(
    tmp_path: Path, files: OsFileSystem, definition: JobDefinition
) -> None:
    mapped = Mapped(tmp_path, files, definition, "the\n" * 5100 + RARE.replace(" ", "\n"), reducers=4)
    [(key, records)] = mapped.told.items()
    assert "the" in key
    assert records == pytest.approx(5100, abs=34)


def test_few_keys_with_short_texts_are_told_and_the_longest_key_is_no_more(
    tmp_path: Path, files: OsFileSystem
) -> None:
    long = "x" * 500
    mapped = Mapped(
        tmp_path, files, heavy_jobs.listed, "".join(f"{long}{n} " * (200 + n) for n in range(12)), reducers=8
    )
    assert [each.records for each in mapped.output.heavy] == list(range(211, 203, -1))
    assert len({each.digest for each in mapped.output.heavy}) == MOST_TOLD, "their texts begin alike"
    assert len(msgpack.packb([list(each) for each in mapped.output.heavy])) < 1024


def test_what_a_map_remembers_between_spills_has_a_bound() -> None:
    weights = KeyWeights(1000)
    for spill in range(50):
        keys = [b"%d" % n for n in range(100 * spill, 100 * spill + 100)]
        weights.take_lists(keys, [200] * 100)
        weights.take_lists([b"hot"], [210])
    assert weights.heaviest()[0] == (b"hot", 50 * 210)
    assert len(weights._held) <= 1024


def told(*keys: HeavyKey) -> MapOutput:
    rows = tuple(PartitionSlice(0, 50, 100, 1000, 7) for _ in range(3))
    return MapOutput("run", rows, {}, 1000, 10, 10, heavy=keys)


def test_what_is_told_crosses_as_it_is_and_without_it_as_in_earlier_releases() -> None:
    output = told(HeavyKey((1 << 64) - 1, "'the'", 2, 900))
    assert MapOutput.from_wire(msgpack.unpackb(msgpack.packb(output.to_wire()))) == output
    assert len(told().to_wire()) == 8, "as coordinators of earlier releases read it"
    assert MapOutput.from_wire(without_heavy_keys(output.to_wire())) == told()


@pytest.mark.parametrize(
    "row",
    [
        [-1, "k", 0, 1], [1 << 64, "k", 0, 1], [1, "k" * (KEY_CHARS + 1), 0, 1], [1, b"k", 0, 1],
        [1, "k", 3, 1], [1, "k", -1, 1], [1, "k", 0, -1], [1, "k", 0, 1 << 50], [1, "k", 0, 1.5], [1, "k", 0],
        7,
    ],
)  # fmt: skip
def test_what_no_map_can_have_told_is_refused(row: Any) -> None:
    sound = told().to_wire()
    with pytest.raises((ValueError, TypeError)):
        MapOutput.from_wire([*sound, [row]])
    with pytest.raises(ValueError, match="9 heavy keys"):
        MapOutput.from_wire([*sound, [[1, "k", 0, 1]] * 9])


def test_totals_name_keys_above_the_mean_of_the_reduces_in_whatever_order_maps_tell() -> None:
    outputs = [
        (40_000, [HeavyKey(1, "'the'", 3, 15_000), HeavyKey(2, "'and'", 0, 6000)]),
        (40_000, [HeavyKey(1, "'the'", 3, 16_000), HeavyKey(3, "'of'", 1, 9000)]),
        (40_000, []),
    ]
    forward, back = KeyTotals(), KeyTotals()
    for output in outputs:
        forward.add(*output)
    for output in reversed(outputs):
        back.add(*output)
    [named] = forward.named(4)
    assert (named.key, named.task, named.records) == ("'the'", "reduce-3", 31_000)
    assert named.share == pytest.approx(31 / 120)
    assert back.named(4) == (named,)
    assert forward.named(1) == ()
    assert [each.key for each in forward.named(100)] == ["'the'"], "9,000 records hold nobody up"
    forward.add(*outputs[0], times=-1)
    assert forward.named(4) == (), "what was lost and not made again does not count"


def test_no_key_has_more_records_than_its_partition_and_none_is_told_twice() -> None:
    sound = told().to_wire()
    [key] = MapOutput.from_wire([*sound, [[1, "k", 0, 1 << 46]]]).heavy
    assert key.records == 1000
    with pytest.raises(ValueError, match="told twice"):
        MapOutput.from_wire([*sound, [[1, "k", 0, 1]] * 2])


def test_large_keys_are_remembered_by_their_bytes() -> None:
    weights = KeyWeights(1000)
    for spill in range(20):
        weights.take_lists([(b"%d-%d-" % (spill, n)).ljust(1 << 16, b"x") for n in range(60)], [200] * 60)
    assert sum(map(len, weights._held)) <= 1 << 20
