"""Records of splits: every line once, wherever the input is cut."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files import readers, unpacking
from ringmill.cluster.mapreduce.files.parsing.zstd_pieces import zstd_pieces
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split

PIECES_OF_TEXT = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"word ", b"\xff\xfe", "ü€𝄞".encode(), b"\x0b\x0c\x1c", b"\x00", b"x" * 40]
    )
)


def noted(path: Path) -> InputFile:
    return InputFile(str(path), path.stat().st_size, path.stat().st_mtime_ns)


def read(
    files: OsFileSystem, pieces: list[Piece], format: str = "lines", hint: Any = str
) -> list[tuple[Any, Any]]:
    context = Context("map-0", TaskRandom("0/map-0"))
    reader = SplitReader(Split(0, tuple(pieces)), format, hint, files=files, context=context)
    return [record for block in reader.records() for record in block]


def whole(files: OsFileSystem, path: Path, format: str = "lines", hint: Any = str) -> list[tuple[Any, Any]]:
    file = noted(path)
    return read(files, [Piece(file, 0, file.size)], format, hint)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PIECES_OF_TEXT, st.lists(st.floats(0, 1), max_size=4), st.integers(1, 50))
def test_lines_do_not_depend_on_where_the_file_is_cut_or_how_it_is_read(
    tmp_path: Path, files: OsFileSystem, parts: list[bytes], at: list[float], read_bytes: int
) -> None:
    content = b"".join(parts)
    path = tmp_path / "in"
    path.write_bytes(content)
    oracle, offset = [], 0
    for line in content.split(b"\n")[: None if content and not content.endswith(b"\n") else -1]:
        oracle.append((offset, line.removesuffix(b"\r").decode("utf-8", "surrogateescape")))
        offset += len(line) + 1
    cuts = sorted({0, len(content), *(int(share * len(content)) for share in at)})
    file = noted(path)
    pieces = [Piece(file, start, end) for start, end in pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "READ_BYTES", 16 * read_bytes)
        assert [record for piece in pieces for record in read(files, [piece])] == oracle
        as_bytes = [(at, line.encode("utf-8", "surrogateescape")) for at, line in oracle]
        assert read(files, pieces, "bytes", bytes) == as_bytes


def test_compressed_files_read_as_their_content_members_and_frames_alike(
    tmp_path: Path, files: OsFileSystem
) -> None:
    lines = [b"line %d " % n + b"ab" * (n % 50) for n in range(5000)]
    content = b"\n".join(lines)
    half = len(content) // 2
    (tmp_path / "in.gz").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / "in.zst").write_bytes(pack(content[:half]) + pack(content[half:]))
    for name in ("in.gz", "in.zst"):
        assert [line.encode() for _, line in whole(files, tmp_path / name)] == lines
        cut = (tmp_path / name).read_bytes()[:-9]
        (tmp_path / name).write_bytes(cut)
        with pytest.raises(TaskFailed, match="cut off"):
            whole(files, tmp_path / name)


def test_jsonl_gives_parsed_lines_and_names_the_one_that_is_not_json(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n\n[2, "x"]\r\n')
    assert whole(files, path, "jsonl") == [(0, {"a": 1}), (10, [2, "x"])]
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(TaskFailed, match="not JSON") as caught:
        whole(files, path, "jsonl")
    assert caught.value.position == f"{path} offset 9"


def test_csv_rows_may_hold_line_ends_and_come_by_name_when_map_takes_a_dict(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in.csv"
    path.write_text('name,note\nAda,"two\nlines"\nBob,"a ""b"", c"\n')
    assert whole(files, path, "csv", list[str])[1:] == [(2, ["Ada", "two\nlines"]), (4, ["Bob", 'a "b", c'])]
    assert whole(files, path, "csv", dict[str, str])[0] == (2, {"name": "Ada", "note": "two\nlines"})
    path.write_text("name,note\nAda\n")
    with pytest.raises(TaskFailed, match="1 fields where the header has 2"):
        whole(files, path, "csv", dict[str, str])
    path.write_text('name,"note\nAda,x\n')
    with pytest.raises(TaskFailed, match="not CSV: unexpected end of data") as failed:
        whole(files, path, "csv", dict[str, str])
    assert failed.value.position == f"{path} line 1"


def test_every_row_of_a_long_csv_has_its_line_and_the_first_wrong_one_is_named(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in.csv"
    rows, line, expected = ["name,note"], 2, []
    for number in range(2500):
        note, lines = ('"two\nlines"', 2) if number % 700 == 5 else ("\n" if number == 1300 else "x", 1)
        rows.append(f"{number},{note}" if note != "\n" else "")
        if note != "\n":
            expected.append((line, {"name": str(number), "note": note.strip('"')}))
        line += lines
    path.write_text("\n".join(rows))
    assert whole(files, path, "csv", dict[str, str]) == expected
    assert whole(files, path, "csv", list[str])[1:] == [(at, list(row.values())) for at, row in expected]
    for wrong, said in ((f"{'x,' * 3}y", "4 fields where the header has 2"), ('"x"y,z', "not CSV: ")):
        path.write_text("\n".join([*rows, wrong, '"x"y']) + "\n")
        with pytest.raises(TaskFailed, match=said) as failed:
            whole(files, path, "csv", dict[str, str])
        assert failed.value.position == f"{path} line {line}"


def test_blank_lines_before_a_header_count_as_lines_and_are_no_header(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("\n\r\na,b\n1,2\n")
    assert whole(files, path, "csv", dict[str, str]) == [(4, {"a": "1", "b": "2"})]
    assert whole(files, path, "csv", list[str]) == [(3, ["a", "b"]), (4, ["1", "2"])]
    path.write_text('\n\n"a"b,c\n1,2\n')
    with pytest.raises(TaskFailed, match="not CSV: ") as failed:
        whole(files, path, "csv", dict[str, str])
    assert failed.value.position == f"{path} line 3"


@pytest.mark.parametrize("change", ["grown", "touched", "gone"])
def test_a_file_that_changed_since_the_job_was_planned_fails_it_by_name(
    tmp_path: Path, files: OsFileSystem, change: str
) -> None:
    path = tmp_path / "in"
    path.write_text("a\nb\n")
    file = noted(path)
    if change == "grown":
        path.write_text("a\nb\nc\n")
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with pytest.raises(TaskFailed, match=str(path)) as caught:
        read(files, [Piece(file, 0, file.size)])
    assert caught.value.cause is Cause.INPUT_CHANGED


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: os.truncate(path, 300), "bytes 300 were left when it was read"),
        (lambda path: os.utime(path, ns=(1, 1)), "modification time"),
        (lambda path: path.unlink(), "is gone"),
    ],
)
def test_a_file_that_changes_while_it_is_read_fails_the_job_by_name(
    tmp_path: Path,
    files: OsFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    said: str,
    pack: Callable[[bytes], bytes],
) -> None:
    for module in (readers, unpacking):
        monkeypatch.setattr(module, "READ_BYTES", 100)
    path = tmp_path / ("in" if pack is bytes else "in.gz")
    path.write_bytes(pack(b"".join(b"%x\n" % xxh3_64_intdigest(b"%d" % number) for number in range(200))))
    file = noted(path)
    context = Context("map-0", TaskRandom("0/map-0"))
    split = Split(0, (Piece(file, 0, file.size),))
    blocks = SplitReader(split, "lines", str, files=files, context=context).records()
    assert list(next(blocks))
    change(path)
    with pytest.raises(TaskFailed, match=said) as caught:
        list(blocks)
    assert caught.value.cause is Cause.INPUT_CHANGED
    assert str(path) in caught.value.message


MANY_LINES = b"".join(b"line %d\n" % number for number in range(300_000))
PACKS = [
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".lz4", partial(lz4.frame.compress, content_checksum=True)),
    (".zst", zstandard.ZstdCompressor(write_checksum=True).compress),
]


@pytest.mark.parametrize(("suffix", "pack"), PACKS)
@pytest.mark.parametrize("streams", [1, 3])
def test_packed_files_are_unpacked_however_many_streams_they_have(
    tmp_path: Path, files: OsFileSystem, suffix: str, pack: Callable[[bytes], bytes], streams: int
) -> None:
    path = tmp_path / f"in{suffix}"
    size = len(MANY_LINES) // streams + 1
    parts = [pack(MANY_LINES[at : at + size]) for at in range(0, len(MANY_LINES), size)]
    path.write_bytes(b"".join(parts) + (bytes(8) if suffix == ".xz" else b""))
    assert b"".join(line + b"\n" for _, line in whole(files, path, "bytes", bytes)) == MANY_LINES


def test_zeros_behind_a_gzip_member_are_no_content_and_anything_else_is_damage(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path, one, two = tmp_path / "in.gz", gzip.compress(b"one\n"), gzip.compress(b"two\n")
    path.write_bytes(one + bytes(40_000) + two + bytes(512))
    assert [line for _, line in whole(files, path)] == ["one", "two"]
    for wrong in (bytes(8) + one, one + bytes(8) + b"x", one[:-9] + bytes(8)):
        path.write_bytes(wrong)
        with pytest.raises(TaskFailed, match="cannot unpack"):
            whole(files, path)


@pytest.mark.parametrize(("suffix", "pack"), PACKS)
@pytest.mark.parametrize("harm", ["cut off", "flipped"])
def test_a_damaged_or_cut_off_file_is_an_error_and_not_a_shorter_input(
    tmp_path: Path, files: OsFileSystem, suffix: str, pack: Callable[[bytes], bytes], harm: str
) -> None:
    packed = bytearray(pack(MANY_LINES))
    if harm == "cut off":
        del packed[-20:]
    else:
        packed[len(packed) // 2] ^= 1
    path = tmp_path / f"in{suffix}"
    path.write_bytes(packed)
    with pytest.raises(TaskFailed, match="cannot unpack"):
        whole(files, path)


@pytest.mark.parametrize(("suffix", "pack"), [*PACKS, (".gz", gzip.compress)])
def test_no_block_is_large_however_far_it_unpacks(
    tmp_path: Path, files: OsFileSystem, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"in{suffix}"
    path.write_bytes(pack(bytes(8 << 20)))
    with closing(files.open_read(str(path))) as file:
        sizes = [len(block) for block in unpacking.unpacked_blocks(file)]
    assert sum(sizes) == 8 << 20
    assert max(sizes) <= unpacking.BLOCK_BYTES


def test_zstd_is_cut_where_its_blocks_end_whatever_a_frame_has(tmp_path: Path, files: OsFileSystem) -> None:
    skipped = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"\x28\xb5\x2f\xfd\x00"
    ways: list[dict[str, Any]] = [{}, {"write_checksum": True}, {"write_content_size": False}]
    contents = [MANY_LINES[:size] for size in (0, 3, 255, 256, 70_000, 300_000)]
    packed = [zstandard.ZstdCompressor(**way).compress(each) for way in ways for each in contents]
    stored = skipped.join([b"", *packed, b""])
    path = tmp_path / "in.zst"
    path.write_bytes(stored)
    with closing(files.open_read(str(path))) as file:
        assert b"".join(unpacking.unpacked_blocks(file)) == b"".join(contents) * len(ways)
    for size in (7, 100_000):
        pieces = list(zstd_pieces(stored[at : at + size] for at in range(0, len(stored), size)))
        assert b"".join(pieces) == stored
        assert pieces.count(b"\x28\xb5\x2f\xfd") == len(packed)
    for wrong in (b"", b"PK", b"\x28\xb5\x2f\xfd", stored[:-3], stored[:40], b"\xff" * 300):
        assert b"".join(zstd_pieces(iter([wrong]))) == wrong


def test_a_byte_order_mark_is_not_part_of_the_first_column_or_document(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("\ufeffid,name\n1,Ada\n", encoding="utf-8")
    assert whole(files, path, "csv", dict[str, str]) == [(2, {"id": "1", "name": "Ada"})]
    path.write_text('\ufeff{"id": 1}\n', encoding="utf-8")
    assert whole(files, path, "jsonl") == [(0, {"id": 1})]


def test_progress_moves_with_every_record_and_the_record_at_hand_is_shown(
    tmp_path: Path, files: OsFileSystem
) -> None:
    path = tmp_path / "in"
    path.write_text("aaa\nbbb\nccc\n")
    file = noted(path)
    split = Split(0, (Piece(file, 0, file.size), Piece(file, 0, file.size)))
    reader = SplitReader(split, "lines", str, files=files, context=Context("map-0", TaskRandom("0/map-0")))
    seen = [(reader.bytes_done, reader.record) for block in reader.records() for _ in block]
    assert seen == [(at + before, f"'{line}'") for before in (0, 12)
                    for at, line in ((0, "aaa"), (4, "bbb"), (8, "ccc"))]  # fmt: skip
    assert reader.bytes_done == 24


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.gz", "in.zst"])
def test_progress_moves_evenly_where_records_do_not_tell_their_bytes(
    tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(readers, "READ_BYTES", 4096)
    plain = "".join(f"{number},{number * 2654435761 % 999_983}\n" for number in range(20_000)).encode()
    packs: dict[str, Callable[[bytes], bytes]] = {
        "csv": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    path = tmp_path / name
    path.write_bytes(packs[name.rpartition(".")[2]](plain))
    file = noted(path)
    is_csv = name.startswith("in.csv")
    reader = SplitReader(
        Split(0, (Piece(file, 0, file.size),)), "csv" if is_csv else "lines", list[str] if is_csv else str,
        files=files, context=Context("map-0", TaskRandom("0/map-0")),
    )  # fmt: skip
    seen = [reader.bytes_done for block in reader.records() for _ in block]
    assert seen == sorted(seen)
    for share in (0.25, 0.5, 0.75):
        assert abs(seen[int(share * len(seen))] - share * file.size) < 0.1 * file.size
    assert reader.bytes_done == file.size


def test_two_columns_of_one_name_are_refused_where_rows_come_by_name(
    files: OsFileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("\na,b,a,,\n1,2,3,4,5\n")
    with pytest.raises(TaskFailed, match="more than one column 'a'") as failed:
        whole(files, path, "csv", dict[str, str])
    assert failed.value.position == f"{path} line 2"
    assert whole(files, path, "csv", list[str])[1] == (3, ["1", "2", "3", "4", "5"])
    path.write_text("a,b,,\n1,2,,\n")
    assert whole(files, path, "csv", dict[str, str]) == [(2, {"a": "1", "b": "2", "": ""})], "without a name"
