"""The command line against real node processes: one cluster a module, in a folder of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local.processes import our_environment
from ringmill.client.local.tcp_ports import free_base

PARTITIONS = 64  # fewer than usual, as nodes that come back compare them one by one
PROGRAM = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
HEARD = {"chaos", "autoscale"}  # verbs that listen to signals


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
    """Types `ringmill ...` in a folder.

    Lines run in this process, through the same `main`, as an interpreter each would be most of the time that
    the tests take.  So nodes are children of this process: who ends them reaps them, too.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        home = {"RINGMILL_HOME": str(self.folder / "home"), "HOME": str(self.folder)}
        return {**our_environment(), **home}

    def start(self, *line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *line],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.folder, env=self.environment, start_new_session=True,
        )  # fmt: skip

    def run(self, *line: str, stdin: bytes = b"") -> Ended:
        is_beside = threading.current_thread() is not threading.main_thread()  # a call redirects for all
        return self.command(*line) if is_beside or HEARD & {*line} else self.call(*line, stdin=stdin)

    def command(self, *line: str) -> Ended:
        """Run a command of its own."""
        process = self.start(*line)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err.decode())

    def call(self, *line: str, stdin: bytes = b"") -> Ended:
        """Run in this process."""
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        with (
            chdir(self.folder),
            patch.dict(os.environ, self.environment),
            patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main(line)
        return Ended(code, out.buffer.getvalue(), err.getvalue())

    def ok(self, *line: str, stdin: bytes = b"") -> Ended:
        """Run what must succeed."""
        ended = self.run(*line, stdin=stdin)
        assert ended.code == 0, (line, ended)
        return ended


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with cluster_of_five(tmp_path_factory, "--partitions", str(PARTITIONS)) as shell:
        yield shell


@contextmanager
def cluster_of_five(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Iterator[Shell]:
    """A shell in a folder with a running cluster; nothing of it is left afterwards."""
    shell = Shell(tmp_path_factory.mktemp("cli"))
    start = 20000 + os.getpid() % 1000 * 12  # another place for another test process
    shell.ok("cluster", "up", "--base-port", str(free_base(5, start)), *options)
    yield shell
    shell.ok("cluster", "down")
