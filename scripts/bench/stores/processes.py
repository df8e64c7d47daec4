"""What contestants share that are plain processes: started on loopback, awaited, asked through their client,
and stopped.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from local_cluster import ROOT
from stores.client_process import ClientProcess, LineProcess, our_environment

__all__ = ["Processes", "folder_of", "program", "running", "wait_for"]

READY_S = 20.0
STOP_S = 10.0


def program(name: str, named: str | None) -> Path | None:
    """The program that an option names, or the one in PATH; None when there is none."""
    found = shutil.which(named or name)
    return Path(found) if found else None


class Processes:
    """A store of plain processes on loopback, with a folder under build/bench/ that goes with them."""

    name = ""
    settings = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client: LineProcess | None = None
        self._stack = ExitStack()

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._client is not None
        return self._client.ask(asked)

    @property
    def why_no_scans(self) -> str:
        return "its client here knows no scans"

    def why_not(self, case: dict[str, Any]) -> str:
        if case["way"]:
            return "its client here sends single requests"
        durability = case["durability"] or "synced"
        return "" if durability == "synced" else f"it runs synced here, and {durability} was asked for"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _client_of(self, endpoints: str, pids: Sequence[int]) -> LineProcess:
        return ClientProcess(self.name, endpoints, pids)

    def _start(self, commands: Sequence[Sequence[str]], endpoints: str, *, ready_s: float = READY_S) -> None:
        """Start a process a command, wait until all of `endpoints` accept connections, and connect."""
        with ExitStack() as stack:
            pids = [stack.enter_context(running(command)) for command in commands]
            for endpoint in endpoints.split(","):
                wait_for(endpoint, ready_s)
            self._client = stack.enter_context(self._client_of(endpoints, pids))
            self._stack = stack.pop_all()


class running:  # noqa: N801 - used as a verb
    """A process while it is entered; entering says its pid."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = our_environment() if environment is None else environment

    def __enter__(self) -> int:
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=silent, stdout=silent, stderr=silent
        )
        return self._process.pid

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def folder_of(name: str) -> Path:
    """A new folder for the data of a store, on the disk of the checkout."""
    parent = ROOT / "build" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def wait_for(endpoint: str, ready_s: float = READY_S) -> None:
    """Return when somebody listens.  Raises SystemExit after `ready_s` seconds."""
    host, _, port = endpoint.rpartition(":")
    end = time.monotonic() + ready_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {endpoint} after {ready_s:.0f} s")
