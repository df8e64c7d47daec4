"""Prometheus itself at three nodes: the examples/monitoring files, and every expression of the dashboard.

    .venv/bin/python scripts/compat/prometheus.py

promtool looks at the rules, the scrape configuration and what a node serves.  Then a Prometheus scrapes the
nodes of a local cluster, evaluates the alerts, and is asked each expression of the dashboard; one node is
killed, and its alert has to wake.  Both programs are taken from PATH, or unpacked under build/ from Debian's
package.  The exit code is 1 when anything is refused.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from debian_tools import environment_with

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from local_cluster import BenchCluster, free_ports

MONITORING: Final = Path(__file__).resolve().parent.parent.parent / "examples" / "monitoring"
NODES: Final = 3
SCRAPED_S: Final = 12.0
WAKES_S: Final = 30.0
VARIABLES: Final = {"$__rate_interval": "10s", "$job": ".*", "$instance": ".*", "$node": ".*"}
KILLED: Final = "RingmillNodeDown"


def main() -> int:
    environment = environment_with("promtool", ("prometheus",))
    if shutil.which("promtool", path=environment["PATH"]) is None:
        print("there is no promtool", file=sys.stderr)
        return 1
    refused = promtool(environment, "check", "rules", "alerts.yml")
    refused += promtool(environment, "check", "config", "prometheus.yml")
    beyond = free_ports(20) + 8  # the nodes take the first ones
    metrics, port = beyond, beyond + NODES
    with BenchCluster(nodes=NODES, options=("--metrics-base-port", str(metrics))) as cluster:
        served = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics").read()
        refused += promtool(environment, "check", "metrics", stdin=served)
        with tempfile.TemporaryDirectory() as folder:
            configure(Path(folder), metrics)
            line = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"]
            process = subprocess.Popen(
                line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                refused += scraped(cluster, f"http://127.0.0.1:{port}/api/v1")
            finally:
                process.terminate()
                process.wait()
    return int(refused > 0)


def promtool(environment: Mapping[str, str], *words: str, stdin: bytes = b"") -> int:
    """1 when it refuses, which is printed."""
    done = subprocess.run(
        [shutil.which("promtool", path=environment["PATH"]) or "promtool", *words],
        cwd=MONITORING, env=environment, input=stdin, capture_output=True, check=False,
    )  # fmt: skip
    verdict = "accepted" if done.returncode == 0 else (done.stdout + done.stderr).decode().strip()
    print(f"promtool {' '.join(words)}: {verdict}", flush=True)
    return int(done.returncode != 0)


def configure(folder: Path, metrics: int) -> None:
    """The example's files, with the ports of this cluster and scrapes every second."""
    shutil.copy(MONITORING / "alerts.yml", folder)
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = settings["scrape_configs"]
    job.pop("scrape_interval", None)
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{metrics + number}" for number in range(NODES)]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def scraped(cluster: BenchCluster, place: str) -> int:
    """What was refused, each with a line."""
    until = time.monotonic() + SCRAPED_S
    while time.monotonic() < until:
        cluster.command("put", "scraped", "value")
    board = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    refused = asked = filled = 0
    for target in [each for panel in board["panels"] for each in panel.get("targets", ())]:
        expression = target["expr"]
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        asked += 1
        try:
            filled += bool(data(place, "query", query=expression)["result"])
        except urllib.error.HTTPError as error:
            refused += 1
            print(f"{expression}: {error.read().decode()}")
    rules = alerts(place)
    ill = [rule["name"] for rule in rules if rule["health"] != "ok"]
    up = sum(each["value"][1] == "1" for each in data(place, "query", query="up")["result"])
    print(f"nodes scraped {up}  expressions {asked}  refused {refused}  with figures {filled}")
    print(f"alerts {len(rules)}  ill {' '.join(ill) or 0}", flush=True)
    cluster.command("cluster", "kill", "n3")
    return refused + len(ill) + NODES - int(up) + int(not wakes(place))


def wakes(place: str) -> bool:
    """Whether the alert of a node that is down wakes."""
    until = time.monotonic() + WAKES_S
    while time.monotonic() < until:
        if any(rule["name"] == KILLED and rule["state"] != "inactive" for rule in alerts(place)):
            print(f"{KILLED} wakes when a node is killed")
            return True
        time.sleep(0.5)
    print(f"{KILLED} does not wake when a node is killed")
    return False


def alerts(place: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = data(place, "rules")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def data(place: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{place}/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


if __name__ == "__main__":
    sys.exit(main())
