"""Servers for the time of one script: gateways before the nodes of a BenchCluster, and what stands beside."""

from __future__ import annotations

import contextlib
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_cluster import PORTS, ROOT, BenchCluster, python_of
from stores.client_process import our_environment
from stores.processes import READY_S, running, wait_for

__all__ = ["LocalServer", "free_port", "http_gateway", "listening", "redis_gateway"]


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it answers, and its process."""

    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def http_gateway(cluster: BenchCluster, *options: str, checkout: Path = ROOT) -> Iterator[LocalServer]:
    """`ringmill gateway --http` of a checkout, ready to be asked.  It ends with the block."""
    with _gateway(cluster, checkout, "http", *options) as server:
        until = time.monotonic() + READY_S
        while not _answers(f"{server.url}/readyz"):
            if time.monotonic() > until:
                raise SystemExit(f"the gateway is not ready after {READY_S:.0f} s")
            time.sleep(0.1)
        yield server


def redis_gateway(
    cluster: BenchCluster, *options: str, checkout: Path = ROOT
) -> AbstractContextManager[LocalServer]:
    """`ringmill gateway --redis` of a checkout, listening.  It ends with the block."""
    return _gateway(cluster, checkout, "redis", *options)


@contextmanager
def listening(
    line: Sequence[str], scheme: str, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[LocalServer]:
    """A process that listens on a port.  Raises SystemExit when it does not."""
    with running(line, environment) as pid:
        wait_for(f"127.0.0.1:{port}")
        if all(each.laddr.port != port for each in psutil.Process(pid).net_connections("tcp")):
            raise SystemExit(f"{' '.join(line[:5])} … did not get port {port}: another process has it")
        yield LocalServer(f"{scheme}://127.0.0.1:{port}", pid)


def free_port() -> int:
    """One by chance, so that scripts that run at the same time seldom choose the same."""
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit(f"no port is free between {PORTS.start} and {PORTS.stop}")


def _gateway(
    cluster: BenchCluster, checkout: Path, scheme: str, *options: str
) -> AbstractContextManager[LocalServer]:
    port = free_port()
    line = [str(python_of(checkout)), "-P", "-m", "ringmill", "--endpoints", cluster.endpoints, "gateway"]
    return listening([*line, f"--{scheme}", str(port), *options], scheme, port, our_environment(checkout))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
