"""The test-suites of fakeredis and redis-py, from their source distributions, and an environment to run them.

Both lie under build/compat/, nothing of theirs is committed.  Versions are pinned here: another one has other
tests, and the table in docs/redis-suites.md would be of other tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

__all__ = ["PINS", "SUITES", "environment_python", "unpacked"]

SUITES: Final = {"fakeredis": "2.41.0", "redis": "8.1.0"}
PINS: Final = (
    *(f"{name}=={version}" for name, version in SUITES.items()),
    "hypothesis==6.170.15",
    "iniconfig==2.3.1",
    "mock==5.2.0",
    "packaging==26.3",
    "pluggy==1.7.0",
    "Pygments==2.21.0",
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
    "pytest-mock==3.17.0",
    "pytest-timeout==2.4.0",
    "sortedcontainers==2.4.0",
    "typing_extensions==4.16.0",
    "valkey==6.2.0",
)
_STAMP: Final = "pins.txt"


def environment_python(folder: Path) -> Path:
    """The Python of a venv in that folder with the pinned packages, made anew when the pins have changed."""
    venv, stamp = folder / "venv", folder / _STAMP
    python = venv / "bin" / "python"
    if not stamp.exists() or stamp.read_text().split() != list(PINS):
        shutil.rmtree(venv, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _run(sys.executable, "-m", "venv", str(venv))
        _run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", *PINS)
        stamp.write_text("\n".join(PINS))
    return python


def unpacked(folder: Path, python: Path, suite: str, port: str) -> Path:
    """A fresh copy of a suite, whose tests ask the server on that port."""
    version = SUITES[suite]
    archives = folder / "sdists"
    archive = archives / f"{suite}-{version}.tar.gz"
    if not archive.exists():
        options = ["-q", "--no-deps", "--no-binary", suite, "-d", str(archives)]
        _run(str(python), "-m", "pip", "download", *options, f"{suite}=={version}")
    place = folder / f"{suite}-{version}"
    shutil.rmtree(place, ignore_errors=True)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    if suite == "fakeredis":
        for path in place.glob("test/**/*.py"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("6390", port), encoding="utf-8")
    return place


def _run(*line: str) -> None:
    if subprocess.run(line, check=False).returncode:
        raise SystemExit(f"failed: {' '.join(line)}")
