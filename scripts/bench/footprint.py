"""What a cluster costs before anybody uses it: the time from typed to usable, and that of the command line.

python scripts/bench/footprint.py [--quick] [--json PATH]
"""

from __future__ import annotations

import time

from local_cluster import BenchCluster
from report import Report, arguments, percentile

NODES = 5
UP_GOAL_S, GET_GOAL_S = 2.0, 0.4


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


def main() -> None:
    options = arguments("footprint", __doc__ or "").parse_args()
    scale, starts = (10, 1) if options.quick else (1, 3)
    report = Report("footprint", {"nodes": NODES, "replicas": 3}, options.json)
    ups = start_ups(starts)
    with BenchCluster(nodes=NODES) as cluster:
        gets = shell_to_shell(cluster, 20 // scale + 1)
    for name, taken in (("cluster up, 5 nodes", ups), ("ringmill get, shell to shell", gets)):
        report.row(name, median_s=percentile(taken, 0.5), most_s=max(taken))
    report.goal("five nodes up", percentile(ups, 0.5), UP_GOAL_S, "s")
    report.goal("ringmill get, shell to shell", percentile(gets, 0.5), GET_GOAL_S, "s")
    report.finish()


if __name__ == "__main__":
    main()
