"""Requests made of the OpenAPI document, thousands of them, against a gateway and nodes of its own.

    .venv/bin/pip install -c constraints.txt -e '.[compat]'
    .venv/bin/python scripts/compat/http_schema.py [--examples 30]

Schemathesis sends what the document allows, and what it forbids, and compares every answer with the document:
its status, its headers, its body; no answer may be 500.  The names of keyspaces are those of keyspaces of the
kind that a route is for, so that most requests get as far as the nodes.  Left out is its check that every
request that the schemas allow is accepted: parameters that exclude each other, a context that no read has
returned, and a value that is no number are for the door and the nodes to refuse, and OpenAPI cannot say
so.  The exit code is that of Schemathesis, 0 without a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from local_cluster import ROOT, BenchCluster, free_ports

KEYSPACES = {"counters": "counter", "sets": "set", "maps": "map"}
STARTED_S = 20.0
LEFT_OUT = "positive_data_acceptance"


@contextmanager
def gateway(cluster: BenchCluster) -> Iterator[str]:
    """Its URL.  The process ends with the block."""
    url = f"http://127.0.0.1:{free_ports(1)}"
    line = [sys.executable, "-m", "ringmill", "--endpoints", cluster.endpoints, "gateway", "--http"]
    process = subprocess.Popen([*line, url.rpartition(":")[2]], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + STARTED_S
        while not _answers(f"{url}/readyz"):
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit("the gateway did not start")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(STARTED_S)


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with names of keyspaces that exist, and with the usual timeout: within less than
    that, 503 and 504 are right answers."""
    for path, operations in document["paths"].items():
        room = path.split("/")[2] if path.startswith("/v1/") else ""
        for operation in operations.values():
            operation["parameters"] = [each for each in operation["parameters"] if each["name"] != "timeout"]
        if room == "keyspaces":
            continue  # whoever makes and drops keyspaces may not do so with those of the others
        name = "registers" if room == "registers" else f"{room}1" if room in KEYSPACES else "default"
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter["name"] == "keyspace":
                    parameter["schema"] = {"type": "string", "enum": [name]}
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--examples", type=int, default=30, help="of each operation and phase")
    given = parser.parse_args()
    with BenchCluster(nodes=3) as cluster:
        for room, policy in KEYSPACES.items():
            cluster.command("keyspace", "create", f"{room}1", "--policy", policy)
        token = (cluster.folder / "token").read_text().strip()
        with gateway(cluster) as url:
            document = json.loads(urllib.request.urlopen(f"{url}/v1/openapi.json").read())
            file = cluster.folder / "openapi.json"
            file.write_text(json.dumps(narrowed(document)))
            line = [str(Path(sys.executable).parent / "schemathesis"), "run", str(file), "--url", url]
            line += ["-H", f"Authorization: Bearer {token}", "--max-examples", str(given.examples)]
            line += ["--exclude-checks", LEFT_OUT, "--continue-on-failure", "--workers", "2"]
            return subprocess.run(line, cwd=cluster.folder, check=False).returncode


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
