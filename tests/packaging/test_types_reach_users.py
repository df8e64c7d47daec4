"""What a wheel carries: types for every package, so that a user's checker sees what ours sees."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import PACKAGES, ROOT, run

PROGRAM = Path(__file__).with_name("typed_program.py")


def test_every_shipped_package_says_that_it_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"ringmill/py.typed", *(f"ringmill/{package}/py.typed" for package in PACKAGES)} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"ringmill"}
    stubs = {f"ringmill/{path.relative_to(ROOT)}" for path in ROOT.glob("cluster/wire/stubs/*.pyi")}
    assert stubs and stubs <= names


@pytest.mark.slow
def test_a_users_mypy_sees_the_types_and_the_mistakes(python: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    checker = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache")
    assert "Success" in run(*checker, "--python-executable", str(python), "program.py", cwd=tmp_path)


@pytest.mark.slow
def test_a_users_pyright_sees_the_types_and_the_mistakes(python: Path, tmp_path: Path) -> None:
    """Not part of the usual set-up, as it brings a Node.js: pip install -c constraints.txt -e '.[pyright]'.

    pyright ignores with `# type: ignore` as mypy does, and is told to refuse one that is not needed.
    """
    pytest.importorskip("basedpyright")
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    (tmp_path / "pyrightconfig.json").write_text(
        '{"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": "error"}'
    )
    checker = (sys.executable, "-m", "basedpyright", "--pythonpath", str(python))
    assert "0 errors" in run(*checker, "program.py", cwd=tmp_path)
