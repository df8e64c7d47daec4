"""The wheel, built once, and an environment that has it and what it depends on, and nothing else of ours."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "cluster", "node", "simulator")
BUILD = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"


def run(*line: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network from a copy of what the repository has."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "ringmill", "examples", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    run(sys.executable, "-c", BUILD, str(out), cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel; dependencies are those that are installed here."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    interpreter = folder / "venv" / "bin" / "python"
    told = run(str(interpreter), "-c", "import site; print(site.getsitepackages()[0])", cwd=folder)
    site = Path(told.strip())
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return interpreter
