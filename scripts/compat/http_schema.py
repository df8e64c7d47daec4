"""Requests made of the OpenAPI document, thousands of them, against a gateway and nodes of its own.

    .venv/bin/pip install -c constraints.txt -e '.[compat]'
    .venv/bin/python scripts/compat/http_schema.py [--examples 30]

Schemathesis sends what the document allows, and what it forbids, and compares every answer with the document:
its status, its headers, its body; no answer may be 500.  The names of keyspaces are those of keyspaces of the
kind that a route is for, so that most requests get as far as the nodes.  Left out is its check that every
request that the schemas allow is accepted: parameters that exclude each other, a context that no read has
returned, and a value that is no number are for the door and the nodes to refuse, and OpenAPI cannot say
so.  One worker asks: with two, CPython 3.11 may end a run with "AST constructor recursion depth mismatch".
The exit code is that of Schemathesis, 0 without a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from doors.local_gateway import http_gateway
from local_cluster import BenchCluster

KEYSPACES = {"counters": "counter", "sets": "set", "maps": "map"}
LEFT_OUT = "positive_data_acceptance"


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with names of keyspaces that exist and without the parameter `timeout`: with less time
    than usual, 503 and 504 are right answers."""
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
        with http_gateway(cluster) as server:
            document = json.loads(urllib.request.urlopen(f"{server.url}/v1/openapi.json").read())
            file = cluster.folder / "openapi.json"
            file.write_text(json.dumps(narrowed(document)))
            line = [str(Path(sys.executable).parent / "schemathesis"), "run", str(file), "--url", server.url]
            line += ["-H", f"Authorization: Bearer {token}", "--max-examples", str(given.examples)]
            line += ["--exclude-checks", LEFT_OUT, "--continue-on-failure", "--workers", "1"]
            return subprocess.run(line, cwd=cluster.folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
