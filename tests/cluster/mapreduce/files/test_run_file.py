"""Runs give back what was written, and never anything else."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.mapreduce.codecs.codecs import value_codec
from ringmill.cluster.mapreduce.files import run_file
from ringmill.cluster.mapreduce.files.external_sort import merge_groups, merge_keys, merge_pairs, narrow
from ringmill.cluster.mapreduce.files.run_file import RunWriter, read_groups, read_index
from ringmill.cluster.mapreduce.outputs import PartitionSlice, Slice

INTS = value_codec(int, "here")
TEXTS = value_codec(str, "here")

KEYS = st.binary(max_size=3)
GROUPS = st.dictionaries(KEYS, st.lists(st.integers(), min_size=1, max_size=20)).map(
    lambda d: sorted(d.items())
)


def slice_of(path: str, where: PartitionSlice) -> Slice:
    return Slice(path, where.offset, where.length, where.raw_bytes, where.records)


def gathered(groups: Any) -> list[tuple[bytes, list[Any]]]:
    return [(key, list(values)) for key, values in merge_groups([groups])]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(GROUPS, max_size=4), st.sampled_from(["zstd", "lz4", "none"]), st.integers(1, 2000))
def test_partitions_come_back_group_by_group_however_small_chunks_are(
    tmp_path: Path, files: OsFileSystem, partitions: list[Any], compression: str, target: int
) -> None:
    path = str(tmp_path / "run")
    if (tmp_path / "run").exists():
        files.unlink(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_file, "TARGET_RAW_BYTES", target)
        writer = RunWriter(files, path, INTS, compression)
        for groups in partitions:
            writer.write_partition(groups)
        index = writer.finish()
    assert read_index(files, path) == index
    assert [gathered(read_groups(files, slice_of(path, where), INTS)) for where in index] == partitions
    assert [where.records for where in index] == [sum(len(v) for _, v in groups) for groups in partitions]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_blocks_that_do_not_shrink_are_stored_as_they_are_and_later_ones_are_tried_again(
    tmp_path: Path, files: OsFileSystem, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_file, "TARGET_RAW_BYTES", 8 << 10)
    draw, codec = Random(1), value_codec(bytes, "here")
    parts = [
        [(at.to_bytes(4), [draw.randbytes(4096) if number == 0 else b"=" * 4096]) for at in range(100)]
        for number in range(2)
    ]
    indexes = []
    for name in ("first", "second"):
        writer = RunWriter(files, str(tmp_path / name), codec, compression)
        for groups in parts:
            writer.write_partition(groups)
        indexes.append(writer.finish())
    noise, even = indexes[0]
    assert noise.raw_bytes < noise.length < 1.01 * noise.raw_bytes, "no more than the headers of its chunks"
    assert even.length < even.raw_bytes / 2, "of some fifty chunks fifteen at most are not tried"
    assert indexes[0] == indexes[1], "attempts of one task write the same"
    read = [gathered(read_groups(files, slice_of(str(tmp_path / "first"), at), codec)) for at in indexes[0]]
    assert read == parts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(GROUPS, max_size=5), st.integers(1, 300))
def test_records_merge_in_the_order_of_keys_and_those_of_a_key_in_the_order_of_slices(
    tmp_path: Path, files: OsFileSystem, runs: list[Any], target: int
) -> None:
    slices = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_file, "TARGET_RAW_BYTES", target)
        for number, groups in enumerate(runs):
            path = str(tmp_path / f"run-{number}")
            if Path(path).exists():
                files.unlink(path)
            writer = RunWriter(files, path, INTS, "none")
            writer.write_partition(groups, b"mark")
            slices.append(slice_of(path, *writer.finish()))
    records = [(key, value) for groups in runs for key, values in groups for value in values]
    blocks = list(merge_pairs(slices, INTS, files))
    assert [record for block in blocks for record in block] == sorted(records, key=lambda record: record[0])
    keys = [key for block in merge_keys(slices, INTS, files) for key in block]
    assert keys == sorted(key for key, _ in records)


def test_a_long_group_is_cut_into_chunks_and_a_large_value_gets_one_of_its_own(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = str(tmp_path / "run")
    groups = [(b"a", ["x" * 3_000_000, "y"]), (b"b", [str(n) for n in range(100_000)]), (b"c", ["z"])]
    writer = RunWriter(files, path, TEXTS, "zstd")
    writer.write_partition(groups)
    [where] = writer.finish()
    pieces = list(read_groups(files, slice_of(path, where), TEXTS))
    assert len(pieces) > 10
    assert gathered(iter(pieces)) == groups


def test_short_groups_share_chunks_also_beside_a_long_one(
    tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write_chunk = RunWriter._write_chunk

    def counting(self: RunWriter, raw: bytes, records: int) -> None:
        written.append(records)
        write_chunk(self, raw, records)

    monkeypatch.setattr(RunWriter, "_write_chunk", counting)
    groups = [(b"%05d" % n, [n]) for n in range(2000)]
    groups[700] = (groups[700][0], list(range(50_000)))
    path = str(tmp_path / "run")
    writer = RunWriter(files, path, INTS, "none")
    writer.write_partition(groups)
    [where] = writer.finish()
    assert sum(written) == 51_999
    assert len(written) < 20
    assert gathered(read_groups(files, slice_of(path, where), INTS)) == groups


def test_a_copy_of_a_slice_reads_like_the_slice(tmp_path: Path, files: OsFileSystem) -> None:
    path = str(tmp_path / "run")
    writer = RunWriter(files, path, INTS, "lz4")
    writer.write_partition([(b"a", [1])])
    writer.write_partition([(b"b", list(range(5000)))])
    index = writer.finish()
    where = index[1]
    (tmp_path / "copy").write_bytes(
        (tmp_path / "run").read_bytes()[where.offset : where.offset + where.length]
    )
    copy = Slice(str(tmp_path / "copy"), 0, where.length, where.raw_bytes, where.records)
    assert gathered(read_groups(files, copy, INTS)) == [(b"b", list(range(5000)))]


def test_every_damaged_or_missing_byte_of_a_slice_is_an_error_that_names_the_file(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "run"
    writer = RunWriter(files, str(path), INTS, "zstd")
    writer.write_partition([(b"key%d" % n, [n, n + 1]) for n in range(40)])
    [where] = writer.finish()
    good = path.read_bytes()
    assert 100 < where.length < len(good)
    for at in range(where.offset, where.offset + where.length):
        path.write_bytes(good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1 :])
        with pytest.raises(CorruptData, match=str(path)):
            list(read_groups(files, slice_of(str(path), where), INTS))
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(CorruptData):
            read_index(files, str(path))
    for length in range(where.length):
        with pytest.raises(CorruptData, match=str(path)):
            list(read_groups(files, Slice(str(path), where.offset, length, 0, where.records), INTS))


@given(st.lists(GROUPS, min_size=1, max_size=12), st.integers(2, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_narrowing_keeps_keys_sorted_and_values_in_the_order_of_the_runs(
    tmp_path: Path, files: OsFileSystem, runs: list[Any], factor: int
) -> None:
    files.remove_tree(str(tmp_path / "runs"))
    files.mkdir(str(tmp_path / "runs"))
    slices = []
    for number, groups in enumerate(runs):
        writer = RunWriter(files, f"{tmp_path}/runs/{number}", INTS, "none")
        writer.write_partition(groups)
        slices.append(slice_of(f"{tmp_path}/runs/{number}", writer.finish()[0]))
    oracle: dict[bytes, list[int]] = {}
    for groups in runs:
        for key, values in groups:
            oracle.setdefault(key, []).extend(values)
    left = narrow(
        slices, INTS, files, name_of=lambda n: f"{tmp_path}/runs/m{n}", compression="none", factor=factor
    )
    assert len(left) <= factor
    merged = merge_groups([read_groups(files, each, INTS) for each in left])
    assert [(key, list(values)) for key, values in merged] == sorted(oracle.items())
