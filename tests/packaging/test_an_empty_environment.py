"""The installed wheel beside a program whose own files have the names of our folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, run

TAKEN = ("client", "cluster", "node", "simulator", "examples", "scripts")
PROGRAM = """
import client, cluster, node, simulator, examples, scripts
assert all(each.MINE for each in (client, cluster, node, simulator, examples, scripts))

import ringmill
from ringmill import FileInput, job, run_local

def words(offset: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]

def total(word: str, counts: list[int]) -> list[tuple[str, int]]:
    return [(word, sum(counts))]

run_local(job(map=words, reduce=total, input=FileInput("lines"), reducers=1), "in.txt", "out")
print(open("out/part-00000").read(), end="")
for name in ringmill.__all__:
    getattr(ringmill, name)
print(ringmill.__file__)
"""
EXAMPLES = "import ringmill, os; print(os.listdir(os.path.dirname(ringmill.__file__) + '/examples'))"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in TAKEN:
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    (tmp_path / "in.txt").write_text("b a\nb\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def test_a_program_keeps_its_own_names(python: Path, folder: Path) -> None:
    *counted, place = run(str(python), "program.py", cwd=folder).splitlines()
    assert counted == ["a\t1", "b\t2"]
    assert not place.startswith(str(ROOT))


def test_the_command_is_in_it(python: Path, folder: Path) -> None:
    assert run(str(python), "-m", "ringmill", "--version", cwd=folder).startswith("ringmill")
    assert "wordcount.py" in run(str(python), "-c", EXAMPLES, cwd=folder), "the guided tour runs one of them"
