"""Stores to measure beside: those that others have made, where they are installed, and the floor."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from local_cluster import ROOT, free_ports
from stores.client_process import ClientProcess, our_environment
from stores.contestants import Shape

__all__ = ["Etcd", "Floor", "Redis", "program"]

READY_S = 20.0
STOP_S = 10.0


def program(name: str, named: str | None) -> Path | None:
    """The program that an option names, or the one in PATH; None when there is none."""
    found = shutil.which(named or name)
    return Path(found) if found else None


class _Processes:
    """A store of plain processes on loopback, with a folder under build/bench/ that goes with them."""

    name = ""
    settings = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client: ClientProcess | None = None
        self._stack = ExitStack()

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._client is not None
        return self._client.ask(asked)

    def why_not(self, case: dict[str, Any]) -> str:
        if case["way"]:
            return "its client here sends single requests"
        durability = case["durability"] or "synced"
        return "" if durability == "synced" else f"it runs synced here, and {durability} was asked for"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, commands: Sequence[Sequence[str]], endpoints: str) -> None:
        """Start a process a command, wait until all of `endpoints` accept connections, and connect."""
        with ExitStack() as stack:
            pids = [stack.enter_context(_running(command)) for command in commands]
            for endpoint in endpoints.split(","):
                _wait_for(endpoint)
            self._client = stack.enter_context(ClientProcess(self.name, endpoints, pids))
            self._stack = stack.pop_all()


class Etcd(_Processes):
    """A cluster of etcd: every put is synced on a majority before its answer, gets are linearizable."""

    name = "etcd"

    def __init__(self, path: Path, nodes: int) -> None:
        super().__init__(path)
        self._nodes = nodes
        self.settings = f"{_version([str(path), '--version'])}, {nodes} nodes, fsync, linearizable gets"

    def __enter__(self) -> Etcd:
        folder = _folder("etcd")
        first = free_ports(2 * self._nodes)
        peers = [f"http://127.0.0.1:{first + self._nodes + number}" for number in range(self._nodes)]
        cluster = ",".join(f"e{number}={peer}" for number, peer in enumerate(peers))
        endpoints = [f"127.0.0.1:{first + number}" for number in range(self._nodes)]
        commands = [
            [
                str(self._path), "--name", f"e{number}", "--data-dir", str(folder / f"e{number}"),
                "--listen-client-urls", f"http://{endpoints[number]}",
                "--advertise-client-urls", f"http://{endpoints[number]}",
                "--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number],
                "--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error",
            ]
            for number in range(self._nodes)
        ]  # fmt: skip
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._start(commands, ",".join(endpoints))
            processes, self._stack = self._stack, stack.pop_all()
            self._stack.push(processes)
        return self


class Redis(_Processes):
    """One Redis: synced before each answer, not replicated."""

    name = "redis"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.settings = f"{_version([str(path), '--version'])}, one process, appendfsync always"

    def __enter__(self) -> Redis:
        folder, port = _folder("redis"), free_ports(1)
        command = [
            str(self._path), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning",
        ]  # fmt: skip
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._start([command], f"127.0.0.1:{port}")
            processes, self._stack = self._stack, stack.pop_all()
            self._stack.push(processes)
        return self


class Floor(_Processes):
    """The same frames over the same carrier with a dict behind them: what nobody can be faster than here."""

    name = "floor"

    def __init__(self, shape: Shape) -> None:
        super().__init__(Path(sys.executable))
        self._shape = shape
        self.settings = f"{shape.nodes} nodes, w=r={self._level}, a dict and a synced log, grpc"

    @property
    def _level(self) -> int:
        return self._shape.replicas // 2 + 1

    def __enter__(self) -> Floor:
        folder, nodes = _folder("floor"), self._shape.nodes
        first = free_ports(nodes)
        addresses = [f"127.0.0.1:{first + number}" for number in range(nodes)]
        commands = []
        for number, address in enumerate(addresses):
            others = (addresses[number + 1 :] + addresses[:number])[: self._shape.replicas - 1]
            about = {
                "address": address,
                "peers": others,
                "log": str(folder / f"log{number}"),
                "w": self._level,
            }
            commands.append([str(self._path), "-P", "-m", "stores.floor_node", json.dumps(about)])
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._start(commands, ",".join(addresses))
            processes, self._stack = self._stack, stack.pop_all()
            self._stack.push(processes)
        return self


class _running:  # noqa: N801 - used as a verb
    """A process while it is entered; entering says its pid."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def __enter__(self) -> int:
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, env=our_environment(), stdin=silent, stdout=silent, stderr=silent
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


def _folder(name: str) -> Path:
    parent = ROOT / "build" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def _version(command: Sequence[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:3]) if told else "version unknown"


def _wait_for(endpoint: str) -> None:
    """Return when somebody listens.  Raises SystemExit after some seconds."""
    host, _, port = endpoint.rpartition(":")
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {endpoint} after {READY_S:.0f} s")
