"""What an input names, what of it is read, and what is refused before any task starts."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart, manifest
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.inputs import SourcePaths, find_inputs

TEXT = b"one two\nthree\n"


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def planned(files: OsFileSystem, *inputs: Path, format: str = "lines") -> tuple[str, ...]:
    """The notes of the plan."""
    return plan_input([SourcePaths("", format, tuple(str(each) for each in inputs))], files).notes


def zipped() -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr(zipfile.ZipInfo("t.txt"), TEXT)
    return into.getvalue()


def tarred() -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        member = tarfile.TarInfo("t.txt")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return into.getvalue()


def test_inputs_are_files_folders_and_globs_sorted_and_each_once(tmp_path: Path, files: OsFileSystem) -> None:
    make(
        tmp_path,
        "b.txt",
        "a.txt",
        "a.log",
        "deep/x.txt",
        "deep/er/y.txt",
        "_SUCCESS",
        ".hidden",
        "deep/[z].txt",
        "line\nfeed.csv",
    )

    def names(*inputs: str) -> list[str]:
        found = find_inputs([f"{tmp_path}/{each}" for each in inputs], files)
        return [file.path.removeprefix(f"{tmp_path}/") for file in found.files]

    assert names("*.txt") == ["a.txt", "b.txt"]
    assert names("b.txt", "?.txt", "a.*") == ["a.log", "a.txt", "b.txt"]
    assert names("**/*.txt") == ["a.txt", "b.txt", "deep/[z].txt", "deep/er/y.txt", "deep/x.txt"]
    assert names("deep") == ["deep/[z].txt", "deep/er/y.txt", "deep/x.txt"]
    assert names("deep/[z].txt") == ["deep/[z].txt"]
    assert names("[!b].[lt]*") == ["a.log", "a.txt"]
    assert names("*.csv") == names("line?*") == ["line\nfeed.csv"]
    inside = ["deep/[z].txt", "deep/er/y.txt", "deep/x.txt"]
    assert names("") == ["a.log", "a.txt", "b.txt", *inside, "line\nfeed.csv"]
    with pytest.raises(InvalidArgument, match="names no file"):
        names("a.txt", "*.tsv")
    with pytest.raises(InvalidArgument, match=r"'\[z-a\]\*' in an input is no glob: bad character range z-a"):
        names("[z-a]*")


def test_a_glob_takes_what_a_shell_would_and_a_folder_leaves_out_names_of_other_engines_and_tells_them(
    tmp_path: Path, files: OsFileSystem
) -> None:
    make(tmp_path, "a.py", "__init__.py", "_b.py", ".c.py", "_SUCCESS", "deep/_x.py", "deep/y.py")

    def names(pattern: str) -> tuple[list[str], list[str]]:
        found = find_inputs([f"{tmp_path}/{pattern}".rstrip("/")], files)
        short = [[os.path.relpath(path, tmp_path) for path in paths]
                 for paths in ([file.path for file in found.files], found.passed_over)]  # fmt: skip
        return short[0], short[1]

    assert names("*.py") == (["__init__.py", "_b.py", "a.py"], [".c.py"])
    assert names("_*") == (["__init__.py", "_b.py"], ["_SUCCESS"])
    assert names("_SUCCESS") == (["_SUCCESS"], [])
    assert names(".*") == ([".c.py"], [])
    assert names("") == (["a.py", "deep/y.py"], [".c.py", "__init__.py", "_b.py", "deep/_x.py"])
    (note,) = planned(files, tmp_path)
    assert note.startswith(f"passed over 4 names of the input: {tmp_path}/.c.py, ")


def test_a_link_to_a_folder_is_followed_only_where_the_input_names_it(
    tmp_path: Path, files: OsFileSystem
) -> None:
    """`latest` leads to what the input has already; two links to the folder itself would double with each
    level of the 40 that the system follows."""
    make(tmp_path, "logs/d1/a.log", "logs/b.log", "else/c.log")
    (tmp_path / "logs/latest").symlink_to("d1")
    (tmp_path / "logs/self").symlink_to(".")
    (tmp_path / "logs/again").symlink_to(".")
    (tmp_path / "logs/file.log").symlink_to("../else/c.log")

    def names(pattern: str) -> tuple[list[str], list[str]]:
        found = find_inputs([f"{tmp_path}/{pattern}"], files)
        short = [[os.path.relpath(path, tmp_path) for path in paths]
                 for paths in ([file.path for file in found.files], found.passed_over)]  # fmt: skip
        return short[0], short[1]

    once, links = ["logs/b.log", "logs/d1/a.log", "logs/file.log"], ["logs/again", "logs/latest", "logs/self"]
    for pattern in ("logs", "logs/**", "logs/**/*", "logs/**/*.log", "**/*g"):
        found = [name for name in names(pattern)[0] if name.startswith("logs")]
        assert (found, set(names(pattern)[1]) <= set(links)) == (once, True), pattern
    assert names("logs/**")[1] == names("logs")[1] == links
    for pattern in ("logs/latest", "logs/lat*", "logs/**/latest", "logs/l*/*.log"):
        assert names(pattern)[0] == ["logs/latest/a.log"], pattern


def test_the_output_of_a_job_that_had_nothing_to_write_is_an_input_without_files(
    tmp_path: Path, files: OsFileSystem
) -> None:
    make(tmp_path, "out/_SUCCESS", "others/_SUCCESS")
    (tmp_path / "out/_SUCCESS").write_bytes(manifest(()))
    (tmp_path / "others/_SUCCESS").write_bytes(b"")
    (tmp_path / "none").mkdir()
    for named in ("out", "others", "o*", "**"):
        assert find_inputs([f"{tmp_path}/{named}"], files).files == (), named
    for named in ("none", "out/part-*"):
        with pytest.raises(InvalidArgument, match="names no file"):
            find_inputs([f"{tmp_path}/out", f"{tmp_path}/{named}"], files)


def test_an_output_that_has_lost_its_parts_is_not_taken_for_an_empty_one(
    tmp_path: Path, files: OsFileSystem
) -> None:
    make(tmp_path, "lost/_SUCCESS", "odd/_SUCCESS", "out/_SUCCESS", "month/day-1/_SUCCESS")
    part = StagedPart(0, "/staged/0", 9, 1, 1, "part-00000")
    (tmp_path / "lost/_SUCCESS").write_bytes(manifest([part]))
    for empty in ("out", "month/day-1"):
        (tmp_path / empty / "_SUCCESS").write_bytes(manifest(()))
    (tmp_path / "odd/_SUCCESS").write_bytes(b"[" * 100_000)
    for named in ("lost", "odd", "l*", "[lo]?*", "month"):
        with pytest.raises(InvalidArgument, match="names no file"):
            find_inputs([f"{tmp_path}/{named}"], files)
    assert find_inputs([f"{tmp_path}/month/*"], files).files == ()


@pytest.mark.parametrize("what", ["fifo", "device", "made up"])
def test_what_is_not_a_regular_file_is_refused(tmp_path: Path, files: OsFileSystem, what: str) -> None:
    path = {"fifo": tmp_path / "in", "device": Path("/dev/zero"), "made up": Path("/proc/cpuinfo")}[what]
    if what == "fifo":
        os.mkfifo(path)
    with pytest.raises(InvalidArgument, match=f"{path}.*(no regular file|made up)"):
        planned(files, path)


def test_a_pipe_in_a_folder_is_passed_over_and_told(tmp_path: Path, files: OsFileSystem) -> None:
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe")
    assert planned(files, tmp_path) == (f"passed over 1 name of the input: {tmp_path}/pipe",)
    assert planned(files, tmp_path / "*") == (f"passed over 1 name of the input: {tmp_path}/pipe",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.zip", zipped()),
        ("t", zipped()),
        ("t.tar", tarred()),
        ("t.txt", tarred()),
        ("t.tar.gz", gzip.compress(tarred(), mtime=0)),
        ("t.tgz", gzip.compress(tarred(), mtime=0)),
        ("t.parquet", b"PAR1....PAR1"),
        ("t.snappy.parquet", b"PAR1....PAR1"),
        ("part-00000", b"PAR1....PAR1"),
        ("t.orc", b"ORC"),
        ("part-00000", b"ORC....ORC\x17"),
        ("t.avro", b"Obj\x01"),
        ("t.txt", b"Obj\x01"),
        ("t.arrow", b"ARROW1\0\0"),
        ("t.lz4", TEXT),
        ("t.log", lz4.frame.compress(TEXT)),
        ("t.txt", gzip.compress(TEXT, mtime=0)),
        ("t.txt", bz2.compress(TEXT)),
        ("t.txt", lzma.compress(TEXT)),
        ("t.txt", zstandard.compress(TEXT)),
        ("T.GZ", gzip.compress(TEXT, mtime=0)),
        ("t.gz", TEXT),
        ("t.bz2", TEXT),
        ("t.xz", gzip.compress(TEXT, mtime=0)),
        ("t.zst", TEXT),
    ],
)
def test_a_file_that_holds_no_lines_is_refused_before_the_job_starts(
    tmp_path: Path, files: OsFileSystem, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for format in ("lines", "bytes", "jsonl", "csv"):
        with pytest.raises(InvalidArgument, match=f"{path} cannot be read as {format}") as caught:
            planned(files, path, format=format)
        assert caught.value.hint
    planned(files, path, format="file")  # whole files are the job's own business


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.gz", gzip.compress(TEXT, mtime=0)),
        ("t.bz2", bz2.compress(TEXT)),
        ("t.xz", lzma.compress(TEXT)),
        ("t.zst", zstandard.compress(TEXT)),
        ("empty.gz", b""),
        ("t.txt", b"ORCHESTRA\n"),
        ("t.txt", b"ORC\nORC\n"),
        ("t.txt", b"PAR1 is four letters\n"),
        ("t.txt", b"BZh may begin a word\n"),
        ("t.txt", b"ustar\n"),
        ("t", b"\xff\xfe text of another encoding\n"),
    ],
)
def test_text_and_compressed_text_are_taken(
    tmp_path: Path, files: OsFileSystem, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for format in ("lines", "bytes", "jsonl", "csv", "file"):
        splits = plan_input([SourcePaths("", format, (str(path),))], files).splits
        read = [piece.file.path for split in splits for piece in split.pieces]
        assert read == ([str(path)] if content or format == "file" else [])
