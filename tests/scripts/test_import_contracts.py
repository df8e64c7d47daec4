"""The contracts of who may import whom see the whole tree, and each of them goes red when it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tidy

ROOT = tidy.ROOT
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINTER = SETTINGS["tool"]["importlinter"]

BREACHES = {
    "client/__init__.py": "import ringmill.node.replica",
    "client/connection.py": "import rich",
    "client/values.py": "import ringmill.client.kv",
    "client/cli/console/output.py": "import ringmill.client.cli.main",
    "node/jobs/__init__.py": "import ringmill.node.requests",
    "cluster/ring/__init__.py": "import ringmill.cluster.quorum, click",
    "node/requests/__init__.py": "import ringmill.cluster.adapters, grpc",
    "node/requests/owners/__init__.py": "import ringmill.node.requests.write",
    "node/storage/__init__.py": "import ringmill.cluster.ring",
    "node/storage/log/__init__.py": "import ringmill.node.storage.engine",
    "cluster/adapters/files/__init__.py": "import ringmill.cluster.adapters.network",
    "cluster/mapreduce/__init__.py": "import psutil",
    "cluster/mapreduce/machine/__init__.py": "import ringmill.cluster.mapreduce.kernel",
    "cluster/wire/__init__.py": "import psutil",
    "simulator/world/__init__.py": "import ringmill.simulator.faults",
    "cluster/traces/__init__.py": "import opentelemetry.trace",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages and the contracts, to be broken."""
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ringmill", tmp_path / "ringmill", ignore=left_out)  # follows the links
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _lint(folder: Path) -> str:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    ).stdout


def test_every_package_of_the_distribution_is_under_contract() -> None:
    packed = SETTINGS["tool"]["setuptools"]["packages"]["find"]["include"]
    assert packed == [LINTER["root_package"] + "*"]


def test_every_contract_goes_red_when_it_is_broken(tree: Path) -> None:
    for name, statement in BREACHES.items():
        with (tree / "ringmill" / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{statement}\n")
    said = _lint(tree)
    for contract in LINTER["contracts"]:
        assert f"{contract['name']} BROKEN" in " ".join(said.split()), said


def test_a_new_room_has_to_take_its_place(tree: Path) -> None:
    for package in ("node/attic", "cluster/cellar"):
        (tree / "ringmill" / package).mkdir()
        (tree / "ringmill" / package / "__init__.py").touch()
    said = _lint(tree)
    assert said.count("not listed as layers") == 2, said
    assert "attic" in said
    assert "cellar" in said
