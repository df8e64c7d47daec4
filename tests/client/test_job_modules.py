"""From what a user types to a job and its bundle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from client.job_modules import load_job_module
from cluster.adapters.os_files import OsFileSystem
from cluster.errors import InvalidArgument

GOOD = """
from collections.abc import Iterable, Iterator
from helpers_of_job.splitting import split
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in split(line):
        yield word, 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)

count = job(map=words, reduce=total)
"""


@pytest.fixture
def files() -> Iterator[OsFileSystem]:
    with closing(OsFileSystem()) as files:
        yield files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helpers_of_job").mkdir()
    (tmp_path / "helpers_of_job" / "__init__.py").touch()
    (tmp_path / "helpers_of_job" / "splitting.py").write_text("def split(line): return line.split()\n")
    (tmp_path / "good_job.py").write_text(GOOD)
    return tmp_path


def test_a_job_is_found_by_file_and_name_and_packed_with_its_local_imports(
    folder: Path, files: OsFileSystem
) -> None:
    job = load_job_module("good_job.py:count", files, str(folder))
    assert (job.module, job.name, job.root) == ("good_job", "count", str(folder))
    names = zipfile.ZipFile(io.BytesIO(job.bundle.data)).namelist()
    assert {"good_job.py", "helpers_of_job/__init__.py", "helpers_of_job/splitting.py"} <= set(names)


def test_the_root_is_above_the_outermost_package(folder: Path, files: OsFileSystem) -> None:
    (folder / "helpers_of_job" / "inner.py").write_text(GOOD)
    job = load_job_module("inner.py:count", files, str(folder / "helpers_of_job"))
    assert (job.module, job.root) == ("helpers_of_job.inner", str(folder))


def test_of_two_files_of_one_name_each_gives_its_own_job(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, files: OsFileSystem
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "good_job.py").write_text(
        GOOD.replace("helpers_of_job.splitting import split", "shlex import split")
    )
    first = load_job_module("good_job.py:count", files, str(folder))
    second = load_job_module("good_job.py:count", files, str(other))
    assert first.definition is not second.definition


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        (GOOD, "absent.py:count", "there is no file"),
        (GOOD, "a_job.py", "names no job"),
        (GOOD, "a_job.py:nothing", "'nothing' in .* is not there"),
        (GOOD, "no.such.module:count", "there is no module"),
        ("1 / 0\n", "a_job.py:count", r"ZeroDivisionError.*a_job\.py:1"),
        ("def (:\n", "a_job.py:count", r"a_job\.py:1 does not parse"),
        ("import no_such_thing\n", "a_job.py:count", "no_such_thing"),
        (GOOD.replace("map=words", "map=lambda k, v: []"), "a_job.py:count", "lambda"),
        (GOOD.replace("Iterator[tuple[str, int]]:\n    for", "Iterator[tuple[str, str]]:\n    for"),
         "a_job.py:count", "str"),
    ],
)  # fmt: skip
def test_a_broken_job_is_one_clear_error(
    source: str, target: str, told: str, folder: Path, files: OsFileSystem
) -> None:
    (folder / "a_job.py").write_text(source)
    with pytest.raises(InvalidArgument, match=told):
        load_job_module(target, files, str(folder))
