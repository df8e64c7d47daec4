"""What a cluster costs while nobody uses it: start-up, also for a test, the command line, processor time at
rest, and memory.

    python scripts/bench/footprint.py [--quick] [--keys 1000000] [--json PATH]

Memory is the resident set of a node process and its children, of the largest node.  The engine writes the
keys while the nodes are down, as in restart.py, which times the restart.  Memory is taken when the nodes have
counted all keys and random gets have filled the block caches.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import uvloop

from local_cluster import BenchCluster
from report import Report, arguments, percentile
from restart import fill, topology_of
from ringmill.client.bench.processor_time import used_s
from stores.client_process import ClientProcess

NODES = 5
FILLED_NODES = 3  # N=3, so that each holds every key
UP_GOAL_S, FIXTURE_GOAL_S, GET_GOAL_S = 2.0, 2.0, 0.4
FIXTURE_TEST = """
def test_first_put(ringmill_cluster):
    with ringmill_cluster.client() as db:
        db.put("k", b"v")
"""
PHASE = re.compile(r"^([0-9.]+)s (setup|call|teardown) ", re.MULTILINE)
IDLE_GOAL_SHARE = 0.02  # of a core, all nodes together
SETTLE_S, IDLE_S = 10.0, 60.0
COUNTED_S, WARM_S = 300.0, 20.0
MIB = 1 << 20


def start_ups(times: int) -> list[float]:
    """Seconds from typed to usable."""
    taken = []
    for _ in range(times):
        with BenchCluster(nodes=NODES) as cluster:
            taken.append(cluster.up_s)
    return taken


def shell_to_shell(cluster: BenchCluster, times: int) -> list[float]:
    """Seconds of `ringmill get KEY`, from fork to exit."""
    cluster.command("put", "typed", "value")
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        cluster.command("get", "typed")
        taken.append(time.perf_counter() - started)
    return taken


def fixtures(times: int) -> tuple[list[float], list[float]]:
    """Seconds from a test's asking for `ringmill_cluster` to the end of its first put, and of taking it down.

    Each is of a pytest of its own, so the first has the loading of ringmill in it.
    """
    starts, ends = [], []
    for _ in range(times):
        with TemporaryDirectory() as folder:
            Path(folder, "test_first_put.py").write_text(FIXTURE_TEST, encoding="utf-8")
            line = (sys.executable, "-m", "pytest", "-vv", "--durations=0", "--durations-min=0")
            told = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True).stdout
        seconds = {phase: float(took) for took, phase in PHASE.findall(told)}
        starts.append(seconds["setup"] + seconds["call"])
        ends.append(seconds["teardown"])
    return starts, ends


def at_rest(cluster: BenchCluster, watch_s: float) -> float:
    """The share of a core that all nodes together use while nobody asks them anything."""
    time.sleep(SETTLE_S)
    before, begun = sum(map(used_s, cluster.pids)), time.perf_counter()
    time.sleep(watch_s)
    return (sum(map(used_s, cluster.pids)) - before) / (time.perf_counter() - begun)


def largest_mib(cluster: BenchCluster) -> float:
    """Resident memory of the largest node, its children included."""
    return max(map(_resident_bytes, cluster.pids)) / MIB


def _resident_bytes(pid: int) -> int:
    root = psutil.Process(pid)
    return sum(int(one.memory_info().rss) for one in (root, *root.children(recursive=True)))


def filled_mib(keys: int) -> float:
    """Memory of the largest of three nodes that each hold this number of keys, after a restart."""
    with BenchCluster(nodes=FILLED_NODES) as cluster:
        topology = asyncio.run(topology_of(cluster))
        names = [f"n{number}" for number in range(1, FILLED_NODES + 1)]
        cluster.command("cluster", "kill", *names)
        for name in names:
            uvloop.run(fill(cluster.folder / name / "store", topology, keys))
        cluster.command("cluster", "up", "--timeout", "120s")
        _wait_counted(cluster, keys)
        _read_at_random(cluster, keys)
        return largest_mib(cluster)


def _read_at_random(cluster: BenchCluster, keys: int) -> None:
    """Fill the block caches."""
    with ClientProcess("ringmill", cluster.endpoints, ()) as client:
        client.ask(
            {
                "do": "run", "workload": "get", "distribution": "uniform", "value_bytes": 100,
                "in_flight": 64, "keys": keys, "seconds": WARM_S, "warm_up_s": 0.0, "rate_per_s": 0.0,
                "seed": 1,
            }
        )  # fmt: skip


def _wait_counted(cluster: BenchCluster, keys: int) -> None:
    """Return when every node has read all of its keys once.  Raises SystemExit after some minutes."""
    end = time.monotonic() + COUNTED_S
    while time.monotonic() < end:
        nodes = cluster.json("cluster", "status")["nodes"]
        assert isinstance(nodes, list)
        if all(node["keys"] == keys for node in nodes):
            return
        time.sleep(1.0)
    raise SystemExit(f"the nodes have not counted {keys:,} keys within {COUNTED_S:.0f} s")


def main() -> None:
    parser = arguments("footprint", __doc__ or "")
    parser.add_argument("--keys", type=int, default=1_000_000, help="on each node, for the memory")
    options = parser.parse_args()
    scale, starts = (10, 1) if options.quick else (1, 3)
    keys = options.keys // scale
    report = Report("footprint", {"nodes": NODES, "replicas": 3, "keys": keys}, options.json)
    ups = start_ups(starts)
    asked, taken_down = fixtures(starts)
    with BenchCluster(nodes=NODES) as cluster:
        idle_share, idle_mib = at_rest(cluster, IDLE_S / scale), largest_mib(cluster)
        gets = shell_to_shell(cluster, 20 // scale + 1)
    full_mib = filled_mib(keys)
    for name, taken in (
        ("cluster up, 5 nodes", ups),
        ("fixture of pytest, 3 nodes, to the first put", asked),
        ("its end", taken_down),
        ("ringmill get, shell to shell", gets),
    ):
        report.row(name, median_s=percentile(taken, 0.5), most_s=max(taken))
    report.row("5 nodes at rest, in all", cores=idle_share)
    report.row("memory of a node at rest", mib=idle_mib)
    report.row(
        f"memory of a node with {keys:,} keys", mib=full_mib, bytes_a_key=(full_mib - idle_mib) * MIB / keys
    )
    report.goal("five nodes at rest", idle_share, IDLE_GOAL_SHARE, "of a core")
    report.goal("five nodes up", percentile(ups, 0.5), UP_GOAL_S, "s")
    report.goal("a cluster for a test", percentile(asked, 0.5), FIXTURE_GOAL_S, "s")
    report.goal("ringmill get, shell to shell", percentile(gets, 0.5), GET_GOAL_S, "s")
    report.finish()


if __name__ == "__main__":
    main()
