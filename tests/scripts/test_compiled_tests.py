"""Test files of a fresh clone are compiled once, and not by each worker of a run."""

from __future__ import annotations

import os
from pathlib import Path

from compiled_tests import compile_tests, not_compiled

PASSES = "def test_that_passes():\n    assert 1 + 1 == 2\n"


def test_a_file_is_compiled_once(tmp_path: Path) -> None:
    for name in ("test_one.py", "deeper/test_two.py", "test_three.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(PASSES, encoding="utf-8")
    (tmp_path / "helper.py").write_text("", encoding="utf-8")
    files = not_compiled(tmp_path)
    assert [file.name for file in files] == ["test_two.py", "test_one.py", "test_three.py"]
    compile_tests(files, {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}, processes=2)
    assert not_compiled(tmp_path) == []


def test_a_file_with_an_error_is_left_to_the_run(tmp_path: Path) -> None:
    broken = tmp_path / "test_broken.py"
    broken.write_text("raise RuntimeError\n", encoding="utf-8")
    compile_tests([broken], {**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
