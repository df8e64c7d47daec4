"""What a cluster does with ten times more than it can: goodput, refusals, false deaths, and the way back.

    python scripts/bench/overload/overload.py [--quick] [--transport tcp] [--times 10] [--seconds 60]

Three nodes, N=3, w=2, r=2, synced, 20,000 keys of 100 bytes, half gets and half puts.  The load is open loop,
from one process of its own (storm.py) on the machine of the nodes:

1. Rates rise until the cluster does less than was due, or a p99 is above 0.5 s: the last rate before is the
   *sustainable* one.
2. *Peak*: the most it does at rates about that one, while the generator makes as many ghosts beside it as the
   storm will have operations too many.  So peak and storm leave the nodes about the same processor time.
3. The storm, and half the sustainable rate before and after it.

Then a client asks for 400 values of 1 MiB on a stream that it never reads, beside small gets at a low rate.
Goals: goodput of the storm at least 85 % of the peak; p99 of refusals at most 50 ms; no member suspected or
called down; normal within 15 s; beside the stream that is not read, no get over 100 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster, python_of
from report import Report, arguments
from ringmill.client.bench.processor_time import used_s
from ringmill.client.blocking import Client

HERE = Path(__file__).resolve().parent
NODES, KEYS, VALUE_BYTES, READS = 3, 20_000, 100, 0.5
LARGE_KEYS, LARGE_BYTES, LARGE_GETS = 20, 1024 * 1024, 400
LEAST_RATE, STEP = 1000.0, 1.25
KEPT_UP, CALM_P99_MS = 0.95, 500.0
NORMAL_SHARE = 0.95
LOW_RATE = 200.0


class Generator:
    """The process of storm.py."""

    def __init__(self, cluster: BenchCluster, transport: str) -> None:
        self._cluster = cluster
        about = {
            "endpoints": cluster.endpoints, "transport": transport, "seed": 7, "keys": KEYS,
            "value_bytes": VALUE_BYTES, "reads": READS,
        }  # fmt: skip
        command = [str(python_of(HERE.parents[2])), str(HERE / "storm.py"), json.dumps(about)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parents[2]
        )
        self._answer()

    def run(self, rate: float, seconds: float, ghosts: float = 0.0) -> dict[str, Any]:
        """What came of a load, with the processors that the nodes and others had in use meanwhile."""
        nodes_s, busy_s, began = self._nodes_s(), _busy_s(), time.monotonic()
        self.begin(rate, seconds, ghosts)
        answer = self._answer()
        passed_s = time.monotonic() - began
        nodes = (self._nodes_s() - nodes_s) / passed_s
        generator = answer["generator_s"] * seconds / passed_s
        others = (_busy_s() - busy_s) / passed_s - nodes - generator
        return {**answer, "nodes_cores": nodes, "others_cores": max(0.0, others)}

    def begin(self, rate: float, seconds: float, ghosts: float = 0.0, **more: Any) -> None:
        assert self._process.stdin is not None
        asked = {"rate": rate, "seconds": seconds, "ghosts": ghosts, **more}
        print(json.dumps(asked), file=self._process.stdin, flush=True)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the generator ended with {self._process.wait(30)}")
        answer: dict[str, Any] = json.loads(line)
        if "broken" in answer:
            raise SystemExit(f"a stream of the generator broke: {answer['broken']}")
        return answer

    def _nodes_s(self) -> float:
        return sum(map(used_s, self._cluster.pids))


@contextmanager
def generator(cluster: BenchCluster, transport: str) -> Iterator[Generator]:
    started = Generator(cluster, transport)
    try:
        yield started
    finally:
        started.end()


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def note(report: Report, case: str, run: dict[str, Any]) -> None:
    failed = sum(run["failed"].values()) + run["unanswered"]
    report.row(
        case,
        offered_per_s=run["offered_per_s"], good_per_s=run["good_per_s"],
        refused_per_s=run["refused_per_s"], failed=failed,
        good_p50_ms=run["good_ms"].get("p50", 0.0), good_p99_ms=run["good_ms"].get("p99", 0.0),
        refused_p50_ms=run["refused_ms"].get("p50", 0.0), refused_p99_ms=run["refused_ms"].get("p99", 0.0),
        nodes=run["nodes_cores"], generator=run["generator_s"], others=run["others_cores"],
    )  # fmt: skip
    report.details.append({"case": case, **run})


def sustainable(load: Generator, report: Report, seconds: float) -> float:
    """The last rate that the cluster keeps up with."""
    rate, kept = LEAST_RATE, LEAST_RATE / 2
    while True:
        result = load.run(rate, seconds)
        note(report, "rising", result)
        is_calm = result["good_ms"].get("p99", 1e9) <= CALM_P99_MS
        if result["good_per_s"] < KEPT_UP * result["offered_per_s"] or not is_calm:
            return kept
        kept, rate = rate, rate * STEP


def peak(load: Generator, report: Report, rate: float, ghosts: float, seconds: float) -> float:
    most = 0.0
    for share in (0.8, 1.0, 1.2, 1.5):
        result = load.run(rate * share, seconds, ghosts)
        note(report, f"peak {share:g} x, ghosts", result)
        most = max(most, result["good_per_s"])
    return most


def seconds_to_normal(result: dict[str, Any], before: dict[str, Any]) -> int:
    """Until every further second has as many good answers as were due, no slower than before the storm."""
    calm_ms = max(100.0, 3 * before["good_ms"]["p99"])
    due = result["offered_per_s"]
    slots = result["by_second"]
    unwell = [
        number
        for number, slot in enumerate(slots)
        if slot["good"] < NORMAL_SHARE * due - 3 * due**0.5 or slot["p99"] > calm_ms
    ]
    return unwell[-1] + 1 if unwell else 0


def suspicions(cluster: BenchCluster) -> tuple[int, int]:
    """How often a node's log calls a member suspect, and down."""
    logs = [path.read_text(errors="replace") for path in (cluster.folder / "logs").glob("*.log")]
    return sum(log.count(" is suspect") for log in logs), sum(log.count(" is down") for log in logs)


def storm(cluster: BenchCluster, load: Generator, report: Report, options: argparse.Namespace) -> None:
    brief = 2.0 if options.quick else 4.0
    rate = sustainable(load, report, brief)
    most = peak(load, report, rate, rate * (options.times - 1), 2 * brief)
    before = load.run(rate / 2, 2 * brief)
    note(report, "before", before)
    suspected, downs = suspicions(cluster)
    raging = load.run(rate * options.times, options.seconds)
    note(report, f"storm, {options.times:g} x", raging)
    after = load.run(rate / 2, 16.0)
    note(report, "after", after)
    suspected_now, downs_now = suspicions(cluster)
    report.goal("goodput below the peak", 100 * (1 - raging["good_per_s"] / most), 15.0, "%")
    report.goal("p99 of refusals", raging["refused_ms"].get("p99", 0.0), 50.0, "ms")
    report.goal("members suspected in the storm", suspected_now - suspected, 0, "times")
    report.goal("members called down in the storm", downs_now - downs, 0, "times")
    report.goal("after the storm, normal within", seconds_to_normal(after, before), 15, "s")


def never_read(cluster: BenchCluster, load: Generator, report: Report) -> None:
    """Small gets and puts beside a client that asks for much and reads nothing."""
    calm = load.run(LOW_RATE, 4.0)
    note(report, "calm", calm)
    bytes_before = [psutil.Process(pid).memory_info().rss for pid in cluster.pids]
    endpoint = cluster.endpoints.partition(",")[0]
    command = [str(python_of(HERE.parents[2])), str(HERE / "never_read.py"), endpoint, str(LARGE_GETS)]
    greedy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert greedy.stdout is not None
    assert greedy.stdout.readline() == "sent\n", "the client that never reads did not get so far"
    beside = load.run(LOW_RATE, 8.0)
    grown = [
        psutil.Process(pid).memory_info().rss - former
        for pid, former in zip(cluster.pids, bytes_before, strict=True)
    ]
    greedy.communicate("")
    note(report, "beside a stream that is not read", beside)
    report.goal("get or put beside a stream that is not read, most", beside["good_ms"]["most"], 100.0, "ms")
    report.note(f"the largest node grew by {max(grown) / 2**20:,.0f} MiB meanwhile")


def main() -> None:
    parser = arguments("overload", __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--transport", default="tcp", choices=("grpc", "tcp", "unix"))
    parser.add_argument("--times", type=float, default=10.0, help="the sustainable rate  [10]")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the storm  [60, with --quick 10]")
    parser.add_argument("--only", choices=("storm", "never-read"), help="one of the two parts")
    options = parser.parse_args()
    if options.quick:
        options.seconds = min(options.seconds, 10.0)
    settings = {
        "nodes": NODES, "keys": KEYS, "value_bytes": VALUE_BYTES, "reads": READS,
        "transport": options.transport, "times": options.times, "seconds": options.seconds,
    }  # fmt: skip
    report = Report("overload", settings, options.json)
    carried = ("--peer-transport", options.transport, "--client-transport", options.transport)
    os.environ.setdefault("RINGMILL_GATE", "on")
    with BenchCluster(nodes=NODES, options=carried) as cluster:
        with Client(cluster.endpoints, timeout=30.0) as db:
            space = db.keyspace("default")
            space.mput({b"key:%012d" % number: b"." * VALUE_BYTES for number in range(KEYS)})
            space.mput({b"large:%d" % number: b"." * (LARGE_BYTES - 1024) for number in range(LARGE_KEYS)})
        with generator(cluster, options.transport) as load:
            load.run(LEAST_RATE, 2.0)
            if options.only != "storm":
                never_read(cluster, load, report)
            if options.only != "never-read":
                storm(cluster, load, report, options)
    report.finish()


if __name__ == "__main__":
    main()
