"""A gateway process for the time of one script, before the nodes of a BenchCluster."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from local_cluster import ROOT, BenchCluster, free_ports

__all__ = ["LocalServer", "http_gateway", "http_server", "redis_gateway"]

STARTED_S = 20.0


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it answers, and its process."""

    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def http_gateway(cluster: BenchCluster, *options: str) -> Iterator[LocalServer]:
    """`ringmill gateway --http`, ready to be asked.  It ends with the block."""
    port = str(free_ports(1))
    line = [sys.executable, "-m", "ringmill", "--endpoints", cluster.endpoints, "gateway", "--http", port]
    with http_server([*line, *options], port, "/readyz") as server:
        yield server


@contextmanager
def redis_gateway(cluster: BenchCluster) -> Iterator[LocalServer]:
    """`ringmill gateway --redis`, listening.  It ends with the block."""
    port = free_ports(1)
    line = [sys.executable, "-m", "ringmill", "--endpoints", cluster.endpoints, "gateway"]
    process = subprocess.Popen([*line, "--redis", str(port)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit("ringmill gateway --redis did not start")
        yield LocalServer(f"redis://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(STARTED_S)


@contextmanager
def http_server(line: Sequence[str], port: str, ready: str) -> Iterator[LocalServer]:
    """A process that answers 200 at `ready` once it can be asked.  Raises SystemExit when it does not."""
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + STARTED_S
        while not _answers(url + ready):
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"{' '.join(line[:4])} … did not start")
            time.sleep(0.1)
        yield LocalServer(url, process.pid)
    finally:
        process.terminate()
        process.wait(STARTED_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
