"""From what a user types to a job and its bundle."""

from __future__ import annotations

import importlib.util
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ringmill.client.jobs.job_modules import load_job, load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition

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
        (GOOD, "helpers_of_job.nothing:count", "there is no module"),
        (GOOD, ".good_job:count", "there is no module"),
        (GOOD, ":count", "there is no module"),
        (GOOD, "__main__:count", "there is no module|'count' in .* is not there"),
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


@pytest.mark.parametrize(
    ("source", "told"),
    [("1 / 0", "ZeroDivision"), ("int('x')", "ValueError"), ("import no_such_thing", "ModuleNotFoundError")],
)
def test_a_package_that_fails_to_import_is_one_clear_error(
    source: str, told: str, folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken_package").mkdir()
    (folder / "broken_package" / "__init__.py").write_text(f"{source}\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(InvalidArgument, match=rf"package of broken_package\.jobs fails to import: {told}"):
        load_job_module("broken_package.jobs:count", files, "/")


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


def _imported(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that the program imports by itself, from a folder on its path."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def _script(source: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What a script has that has run up to its end."""
    path.write_text(source)
    monkeypatch.syspath_prepend(path.parent)
    script = ModuleType("__main__")
    script.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", script)
    exec(compile(source, path, "exec", dont_inherit=True), vars(script))
    return script


COMMAND = """
from ringmill import Command, job

count = job(map=Command(["cat"]))
"""


def test_a_job_is_imported_from_the_file_that_makes_it_not_from_one_that_imports_it(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes lack what a program needs beside its jobs, and would run its top level."""
    (folder / "made_jobs.py").write_text(COMMAND)
    script = _script("from made_jobs import count\n", folder / "app.py", monkeypatch)
    job = load_job(script.count, files, "/")
    assert (job.module, job.bundle.files) == ("made_jobs", ("made_jobs.py",))


def test_a_script_that_does_not_import_is_told_of_the_guard(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it calls asyncio.run at its top."""
    script = _script(f"{GOOD}\nif __name__ != '__main__':\n    1 / 0\n", folder / "bare.py", monkeypatch)
    with pytest.raises(InvalidArgument, match=r"bare\.py fails to import: ZeroDivisionError") as refused:
        load_job(script.count, files, "/")
    assert "imported once more, as nodes do: put the run under" in refused.value.hint


def test_a_job_that_a_function_of_another_file_makes_is_of_the_file_that_names_it(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = COMMAND.replace("count = job", "def made(): return job")
    (folder / "job_factory.py").write_text(made)
    (folder / "named_jobs.py").write_text("from job_factory import made\ncount = made()\n")
    script = _script("from named_jobs import count\n", folder / "app.py", monkeypatch)
    assert load_job(script.count, files, "/").module == "named_jobs"


@pytest.mark.parametrize("is_imported_here", [True, False])
def test_a_file_that_runs_its_job_by_name_while_it_is_imported_does_not_hang(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch, *, is_imported_here: bool
) -> None:
    """The client's thread would wait for the import, and the import for the client's thread."""
    name = f"waiting_job_{is_imported_here}"
    eager = GOOD + (
        "import ringmill\n"
        "db = ringmill.Client('127.0.0.1:1')\n"
        f"db.jobs.run({f'{folder}/{name}.py:count'!r}, input='x', output='y')\n"
    )
    (folder / f"{name}.py").write_text(eager)
    told: list[Exception] = []

    def run() -> None:
        try:
            if is_imported_here:
                load_job_module(f"{name}.py:count", files, str(folder))
            else:
                _imported(name, folder, monkeypatch)
        except InvalidArgument as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert ["while it is being imported" in str(each) for each in told] == [True]


SETTINGS = GOOD.replace("reduce=total)", "reduce=total, params={'least': LEAST})").replace(
    "from ringmill", "from settings_of_job import LEAST\nfrom ringmill"
)


@pytest.mark.parametrize("edited", ["set_job.py", "settings_of_job.py"])
def test_a_job_by_name_is_that_of_its_file_as_it_is_now(
    edited: str, folder: Path, files: OsFileSystem
) -> None:
    (folder / "set_job.py").write_text(SETTINGS)
    (folder / "settings_of_job.py").write_text("LEAST = '5'\n")
    first = load_job_module("set_job.py:count", files, str(folder))
    assert first.definition.params == {"least": "5"}
    assert load_job_module("set_job.py:count", files, str(folder)).definition is first.definition
    text = (folder / edited).read_text()
    (folder / edited).write_text(text.replace("'5'", "'10'").replace(": LEAST}", ": '10'}"))
    assert load_job_module("set_job.py:count", files, str(folder)).definition.params == {"least": "10"}


def test_a_job_object_is_told_apart_from_that_of_its_file_once_that_has_changed(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "kept_job.py").write_text(GOOD)
    module = _imported("kept_job", folder, monkeypatch)
    loaded = load_job(module.count, files, "/")
    assert loaded.definition is loaded.in_file is module.count
    (folder / "kept_job.py").write_text(GOOD.replace("reduce=total", "reduce=total, reducers=8"))
    loaded = load_job(module.count, files, "/")
    assert loaded.definition is module.count
    assert isinstance(loaded.in_file, JobDefinition)
    assert loaded.in_file.reducers == 8
    assert sys.modules["kept_job"] is module


class Rewriting(SourceFileLoader):
    """Makes another code of a source, as pytest does."""

    def source_to_code(self, data: Any, path: Any, **_: Any) -> Any:  # type: ignore[override]
        return compile(f"rewritten = True\n{data.decode()}", path, "exec", dont_inherit=True)


def test_a_module_whose_loader_rewrites_it_counts_as_made_of_its_file(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each program of such modules would be imported a second time."""
    (folder / "rewritten_job.py").write_text(GOOD)
    monkeypatch.syspath_prepend(folder)
    loader = Rewriting("rewritten_job", str(folder / "rewritten_job.py"))
    spec = importlib.util.spec_from_file_location("rewritten_job", loader.path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "rewritten_job", module)
    loader.exec_module(module)
    assert load_job(module.count, files, "/").in_file is module.count


def test_the_records_of_a_script_are_read_with_its_own_job(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its file was imported anew, its records would be of classes that the script does not know."""
    script = _script(GOOD, folder / "good_job.py", monkeypatch)
    job = load_job(script.count, files, "/")
    assert job.definition is job.in_file is script.count
    (folder / "good_job.py").write_text(GOOD.replace("reduce=total", "reduce=total, reducers=8"))
    job = load_job(script.count, files, "/")
    assert job.in_file is not job.definition is script.count


def test_a_programs_own_modules_are_there_after_a_submission(
    folder: Path,
    files: OsFileSystem,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tmp_path_factory.mktemp("own")
    (own / "tools_of_job.py").write_text("class Config: pass\n")
    module = _imported("tools_of_job", own, monkeypatch)
    (folder / "tools_of_job.py").write_text("def split(line): return [line]\n")
    (folder / "a_job.py").write_text(GOOD.replace("helpers_of_job.splitting", "tools_of_job"))
    job = load_job_module("a_job.py:count", files, str(folder))
    assert isinstance(job.definition, JobDefinition)
    assert list(job.definition.map(0, "a b")) == [("a b", 1)]
    assert sys.modules["tools_of_job"] is module


BARE = GOOD.replace("from helpers_of_job.splitting import split", "import FOLDER.splitting").replace(
    "split(line)", "FOLDER.splitting.split(line)"
)


@pytest.mark.parametrize("bare", ["bare_of_job", "bare_above.bare_of_job"])
def test_jobs_of_one_program_share_a_folder_without_an_init(
    bare: str, tmp_path: Path, files: OsFileSystem
) -> None:
    """It is a package that nobody imports by itself: its modules would be there, unknown to it."""
    (tmp_path / bare.replace(".", "/")).mkdir(parents=True)
    (tmp_path / bare.replace(".", "/") / "splitting.py").write_text("def split(line): return [line]\n")
    for name in ("first_bare", "second_bare"):
        source = BARE.replace("FOLDER", bare) + f"{bare}.splitting.split('')\n"
        (tmp_path / f"{name}.py").write_text(source)
        job = load_job(f"{name}.py:count", files, str(tmp_path))
        assert isinstance(job.definition, JobDefinition)
        assert list(job.definition.map(0, "a b")) == [("a b", 1)]


def test_folders_of_one_name_without_an_init_each_give_their_own_modules(
    tmp_path_factory: pytest.TempPathFactory, files: OsFileSystem
) -> None:
    for at in "ab":
        folder = tmp_path_factory.mktemp(at)
        (folder / "double_bare" / "inner").mkdir(parents=True)
        (folder / "double_bare" / "inner" / "splitting.py").write_text(f"def split(line): return [{at!r}]\n")
        (folder / "bare_job.py").write_text(BARE.replace("FOLDER", "double_bare.inner"))
        job = load_job("bare_job.py:count", files, str(folder))
        assert isinstance(job.definition, JobDefinition)
        assert list(job.definition.map(0, "")) == [(at, 1)]


def test_a_bare_folder_that_is_not_imported_yet_leaves_the_programs_modules_beside_it(
    tmp_path: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "upper_bare" / "lower_bare").mkdir(parents=True)
    for name in ("", "lower_bare/"):
        (tmp_path / "upper_bare" / f"{name}splitting.py").write_text("def split(line): return [line]\n")
    source = BARE.replace("FOLDER", "upper_bare.lower_bare") + "import upper_bare.splitting\n"
    (tmp_path / "bare_jobs.py").write_text(source)
    module = _imported("upper_bare.splitting", tmp_path, monkeypatch)
    job = load_job("bare_jobs.py:count", files, str(tmp_path))
    assert isinstance(job.definition, JobDefinition)
    assert vars(sys.modules[job.definition.map.__module__])["upper_bare"].splitting is module


def test_a_programs_modules_are_there_again_after_a_job_that_takes_its_folder_off_the_path(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "off_path.py").write_text(GOOD)
    module = _imported("off_path", folder, monkeypatch)
    (folder / "off_path.py").write_text(f"{GOOD}\nimport sys\nsys.path[:] = sys.path[2:]\n")
    load_job("off_path.py:count", files, str(folder))
    assert sys.modules["off_path"] is module


TIMED = "import uuid\n" + GOOD.replace("reduce=total", "reduce=total, params={'at': str(uuid.uuid4())}")


def test_a_module_whose_path_is_not_normal_is_the_programs_own(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a script puts the folder above its own on the path."""
    (folder / "timed_job.py").write_text(TIMED)
    module = _imported("timed_job", folder / "helpers_of_job" / "..", monkeypatch)
    assert load_job(module.count, files, "/").in_file is module.count


def test_a_module_that_was_imported_by_another_name_is_the_programs_own(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings may be others at each import: nobody has changed its file."""
    (folder / "bare_of_jobs").mkdir()
    (folder / "bare_of_jobs" / "timed_inner.py").write_text(TIMED)
    monkeypatch.syspath_prepend(folder / "bare_of_jobs")
    module = _imported("bare_of_jobs.timed_inner", folder, monkeypatch)
    monkeypatch.syspath_prepend(folder)
    (folder / "bare_of_jobs" / "helpers_of_job").symlink_to(folder / "helpers_of_job")
    assert load_job(module.count, files, "/").in_file is module.count


def test_a_package_that_runs_its_job_by_name_while_it_is_imported_does_not_hang(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's thread would wait for the package, and the package for the client's thread."""
    (folder / "waiting_package").mkdir()
    (folder / "waiting_package" / "jobs.py").write_text(GOOD)
    (folder / "waiting_package" / "__init__.py").write_text("from waiting_package import app\n")
    (folder / "waiting_package" / "app.py").write_text(
        "import asyncio\n"
        "from ringmill.client.jobs.job_packing import load_meanwhile\n"
        "from ringmill.cluster.adapters.files.os_files import OsFileSystem\n"
        "from contextlib import closing\n"
        "asyncio.run(load_meanwhile('waiting_package.jobs:count', lambda: closing(OsFileSystem())))\n"
    )
    told: list[Exception] = []

    def run() -> None:
        try:
            _imported("waiting_package", folder, monkeypatch)
        except InvalidArgument as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert ["while it is being imported" in str(each) for each in told] == [True]


def test_a_module_that_was_reloaded_is_not_taken_for_what_it_was_at_its_first_submission(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload changes the module in its place; then the edit of the file is undone."""
    path = folder / "reloaded_job.py"
    path.write_text(GOOD)
    module = _imported("reloaded_job", folder, monkeypatch)
    first = load_job(module.count, files, "/").in_file
    assert isinstance(first, JobDefinition)
    assert first is module.count
    path.write_text(GOOD.replace("reduce=total", "reduce=total, reducers=8"))
    importlib.reload(module)
    path.write_text(GOOD)
    by_object = load_job(module.count, files, "/")
    by_name = load_job("reloaded_job.py:count", files, str(folder))
    assert isinstance(by_object.in_file, JobDefinition)
    assert isinstance(by_name.definition, JobDefinition)
    assert module.count.reducers == 8
    assert by_object.in_file.reducers == by_name.definition.reducers == first.reducers != 8


@pytest.mark.parametrize("is_submitted_between", [True, False])
def test_modules_that_were_reloaded_after_an_edit_are_the_programs_own(
    folder: Path, files: OsFileSystem, monkeypatch: pytest.MonkeyPatch, *, is_submitted_between: bool
) -> None:
    """As a notebook does: records would be of classes that are not the program's."""
    (folder / "reloaded_user.py").write_text(GOOD.replace("helpers_of_job.splitting", "reloaded_helper"))
    (folder / "reloaded_helper.py").write_text("def split(line): return [line]\n")
    monkeypatch.delitem(sys.modules, "reloaded_helper", raising=False)
    user = _imported("reloaded_user", folder, monkeypatch)
    assert load_job("reloaded_user.py:count", files, str(folder)).definition is user.count
    (folder / "reloaded_helper.py").write_text("# edited\ndef split(line): return [line]\n")
    if is_submitted_between:
        assert load_job("reloaded_user.py:count", files, str(folder)).definition is not user.count
    for module in (sys.modules["reloaded_helper"], user):
        importlib.reload(module)
    assert load_job("reloaded_user.py:count", files, str(folder)).definition is user.count
