"""The command line against real node processes: one cluster a module, in a folder of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local.processes import our_environment
from ringmill.client.local.tcp_ports import free_base

PARTITIONS = 64  # fewer than usual, as nodes that come back compare them one by one
PROGRAM = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
HEALTHY_WITHIN = "120s"
HERE = Path(__file__).parent
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
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        home = {"RINGMILL_HOME": str(self.folder / "home"), "HOME": str(self.folder)}
        return {**our_environment(), **home}

    def start(self, *line: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *line],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.folder, env=self.environment, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what was started and has not ended, as a test that failed leaves it."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

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

    def files_in(self, name: str) -> dict[str, bytes]:
        """Of a folder beside it, as of an output."""
        return {path.name: path.read_bytes() for path in (self.folder / name).iterdir()}

    def until_healthy(self, *before: str) -> None:
        """Wait until the cluster is; `before` comes before the verb, as --cluster and its name."""
        self.ok(*before, "cluster", "status", "--wait", "healthy", "--timeout", HEALTHY_WITHIN)


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Five nodes with a slot each, however few cores the machine has: tasks may wait for each other."""
    with ExitStack() as stack:
        with with_slots():  # and not for clusters of others that start while this one runs
            cluster = cluster_of_five(tmp_path_factory, "--partitions", str(PARTITIONS))
            shell = stack.enter_context(cluster)
        yield shell


@pytest.fixture(scope="module")
def shell(five: Shell) -> Iterator[Shell]:
    """A cluster that modules share one after the other: each heals first what the one before has left.

    Each uses keys and keyspaces of its own.
    """
    with with_slots():
        five.ok("cluster", "resume")
        five.ok("cluster", "up")  # starts what is stopped
        five.until_healthy()
        yield five


@contextmanager
def with_slots() -> Iterator[None]:
    """Nodes of a local cluster that are started meanwhile share five slots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_HOST_SLOTS", "5")
        yield


def shared_by(item: pytest.Item | None) -> str:
    """The fixture of the cluster that tests in the folder of this one share."""
    if item is None or not item.path.is_relative_to(HERE):
        return ""
    return "shell" if item.path.is_relative_to(HERE / "undisturbed") else "five"


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> None:
    """A shared cluster ends with the last test beside it and not with the session: its nodes take time of
    the processor as long as they live.  A test that comes later all the same starts another one."""
    name = shared_by(item)
    if shared_by(nextitem) != name:
        for fixture in reversed(item.session._fixturemanager.getfixturedefs(name, item) or ()):
            fixture.finish(item._request)  # of which it needs the node alone


@contextmanager
def cluster_of_five(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Iterator[Shell]:
    """A shell in a folder with a running cluster; nothing of it is left afterwards."""
    shell = Shell(tmp_path_factory.mktemp("cli"))
    start = 20000 + os.getpid() % 1000 * 12  # another place for another test process
    shell.ok("cluster", "up", "--base-port", str(free_base(5, start)), *options)
    yield shell
    shell.end()
    shell.ok("cluster", "down")
