"""Stores to measure beside: those that others have made, where they are installed, and the floor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from local_cluster import free_ports
from stores.contestants import Shape
from stores.processes import Processes, folder_of

__all__ = ["Etcd", "Floor", "Redis", "program_version", "redis_command"]


class Etcd(Processes):
    """A cluster of etcd: every put is synced on a majority before its answer, gets are linearizable."""

    name = "etcd"

    def __init__(self, path: Path, nodes: int) -> None:
        super().__init__(path)
        self._nodes = nodes
        self.settings = (
            f"{program_version([str(path), '--version'])}, {nodes} nodes, fsync, linearizable gets"
        )

    @property
    def why_no_scans(self) -> str:
        return ""

    def __enter__(self) -> Etcd:
        folder = folder_of("etcd")
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


class Redis(Processes):
    """One Redis: synced before each answer, not replicated."""

    name = "redis"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.settings = f"{program_version([str(path), '--version'])}, one process, appendfsync always"

    def __enter__(self) -> Redis:
        folder, port = folder_of("redis"), free_ports(1)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._start([redis_command(self._path, port, folder)], f"127.0.0.1:{port}")
            processes, self._stack = self._stack, stack.pop_all()
            self._stack.push(processes)
        return self


class Floor(Processes):
    """A dict behind our frames and carrier: no store can be faster here."""

    name = "floor"

    def __init__(self, shape: Shape) -> None:
        super().__init__(Path(sys.executable))
        self._shape = shape
        self.settings = f"{shape.nodes} nodes, w=r={self._level}, a dict and a synced log, grpc"

    @property
    def _level(self) -> int:
        return self._shape.replicas // 2 + 1

    def __enter__(self) -> Floor:
        folder, nodes = folder_of("floor"), self._shape.nodes
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


def redis_command(path: Path, port: int, folder: Path) -> list[str]:
    """A server that syncs each write before its answer, with its data in a folder."""
    return [
        str(path), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning",
    ]  # fmt: skip


def program_version(command: Sequence[str]) -> str:
    version = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return " ".join(version.split()[:3]) if version else "version unknown"
