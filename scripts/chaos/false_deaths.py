"""Watch what five nodes think of each other while every processor is busy; then kill one of them.

    python scripts/chaos/false_deaths.py --for 1800 [--profile fast] [--burners N] [--json PATH]

The nodes share the machine with as many processes as it has cores, which do nothing but use them.  Nobody
dies meanwhile, so each node that another one takes for dead is a false death.  A suspicion that its node
refutes costs nothing.  Then a node that the seed draws is killed with SIGKILL, and the script tells how long
it took until all others saw it dead.  Opinions are read from the logs, which have each change with its time.

Exit 0: no false death, and all others saw the killed node dead within 5 s (2 s in the fast profile); 1: not
so, and the logs are kept.  It ends by itself and leaves no process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]

from chaos.homes.own_home import judge_in_home  # noqa: E402
from chaos.opinions.burners import burning  # noqa: E402
from chaos.opinions.log_opinions import Change, changes_in, counted, seen_down_by  # noqa: E402
from chaos.opinions.whole_logs import tracebacks_in  # noqa: E402
from report import machine  # noqa: E402
from ringmill.client.local import local_cluster, processes  # noqa: E402
from ringmill.client.local.local_cluster import Plan  # noqa: E402
from ringmill.client.local.local_forming import form_local  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, make_token, token_path  # noqa: E402
from ringmill.client.local.tcp_ports import free_base  # noqa: E402
from ringmill.cluster.adapters.files.private_files import make_private_folder  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

NODES: Final = 5
GOAL_S: Final = {"default": 5.0, "fast": 2.0}
LOWEST_PORT: Final = 21_600
READY_S: Final = 60.0
CALM_S: Final = 5.0  # from ready nodes to busy processors
PATIENCE_S: Final = 60.0  # for all others to see the killed node dead
TELL_EVERY_S: Final = 300.0
LOOK_S: Final = 0.1
LONGEST_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds`: how long the nodes are watched; `burners`: processes that keep processors busy."""

    seconds: float
    profile: str
    burners: int
    seed: int


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--for", dest="seconds", type=float, default=1800.0, metavar="SECONDS", help="[1800]")
    parser.add_argument(
        "--profile", default="default", choices=sorted(GOAL_S), help="of the nodes  [default]"
    )
    parser.add_argument(
        "--burners", type=int, default=os.cpu_count() or 1, help="busy processes  [the cores]"
    )
    parser.add_argument("--seed", type=int, default=7, help="draws the node that is killed  [7]")
    parser.add_argument("--json", default="", metavar="PATH", help="file for the figures")
    given = parser.parse_args()
    if not 1 <= given.seconds <= LONGEST_S:
        parser.error(f"--for {given.seconds:g}: 1 to {LONGEST_S:g}")
    if not 0 <= given.burners <= 64:
        parser.error(f"--burners {given.burners}: 0 to 64")
    options = Options(given.seconds, given.profile, given.burners, given.seed)

    async def run_and_judge(home: Path) -> bool:
        result = await watch(str(home / "deaths"), options)
        print("\n".join(lines(result)), flush=True)
        if given.json:
            _write(given.json, result)
        return bool(result["verdict"] == "held")

    return judge_in_home("false-deaths", run_and_judge)


async def watch(folder: str, options: Options) -> dict[str, Any]:
    """The figures of one run.  Its nodes have ended when this returns or raises."""
    plan = Plan(nodes=NODES, base_port=free_base(NODES, LOWEST_PORT))
    with running(local_cluster.planned("deaths", folder, plan), options.profile) as (cluster, handles):
        await form_local(cluster, handles, READY_S)
        await asyncio.sleep(CALM_S)
        starts = _sizes(cluster)
        since = time.time()
        with burning(options.burners, options.seconds + 2 * PATIENCE_S) as burnt_s:
            before = psutil.cpu_times()
            await _watch_cluster(cluster, starts, options.seconds)
            idle_share = _idle_share(before, psutil.cpu_times())
            busy_s = burnt_s()
            victim = random.Random(options.seed).choice(cluster.nodes)
            killed_at = time.time()
            local_cluster.signal_node(victim, signal.SIGKILL)
            seen = await _seen_dead(cluster, starts, victim.id, killed_at)
            ended_at = time.time()
        logs = _logs(cluster, starts)
    changes = [one for one in _changes(logs) if one.node != victim.id or one.at < killed_at]
    counts = counted(changes, [line for log in logs.values() for line in log], since, ended_at)
    goal_s = GOAL_S[options.profile]
    within = len(seen) == NODES - 1 and max(seen.values()) <= goal_s
    return {
        "machine": machine(),
        "settings": {**asdict(options), "nodes": NODES},
        "watched_s": round(killed_at - since, 1),
        "busy_s": round(busy_s, 1),
        "idle_share": round(idle_share, 4),
        "suspicions": counts.suspicions,
        "refuted": counts.refuted,
        "false_deaths": counts.died,
        "stalls": counts.stalls,
        "killed": victim.id,
        "seen_dead_s": {name: round(took, 3) for name, took in sorted(seen.items())},
        "goal_s": goal_s,
        "tracebacks": sum(tracebacks_in("\n".join(log)) for log in logs.values()),
        "changes": [asdict(one) for one in changes if one.at >= since][:1000],
        "verdict": "held" if within and not counts.died else "broken",
    }


def lines(run: dict[str, Any]) -> list[str]:
    """The figures in sentences."""
    settings, seen = run["settings"], run["seen_dead_s"]
    each = ", ".join(f"{name} {took:.2f}" for name, took in seen.items())
    late = "" if len(seen) == NODES - 1 else f", not seen by {NODES - 1 - len(seen)} after {PATIENCE_S:g} s"
    return [
        f"machine       {', '.join(run['machine'].values())}",
        f"settings      {NODES} nodes, profile {settings['profile']}, {settings['burners']} busy processes, "
        f"watched for {run['watched_s']:,} s",
        f"busy          {run['busy_s']:,} s of processor time used by the busy processes; "
        f"the processors idled for {run['idle_share']:.1%} of the time",
        f"suspicions    {run['suspicions']}, refuted {run['refuted']}; {run['stalls']} stalls of loops",
        f"false deaths  {run['false_deaths']}",
        f"killed {run['killed']}     seen dead after {max(seen.values(), default=0):.2f} s by the last "
        f"({each}){late}; goal {run['goal_s']:g} s",
        f"verdict       {run['verdict']}",
    ]


@contextmanager
def running(cluster: LocalCluster, profile: str) -> Iterator[tuple[LocalCluster, dict[str, Any]]]:
    """Its nodes as processes, by this profile; `cluster up` starts all nodes by the fast one."""
    make_private_folder(cluster.folder)
    make_token(cluster.folder)
    make_private_folder(str(Path(cluster.log_path(cluster.nodes[0])).parent))
    handles = {}
    try:
        for node in cluster.nodes:
            command = [
                "-m", "ringmill.node", "--id", node.id, "--listen", node.address, "--profile", profile,
                "--data", cluster.data_folder(node), "--token-file", token_path(cluster.folder),
            ]  # fmt: skip
            process = processes.spawn(command, log_path=cluster.log_path(node), folder=cluster.folder)
            handles[node.id] = process
            mark = processes.start_mark(process.pid)
            cluster = cluster.with_node(replace(node, pid=process.pid, started=mark))
        yield cluster, handles
    finally:
        local_cluster.stop_nodes([node for node in cluster.nodes if node.pid])


async def _watch_cluster(cluster: LocalCluster, starts: Sequence[int], seconds: float) -> None:
    """Wait, and tell now and then what was seen so far.  Raises SystemExit when a node ends by itself."""
    begun = time.time()
    while (left_s := begun + seconds - time.time()) > 0:
        await asyncio.sleep(min(left_s, TELL_EVERY_S))
        ended = [node.id for node in cluster.nodes if local_cluster.node_state(node) == "stopped"]
        if ended:
            raise SystemExit(f"{', '.join(ended)} ended by itself; its log is in {cluster.folder}/logs")
        logs = _logs(cluster, starts)
        counts = counted(_changes(logs), [line for log in logs.values() for line in log], begun, time.time())
        print(f"{time.time() - begun:8,.0f} s  {counts}", flush=True)


async def _seen_dead(
    cluster: LocalCluster, starts: Sequence[int], victim: str, killed_at: float
) -> dict[str, float]:
    """For each other node: seconds from the kill until it took the killed one for dead."""
    until = time.monotonic() + PATIENCE_S
    while True:
        seen = seen_down_by(_changes(_logs(cluster, starts)), victim, killed_at)
        seen.pop(victim, None)
        if len(seen) == NODES - 1 or time.monotonic() > until:
            return seen
        await asyncio.sleep(LOOK_S)


def _idle_share(before: Any, after: Any) -> float:
    """The idle share of all processors between two readings of their times."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return float((after.idle - before.idle) / (sum(spent) or 1.0))


def _sizes(cluster: LocalCluster) -> list[int]:
    """The sizes of the logs of its nodes, in bytes."""
    return [os.path.getsize(cluster.log_path(node)) for node in cluster.nodes]


def _write(path: str, result: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _changes(logs: dict[str, list[str]]) -> list[Change]:
    return [change for name, log in logs.items() for change in changes_in(name, log)]


def _logs(cluster: LocalCluster, starts: Sequence[int]) -> dict[str, list[str]]:
    """The lines of each node's log from these offsets on."""
    found = {}
    for node, start in zip(cluster.nodes, starts, strict=True):
        with open(cluster.log_path(node), "rb") as log:
            log.seek(start)
            found[node.id] = log.read().decode(errors="replace").splitlines()
    return found


if __name__ == "__main__":
    sys.exit(main())
