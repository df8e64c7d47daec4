"""Inputs by URL: read through fsspec, with the bytes of the same files by path."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import fsspec
import pytest

from examples.wordcount import wordcount
from ringmill import FileInput, Sum, estimate_job, job, run_local
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.errors import InvalidArgument, JobFailed

DAY = datetime(2026, 1, 1, tzinfo=UTC)


class Shelf(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store of objects by flat names, as S3 is: what is before a slash counts as a folder."""

    protocol = "shelf"
    objects: dict[str, bytes] = {}  # noqa: RUF012
    times: dict[str, Any] = {}  # noqa: RUF012
    cachable = False

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path).strip("/")
        found: dict[str, dict[str, Any]] = {}
        for name, data in self.objects.items():
            child = name if name == path else f"{path}/{name.removeprefix(f'{path}/').split('/')[0]}"
            time = self.times.get(name, DAY)
            if child == name:
                found[name] = {"name": name, "size": len(data), "type": "file", "LastModified": time}
            elif name.startswith(f"{path}/"):
                found[child] = {"name": child, "size": 0, "type": "directory"}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else sorted(found)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        name = self._strip_protocol(path)
        if name.endswith("broken.txt"):
            raise RuntimeError("the library's own error")
        return io.BytesIO(self.objects[name])


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path) -> Iterator[dict[str, bytes]]:
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    text = "".join(f"w{n % 50} w{n * n % 7}\n" for n in range(20_000)).encode()
    Shelf.objects = {
        "b/in/a.txt": text[:70_001],
        "b/in/deep/b.txt": text[70_001:],
        "b/in/_log/x": b"no",
        "b/other.txt": b"x\n",
    }
    for name, data in Shelf.objects.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    yield Shelf.objects
    Shelf.objects, Shelf.times = {}, {}


def counted(input: Any, output: Path, **settings: Any) -> bytes:
    run_local(job(map=wordcount.map, reduce=Sum()), input, str(output), overwrite=True, **settings)
    return b"".join(part.read_bytes() for part in sorted(output.glob("part-*")))


@pytest.mark.parametrize("path", ["b/in", "b/in/**/*.txt", "b/in/?.txt", "b/in/a.txt"])
@pytest.mark.parametrize("scheme", ["shelf://", "local://{folder}/", "file://{folder}/"])
def test_files_folders_and_globs_give_what_they_give_by_path(path: str, scheme: str, tmp_path: Path) -> None:
    url = scheme.format(folder=tmp_path) + path
    by_path = counted(f"{tmp_path}/{path}", tmp_path / "path")
    assert counted(url, tmp_path / "url", processes=2) == by_path != b""


def test_packed_files_and_records_by_line_are_read_too(tmp_path: Path) -> None:
    packed = gzip.compress(Shelf.objects["b/in/a.txt"])
    Shelf.objects["b/packed.txt.gz"] = packed
    (tmp_path / "packed.txt.gz").write_bytes(packed)
    by_path = counted(f"{tmp_path}/packed.txt.gz", tmp_path / "path")
    assert counted("shelf://b/packed.txt.gz", tmp_path / "url") == by_path
    mixed = [f"{tmp_path}/b/in/deep", "shelf://b/in/a.txt"]
    assert counted(mixed, tmp_path / "url") == counted(f"{tmp_path}/b/in", tmp_path / "path")
    assert estimate_job(wordcount, "shelf://b/in", nodes=2, scratch=str(tmp_path)).input_bytes > 100_000


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ("shelf://b/none", "names no file"),
        ("shelf://b/none/*.txt", "names no file"),
        ("nothing://b/x", "Protocol not known"),
        ("s3://b/x", "s3fs"),
        ("memory://b/x", "memory of one process"),
        ("simplecache::shelf://b/in/a.txt", "chains URLs"),
        ("zip://x::shelf://b/in.zip", "chains URLs"),
        ("file://host/a", "names another machine"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(input: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=said) as refused:
        counted(input, tmp_path / "out")
    assert input in str(refused.value)


def test_a_file_that_changes_under_the_job_fails_it(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"shelf://b/in/deep/b\.txt changed under the job"):
        run_local(
            job(map=change, input=FileInput("lines")), "shelf://b/in", str(tmp_path / "out"), split_mib=1
        )


def change(offset: int, line: str) -> Iterator[tuple[str, int]]:
    Shelf.times["b/in/deep/b.txt"] = "another version"
    yield line, 1


def test_the_error_of_a_library_below_is_reported_with_its_url(tmp_path: Path) -> None:
    Shelf.objects["b/broken.txt"] = b"x\n"
    with pytest.raises(OSError, match=r"RuntimeError: the library's own error: 'shelf://b/broken\.txt'"):
        counted("shelf://b/broken.txt", tmp_path / "out")


def test_a_store_that_tells_no_time_is_recognized_by_size_alone() -> None:
    files = UrlFiles()
    assert files.mtime_ns("shelf://b/in/a.txt") == int(DAY.timestamp()) * 10**9
    for told, expected in ((None, 0), (12.5, 12_500_000_000), ("etag", crc32(b"etag"))):
        Shelf.times["b/in/a.txt"] = told
        assert files.mtime_ns("shelf://b/in/a.txt") == expected
    files.close()
