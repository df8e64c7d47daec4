"""What owners move to become equal, and what equal owners read and say.

    python scripts/bench/repair/anti_entropy.py [--quick] [--keys 100000] [--json PATH]

Three nodes, N=3, whose hints for one owner are bounded to 1 MiB.  All keys are written; one node is stopped;
all keys are written again with other values, and the node is started.  When the owners are equal, the objects
and messages that they moved are compared with the objects that differed.  Then a round among equal owners is
counted: its messages, and what the nodes' processes read meanwhile (rchar of /proc/PID/io, sockets and files
together).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import uvloop

import ringmill

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT, BenchCluster
from report import Report, arguments

NODES = 3
HINT_BYTES = 1 << 20
VALUE_BYTES = 200
BATCH = 5000
MOVED_GOAL, READ_GOAL = 1.5, 0.01
PATIENCE_S = 600.0


async def write(endpoints: str, keys: int, fill: bytes) -> None:
    async with ringmill.connect(endpoints, timeout=30.0) as db:
        for first in range(0, keys, BATCH):
            pairs = {
                b"key:%012d" % number: fill * VALUE_BYTES for number in range(first, min(first + BATCH, keys))
            }
            ringmill.raise_first(await db.mput(pairs, w=2))


def figures(cluster: BenchCluster) -> Mapping[str, int]:
    """Of all nodes that answer, added up."""
    views = cluster.json("repair", "status")
    assert isinstance(views, list)
    total: dict[str, int] = {"owed": 0}
    for view in views:
        for figure in ("pulled", "pushed", "moved_bytes", "wire_bytes", "hints_dropped"):
            total[figure] = total.get(figure, 0) + int(view.get(figure, 0))
        total["owed"] += sum(pair["owed"] for pair in view.get("pairs", ()))
    return total


def read_bytes(cluster: BenchCluster) -> int:
    """What the processes of the nodes have read so far."""
    texts = [Path(f"/proc/{pid}/io").read_text(encoding="ascii") for pid in cluster.pids]
    return sum(
        int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("rchar")
    )


def hints_left(cluster: BenchCluster) -> int:
    nodes = cluster.json("cluster", "status")["nodes"]
    assert isinstance(nodes, list)
    return sum(int(node["hints"] or 0) for node in nodes)


def wait_level(cluster: BenchCluster) -> float:
    """Until no hint waits and nothing is owed; in seconds."""
    started = time.perf_counter()
    while hints_left(cluster) or figures(cluster)["owed"]:
        if time.perf_counter() - started > PATIENCE_S:
            raise SystemExit("the owners are not equal in time")
        time.sleep(0.5)
    return time.perf_counter() - started


def measure(cluster: BenchCluster, keys: int, report: Report) -> None:
    uvloop.run(write(cluster.endpoints, keys, b"a"))
    wait_level(cluster)
    cluster.command("cluster", "kill", "n3")
    uvloop.run(write(cluster.endpoints, keys, b"b"))
    before, kept = figures(cluster), hints_left(cluster)
    cluster.command("cluster", "restart", "n3")
    level_s = wait_level(cluster)
    after, held = figures(cluster), held_bytes(cluster)
    differing = held // NODES * (keys - kept) // keys  # what no hint brought to n3
    sent = after["wire_bytes"] - before["wire_bytes"]
    report.row(
        "a node is brought level",
        hints_kept=kept,
        hints_dropped=before["hints_dropped"],
        seconds=level_s,
        differing_bytes=differing,
        moved_bytes=after["moved_bytes"] - before["moved_bytes"],
        sent_bytes=sent,
    )
    report.goal("bytes sent / bytes that differ", sent / max(1, differing), MOVED_GOAL, "x")
    measure_equal(cluster, held, report)


def measure_equal(cluster: BenchCluster, held: int, report: Report) -> None:
    """A round among equal owners, less what idle nodes read in the same time."""
    time.sleep(5.0)
    read_before, idle_s = read_bytes(cluster), 3.0
    time.sleep(idle_s)
    idle_per_s = (read_bytes(cluster) - read_before) / idle_s
    before, read_before, started = figures(cluster), read_bytes(cluster), time.perf_counter()
    cluster.command("repair", "run")
    took_s = time.perf_counter() - started
    read = max(0, int(read_bytes(cluster) - read_before - idle_per_s * took_s))
    told = figures(cluster)["wire_bytes"] - before["wire_bytes"]
    report.row("equal owners compare", held_bytes=held, sent_bytes=told, read_bytes=read, seconds=took_s)
    report.goal("bytes read / bytes held", read / held, READ_GOAL, "x")


def held_bytes(cluster: BenchCluster) -> int:
    """Of keys and objects, on all nodes."""
    nodes = cluster.json("cluster", "status")["nodes"]
    assert isinstance(nodes, list)
    return sum(int(node["bytes"] or 0) for node in nodes)


def main() -> None:
    parser = arguments("anti_entropy", "What comparing owners costs.")
    parser.add_argument("--keys", type=int, default=100_000, help="number of keys that change")
    options = parser.parse_args()
    keys = options.keys // 10 if options.quick else options.keys
    settings = {
        "nodes": NODES,
        "replicas": 3,
        "keys": keys,
        "value_bytes": VALUE_BYTES,
        "hint_bytes": HINT_BYTES,
    }
    report = Report("anti_entropy", settings, options.json)
    environment = {"PYTHONPATH": str(ROOT), "RINGMILL_HINT_BYTES": str(HINT_BYTES)}
    with BenchCluster(nodes=NODES, environment=environment) as cluster:
        measure(cluster, keys, report)
    report.finish()


if __name__ == "__main__":
    main()
