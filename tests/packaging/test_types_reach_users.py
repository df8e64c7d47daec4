"""What a wheel carries: types for every package, so that a user's checker sees what ours sees."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")
PACKAGES = ("client", "cluster", "node", "simulator")
BUILD = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"


def run(*line: str, cwd: Path) -> str:
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network from a copy of what the repository has."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "ringmill", "examples", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    run(sys.executable, "-c", BUILD, str(out), cwd=source)
    (built,) = out.glob("*.whl")
    return built


def test_every_shipped_package_says_that_it_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"ringmill/py.typed", *(f"ringmill/{package}/py.typed" for package in PACKAGES)} <= names
    stubs = {f"ringmill/{path.relative_to(ROOT)}" for path in ROOT.glob("cluster/wire/stubs/*.pyi")}
    assert stubs and stubs <= names


@pytest.mark.slow
def test_a_users_checker_sees_the_types_and_the_mistakes(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(str(python), "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip())
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (tmp_path / "program.py").write_text(PROGRAM.read_text())
    checker = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache")
    assert "Success" in run(*checker, "--python-executable", str(python), "program.py", cwd=tmp_path)
