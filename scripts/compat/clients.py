"""Clients that people have already, at both doors of a gateway, while one of five nodes is killed.

    .venv/bin/python scripts/compat/clients.py [--seconds 8]

curl, httpx and a browser ask over HTTP; redis-cli, redis-py and redis-benchmark as clients of Redis.  Each
writes keys and reads them back; meanwhile n3 gets SIGKILL, and it is started again before the next one.  In
the end each reads all that was acknowledged to it.  httpx, redis-py and Playwright come from the package
index into a venv of their own under build/; redis-cli and redis-benchmark are taken from PATH, or unpacked
there from Debian's packages.  What cannot be had is told as "not here".  The exit code is 1 when a read was
wrong, a request failed or the node could not be killed; a client that ended before the kill is told as that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from debian_tools import BUILD, environment_with

from ringmill.client.local.processes import our_environment
from ringmill.client.testing.scratch_cluster import ScratchCluster

sys.path.insert(0, str(Path(__file__).resolve().parent / "callers"))

from round_trips import round_trips

CALLERS: Final = Path(__file__).resolve().parent / "callers"
PROGRAM: Final = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"
DEBIAN: Final = ("redis-tools", "liblzf1", "libjemalloc2", "liblua5.1-0")
KILLED: Final = "n3"
LATER_S: Final = 2.0
PATIENCE_S: Final = 180.0

Result = Mapping[str, Any]
Run = Callable[[], Result]


class NotHere(Exception):
    """This machine has no such client."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each client")
    seconds: float = parser.parse_args().seconds
    python, tools = venv_python(), environment_with("redis-cli", DEBIAN)
    with ExitStack() as held:
        cluster = held.enter_context(ScratchCluster(nodes=5, partitions=128))
        environment = {
            **our_environment(),
            "RINGMILL_TOKEN": cluster.token,
            "RINGMILL_ENDPOINTS": ",".join(cluster.endpoints),
        }
        for line in (("redis0", "--kind", "registers"), ("redis0-keys",)):
            subprocess.run(
                ringmill("keyspace", "create", *line), env=environment, check=True, capture_output=True
            )
        gateway = held.enter_context(
            subprocess.Popen(
                ringmill("gateway", "--http", "0", "--redis", "0"),
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
        )  # fmt: skip
        held.callback(gateway.terminate)
        assert gateway.stdout is not None
        url, place = (gateway.stdout.readline().split()[1] for _ in range(2))
        port = place.rpartition(":")[2]
        clients: dict[str, Run] = {
            "curl": partial(with_curl, url, seconds),
            "httpx": partial(called, python, "httpx_caller.py", url, str(seconds)),
            "browser": partial(with_browser, python, url, cluster.token),
            "redis-cli": partial(with_redis_cli, tools, port, seconds),
            "redis-py": partial(called, python, "redis_py_caller.py", port, str(seconds)),
            "redis-benchmark": partial(with_redis_benchmark, tools, port, seconds),
        }
        results = [beside_a_kill(cluster, name, run) for name, run in clients.items()]
    return int(any(result.get("failed") or result.get("wrong") for result in results))


class Killing(threading.Thread):
    """Kills the node a little later."""

    def __init__(self, cluster: ScratchCluster) -> None:
        super().__init__()
        self._cluster = cluster
        self.has_begun = threading.Event()
        self.error = ""

    def run(self) -> None:
        time.sleep(LATER_S)
        self.has_begun.set()
        try:
            self._cluster.kill(KILLED)
        except Exception as error:  # noqa: BLE001 - whatever it was, this client met no kill
            self.error = f"{type(error).__name__}: {error}"


def beside_a_kill(cluster: ScratchCluster, name: str, run: Run) -> Result:
    """Run a client while a node is killed, and print a line about it."""
    killing = Killing(cluster)
    killing.start()
    try:
        result = {**run(), **({} if killing.has_begun.is_set() else {"kill": "came after its end"})}
    except NotHere as why:
        result = {"not here": str(why)}
    except (OSError, subprocess.SubprocessError) as error:
        result = {"failed": 1, "told": [str(error)[:300], *_stderr_of(error)]}
    finally:
        killing.join()
        cluster.restart(KILLED)
    if killing.error:
        result = {**result, "failed": 1, "told": [f"{KILLED} could not be killed: {killing.error}"]}
    print(
        f"{name:16}", "  ".join(f"{key} {value}" for key, value in result.items() if value != []), flush=True
    )
    return result


def with_curl(url: str, seconds: float) -> Result:
    """A process for each request."""
    curl = program("curl")

    def ask(key: str, *more: str) -> str:
        line = [curl, "-sS", "--fail-with-body", "-m", "20", f"{url}/v1/kv/default/curl-{key}", *more]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def put(key: str, value: str) -> object:
        return ask(key, "-X", "PUT", "-d", value)

    version = subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"version": version, **round_trips(put, ask, seconds, (subprocess.CalledProcessError,))}


def with_redis_cli(tools: Mapping[str, str], port: str, seconds: float) -> Result:
    """A process for each command."""

    def ask(*words: str) -> str:
        line = [program("redis-cli", tools), "-e", "-p", port, *words]
        ended = subprocess.run(line, capture_output=True, text=True, check=True, env=tools)
        return ended.stdout.rstrip("\n")

    def put(key: str, value: str) -> object:
        return ask("SET", f"cli-{key}", value)

    def get(key: str) -> str:
        return ask("GET", f"cli-{key}")

    return {"version": ask("--version").split()[1]} | dict(
        round_trips(put, get, seconds, (subprocess.CalledProcessError,))
    )


def with_redis_benchmark(tools: Mapping[str, str], port: str, seconds: float) -> Result:
    """Its own load, of 20 connections; the first error ends it with exit code 1."""
    requests = int(seconds * 150)
    load = ["-c", "20", "-n", str(requests), "-r", "1000", "--csv", "-t", "set,get,incr,lpush,sadd,hset"]
    ended = subprocess.run(
        [program("redis-benchmark", tools), "-p", port, *load],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=tools,
    )  # fmt: skip
    rows = [row.replace('"', "").split(",") for row in ended.stdout.splitlines()[1:]]
    return {"asked": requests * len(rows)} | {row[0]: f"{float(row[1]):,.0f}/s" for row in rows}


def with_browser(python: str, url: str, token: str) -> Result:
    """The live page, until it shows the killed node."""
    chromium = program("chromium")
    line = [program("curl"), "-sSf", "-X", "PUT", "-d", "Ada", f"{url}/v1/kv/default/seen-by-browsers"]
    subprocess.run(line, check=True, capture_output=True)
    return called(python, "browser_caller.py", url, chromium, token, KILLED)


def called(python: str, caller: str, *arguments: str) -> Result:
    """What a caller in the venv has printed."""
    if not python:
        raise NotHere("no packages could be installed")
    line = [python, str(CALLERS / caller), *arguments]
    ended = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    result: Result = json.loads(ended.stdout)
    return result


def program(name: str, environment: Mapping[str, str] | None = None) -> str:
    """Raises NotHere."""
    found = shutil.which(name, path=(environment or os.environ).get("PATH"))
    if found is None:
        raise NotHere(f"there is no {name}")
    return found


def ringmill(*words: str) -> Sequence[str]:
    return [sys.executable, "-P", "-c", PROGRAM, *words]


def venv_python() -> str:
    """That of the venv with httpx, redis and Playwright, made at the first run; "" without it."""
    python = BUILD / "venv" / "bin" / "python"
    packages = ("httpx", "redis", "playwright")
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True, capture_output=True)
        install = [str(python), "-m", "pip", "install", "-q", *packages]
        subprocess.run(install, check=True, capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return str(python)


def _stderr_of(error: Exception) -> list[str]:
    stderr = getattr(error, "stderr", None) or ""
    return [str(stderr)[-500:]] if stderr else []


if __name__ == "__main__":
    sys.exit(main())
