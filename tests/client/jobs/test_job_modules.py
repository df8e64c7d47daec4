"""From what a user types to a job and its bundle."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ringmill.client.jobs.job_modules import load_job, load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument

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
        (GOOD, "a_job.py", "does not name a job"),
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


def test_a_job_object_is_found_in_its_module(folder: Path, files: OsFileSystem) -> None:
    definition = load_job_module("good_job.py:count", files, str(folder)).definition
    job = load_job(definition, files, "/somewhere/else")
    assert (job.module, job.name, job.root) == ("good_job", "count", str(folder))
    assert job.definition is definition


def test_a_job_object_of_a_script_is_found_by_the_scripts_file(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ModuleType("__main__")
    script.__file__ = str(folder / "good_job.py")
    monkeypatch.setitem(sys.modules, "__main__", script)
    exec(compile(GOOD, script.__file__, "exec"), vars(script))
    job = load_job(vars(script)["count"], files, "/somewhere/else")
    assert (job.module, job.name) == ("good_job", "count")


def test_a_job_object_that_has_no_name_in_a_file_is_refused(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = load_job_module("good_job.py:count", files, str(folder)).definition
    with pytest.raises(InvalidArgument, match="not at the top level of a module"):
        load_job(replace(definition), files, str(folder))
    notebook = ModuleType("__main__")
    notebook.copied = replace(definition)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    with pytest.raises(InvalidArgument, match="__main__, which has no file"):
        load_job(notebook.copied, files, str(folder))


def test_a_module_that_runs_its_job_while_it_is_imported_is_told_to_guard_it(
    folder: Path, files: OsFileSystem
) -> None:
    script = GOOD + (
        "from contextlib import closing\n"
        "from ringmill.client.jobs.job_modules import load_job\n"
        "from ringmill.cluster.adapters.files.os_files import OsFileSystem\n"
        "with closing(OsFileSystem()) as files:\n"
        "    load_job(count, files, '/')\n"
    )
    (folder / "eager_job.py").write_text(script)
    with pytest.raises(InvalidArgument, match="while it is being imported") as refused:
        load_job_module("eager_job.py:count", files, str(folder))
    assert "__main__" in refused.value.hint


def test_a_job_that_lacks_an_extra_is_told_how_to_get_it(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "columns_job.py").write_text("import pyarrow\n")
    with pytest.raises(InvalidArgument, match="fails to import") as caught:
        load_job_module("columns_job.py:count", files, str(folder))
    assert "pip install 'ringmill[arrow]'" in caught.value.hint
