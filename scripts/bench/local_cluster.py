"""A cluster of real node processes for the time of one benchmark, through the command as a user types it.

    with BenchCluster(nodes=5) as cluster:
        print(cluster.up_s)
        cluster.command("put", "key", "value")

Its state is a folder of its own under build/bench/, on the disk of the checkout, gone afterwards, also after
SIGTERM and where the terminal is closed.  The nodes may be those of another checkout, measured beside ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ringmill.client.local.processes import end_as_by_ctrl_c

__all__ = ["PORTS", "ROOT", "BenchCluster", "free_ports", "python_of"]

ROOT = Path(__file__).resolve().parent.parent.parent
PORTS = range(20_000, 32_000, 16)
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # else each command and node compiles 400 modules anew


class BenchCluster:
    """Started on entering, stopped and removed on leaving; `up_s` is the time from typed to usable."""

    def __init__(
        self,
        *,
        nodes: int,
        options: Sequence[str] = (),
        checkout: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.nodes = nodes
        self.up_s = 0.0
        self._options = options  # of `ringmill cluster up`
        self._checkout = checkout
        self._environment = environment or {"PYTHONPATH": str(checkout)}
        self._port = free_ports(nodes)
        self._home = Path()

    def __enter__(self) -> BenchCluster:
        end_as_by_ctrl_c()
        parent = ROOT / "build" / "bench"
        parent.mkdir(parents=True, exist_ok=True)
        self._home = Path(tempfile.mkdtemp(prefix="cluster-", dir=parent))
        started = time.perf_counter()
        try:
            shape = ("-n", str(self.nodes), "--base-port", str(self._port))
            self.command("cluster", "up", *shape, *self._options)
        except BaseException:
            self._remove()
            raise
        self.up_s = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def endpoints(self) -> str:
        return ",".join(f"127.0.0.1:{self._port + number}" for number in range(self.nodes))

    @property
    def folder(self) -> Path:
        """Where the state of the cluster lies: a folder a node."""
        return self._home / "default"

    def command(self, *arguments: str) -> str:
        """What `ringmill ARGUMENTS` printed.  Raises SystemExit with its stderr when it fails."""
        command = [str(python_of(self._checkout).parent / "ringmill"), *arguments]
        environment = {**os.environ, **COMPILED, "RINGMILL_HOME": str(self._home), **self._environment}
        done = subprocess.run(
            command, cwd=self._checkout, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"ringmill {' '.join(arguments)} exited {done.returncode}:\n{done.stderr}")
        return done.stdout

    @property
    def pids(self) -> list[int]:
        """The processes of the nodes."""
        written = json.loads((self.folder / "cluster.json").read_text(encoding="utf-8"))
        return [int(node["pid"]) for node in written["nodes"]]

    def json(self, *arguments: str) -> dict[str, object]:
        """The document that `ringmill -o json ARGUMENTS` printed."""
        document: dict[str, object] = json.loads(self.command("-o", "json", *arguments))
        return document

    def run_job(self, target: str, output: Path, *options: str) -> dict[str, Any]:
        """Run a job in place of its former output; what was told of it.  Raises SystemExit when it fails."""
        ended = self.json("job", "run", target, *options, "--output", str(output), "--overwrite")
        if ended["state"] != "SUCCEEDED":
            raise SystemExit(f"the job ended {ended['state']}: {ended}")
        return ended

    def _remove(self) -> None:
        with contextlib.suppress(SystemExit):
            self.command("cluster", "down")
        shutil.rmtree(self._home, ignore_errors=True)


def python_of(checkout: Path) -> Path:
    """The Python that runs a checkout: that of its own .venv when there is one."""
    own = checkout / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def free_ports(count: int) -> int:
    """The first port of `count` free ones in a row, below those that the kernel hands out."""
    for first in PORTS:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            return first
    raise SystemExit(f"no {count} free ports in a row between {PORTS.start} and {PORTS.stop}")
