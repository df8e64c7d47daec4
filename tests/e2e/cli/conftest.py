"""The command line against real node processes: one cluster a module, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.cli.ports import free_base
from client.cli.processes import our_environment

PROGRAM = "import sys; from client.cli.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])["error"]


@dataclass(frozen=True)
class Shell:
    """Types `ringmill ...` in a folder."""

    folder: Path

    def start(self, *line: str) -> subprocess.Popen[bytes]:
        environment = {
            **our_environment(),
            "RINGMILL_HOME": str(self.folder / "home"),
            "HOME": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *line],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.folder, env=environment, start_new_session=True,
        )  # fmt: skip

    def run(self, *line: str, stdin: bytes = b"") -> Ended:
        process = self.start(*line)
        out, err = process.communicate(stdin, timeout=120)
        return Ended(process.returncode, out, err.decode())

    def ok(self, *line: str, stdin: bytes = b"") -> Ended:
        """Run what must succeed."""
        ended = self.run(*line, stdin=stdin)
        assert ended.code == 0, (line, ended)
        return ended


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in a folder with a running cluster of five; nothing of it is left afterwards."""
    shell = Shell(tmp_path_factory.mktemp("cli"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    shell.ok("cluster", "up", "--base-port", str(free_base(5, 22000 + 200 * worker)))
    yield shell
    shell.ok("cluster", "down")
