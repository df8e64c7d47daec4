"""Input is cut the same way everywhere, into pieces that cover it once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, InputFile, Split, plan_splits, split_bytes

MIB = 1 << 20

SIZES = st.lists(st.integers(0, 3 * MIB) | st.integers(0, 200 * MIB), max_size=30)


@given(SIZES)
def test_every_byte_is_in_one_piece_and_splits_follow_the_order_of_paths(sizes: list[int]) -> None:
    found = [InputFile(f"/in/{number:03d}", size, 7) for number, size in enumerate(sizes)]
    splits = plan_splits([(list(reversed(found)), "lines")])
    pieces = [piece for split in splits for piece in split.pieces]
    for file in found:
        mine = [(piece.start, piece.end) for piece in pieces if piece.file == file]
        assert mine == sorted(mine)
        assert [start for start, _ in mine] == [0, *(end for _, end in mine[:-1])][: len(mine)]
        assert (mine[-1][1] if mine else 0) == file.size
    assert [piece.file.path for piece in pieces] == sorted(piece.file.path for piece in pieces)
    assert [split.index for split in splits] == list(range(len(splits)))
    most_bytes = split_bytes(sum(sizes)) * 11 // 10
    assert all(split.size <= most_bytes for split in splits)
    assert [Split.from_wire(split.to_wire()) for split in splits] == splits


@pytest.mark.parametrize(
    ("total", "split"),
    [
        (1, MIB), (4 * MIB, 2 * MIB), (16 * MIB, 4 * MIB), (64 * MIB, 8 * MIB), (256 * MIB, 16 * MIB),
        (1024 * MIB, 32 * MIB), (4096 * MIB, 64 * MIB), (1 << 40, 64 * MIB),
    ],
)  # fmt: skip
def test_splits_grow_in_size_and_in_number_with_the_input(total: int, split: int) -> None:
    assert split_bytes(total) == split


def test_a_file_that_is_hardly_larger_than_a_split_is_not_cut() -> None:
    files = [InputFile(f"/{number}.txt", 8 * MIB + 400_000, 1) for number in range(8)]
    assert len(plan_splits([(files, "lines")])) == 8
    assert len(plan_splits([(files, "lines")], SPLIT_SIZES.pinned(8 * MIB))) == 16


def test_a_job_may_set_the_size_of_its_splits() -> None:
    found = [InputFile("/a.txt", 30 * MIB, 1), InputFile("/b.txt", 100, 1)]
    for size, splits in ((0, 6), (2 * MIB, 16), (1 << 40, 1)):
        assert len(plan_splits([(found, "lines")], SPLIT_SIZES.pinned(size))) == splits


def test_compressed_files_and_whole_file_formats_are_never_cut() -> None:
    found = [
        InputFile("/a.gz", 90 * MIB, 1),
        InputFile("/b.zst", 90 * MIB, 1),
        InputFile("/c.txt", 90 * MIB, 1),
    ]
    whole = {
        piece.file.path
        for split in plan_splits([(found, "lines")])
        for piece in split.pieces
        if piece.is_whole
    }
    assert whole == {"/a.gz", "/b.zst"}
    assert len(plan_splits([(found, "csv")])) == 3


def test_small_parts_of_records_stay_splits_of_their_own() -> None:
    """So a part of a chain can be read where it was written; the smallest are packed all the same."""
    parts = [
        InputFile(f"/part-{number:02}", size, 7) for number, size in enumerate([300 << 10] * 4 + [1000] * 9)
    ]
    assert [len(split.pieces) for split in plan_splits([(parts, "records")])] == [1, 1, 1, 1, 9]
    assert len(plan_splits([(parts, "lines")])) < 3
