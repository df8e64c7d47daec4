"""Put keys beside heavy attacks on a node, one after the other, and compare how long puts take.

    python scripts/chaos/hostile/beside_attacks.py [--seconds 10] [--only NAME,...] [--json FILE]

Three nodes.  An attack is a process that floods the first node from outside (attacks.py), or a hostile job
(deeds.py).  Before each one puts are measured at rest, on the same machine at the same load.  A put is due
each 10 ms, answered or not, and takes its time from when it was due.  It held when beside each attack the
99th percentile of puts stayed under 5 times that at rest, each put that was due took less than a second, or
than 5 times the longest at rest, none has failed, and no node has ended or was seen dead.  Exit 0: it held;
1: not, and data and logs are kept.  A harmless job runs before all that: else this program's own loop, which
imports what submits jobs, stands still for 0.1 s beside the first one.

A watchdog, started before the first job, ends all tasks at more than 300 processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from chaos.hostile.attacks import ATTACKS, LARGE_KEY  # noqa: E402
from chaos.hostile.prober import Prober  # noqa: E402
from chaos.opinions.told_deaths import deaths_told  # noqa: E402
from report import machine  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402

__all__ = ["main"]

MARK: Final = f"ringmill-beside-{os.getpid()}"
JOBS: Final = ("fork_bomb", "fork_bomb_setsid", "memory_of_children", "threads", "print_3_s")
HARMLESS: Final = "print_binary"
MOST_TIMES: Final = 5.0
LONGEST_MS: Final = 1000.0
MOST_PROCESSES: Final = 300
REST_S: Final = 8.0
CALM_S: Final = 2.0
PUT_EVERY_S: Final = 0.01
LARGE: Final = b"x" * 1_000_000
DEEDS: Final = Path(__file__).with_name("deeds.py")


@dataclass(slots=True)
class Beside:
    """The puts beside one attack."""

    attack: str
    rest_p99_ms: float
    p99_ms: float
    longest_ms: float
    rest_longest_ms: float
    puts: int
    failed_puts: int
    seconds: float
    grown_mib: int  # the first node, meanwhile
    deaths: int
    ended: str = ""  # a job: how

    @property
    def times(self) -> float:
        return self.p99_ms / self.rest_p99_ms

    @property
    def has_held(self) -> bool:
        longest_ms = max(LONGEST_MS, MOST_TIMES * self.rest_longest_ms)  # others may keep the machine busy
        is_fast = self.puts > 0 and self.times < MOST_TIMES and self.longest_ms < longest_ms
        return is_fast and not self.failed_puts and not self.deaths

    def line(self) -> str:
        return (
            f"{self.attack:<22} {self.rest_p99_ms:>8.1f} {self.p99_ms:>8.1f} {self.times:>6.1f} "
            f"{self.longest_ms:>8.1f} {self.failed_puts:>6} {self.grown_mib:>6} {self.deaths:>6} "
            f"{self.seconds:>6.1f}  {self.ended}"
        )


def main() -> int:
    names = [*ATTACKS, *JOBS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of an attack from outside, 1 to 300  [10]"
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help="these attacks alone")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if not 1 <= given.seconds <= 300:
        parser.error(f"--seconds {given.seconds:g}: 1 to 300")
    wanted = list(filter(None, given.only.split(","))) or names
    if unknown := set(wanted) - set(names):
        parser.error(f"--only {', '.join(sorted(unknown))}: no such attack; there are {', '.join(names)}")
    os.environ["PATH"] += f":/{MARK}"  # the process that starts tasks keeps it, and
    os.environ["FSSPEC_MARK"] = MARK  # what tasks start keeps this
    watchdog = subprocess.Popen(
        [sys.executable, str(DEEDS.with_name("watchdog.py")), MARK, str(MOST_PROCESSES), "3600"]
    )
    try:
        return judge_on_cluster(
            "beside",
            nodes=3,
            lowest_port=24_600,
            run_and_judge=lambda cluster: _run_and_judge(cluster, wanted, given.seconds, given.json),
        )
    finally:
        watchdog.kill()
        watchdog.wait()


def _run_and_judge(cluster: LocalCluster, names: list[str], seconds: float, json_file: str) -> bool:
    home = Path(cluster.folder).parent
    (home / "input").write_text("one line\n")
    (home / "deeds.py").write_bytes(DEEDS.read_bytes())
    began = time.time()
    found = asyncio.run(_measure(cluster, names, seconds))
    if json_file:
        document = {
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)),
            "machine": machine(),
            "load_1_min": round(os.getloadavg()[0], 1),
            "uid": os.geteuid(),
            "attacks": [{**asdict(each), "times": round(each.times, 2)} for each in found],
        }
        Path(json_file).write_text(json.dumps(document, indent=1) + "\n")
    return all(each.has_held for each in found)


async def _measure(cluster: LocalCluster, names: list[str], seconds: float) -> list[Beside]:
    found: list[Beside] = []
    print(
        f"{'attack':<22} {'rest ms':>8} {'p99 ms':>8} {'times':>6} {'most ms':>8} failed    MiB   dead      s"
    )
    async with connect([each.address for each in cluster.nodes], token=read_token(cluster.folder)) as db:
        await db.put(LARGE_KEY, LARGE)
        await _run_job(db, HARMLESS, Path(cluster.folder).parent)
        prober = Prober(db, PUT_EVERY_S)
        async with asyncio.TaskGroup() as group:
            probing = group.create_task(prober.run())
            for name in names:
                found.append(await _beside(db, cluster, prober, name, seconds))
                print(found[-1].line(), flush=True)
            probing.cancel()
    return found


async def _beside(
    db: AsyncClient, cluster: LocalCluster, prober: Prober, name: str, seconds: float
) -> Beside:
    await asyncio.sleep(CALM_S)
    await prober.since_last()
    await asyncio.sleep(REST_S)
    rest = await prober.since_last()
    deaths, before = deaths_told(cluster), _memory_mib(cluster)
    await prober.since_last()  # those of the time that it took to look
    began, ended = time.perf_counter(), ""
    if name in ATTACKS:
        command = [sys.executable, str(Path(__file__).with_name("attacks.py")), name]
        given = [cluster.nodes[0].address, str(seconds), f"{cluster.folder}/token"]
        attack = await asyncio.create_subprocess_exec(*command, *given)
        await attack.wait()
    else:
        ended = await _run_job(db, name, Path(cluster.folder).parent)
    seconds_taken = time.perf_counter() - began
    puts = await prober.since_last()
    return Beside(
        name,
        rest.p99_ms,
        puts.p99_ms,
        puts.longest_ms,
        rest.longest_ms,
        len(puts.took_ms),
        puts.failed,
        seconds_taken,
        _memory_mib(cluster) - before,
        deaths_told(cluster) - deaths + sum(not psutil.pid_exists(each.pid) for each in cluster.nodes),
        ended,
    )


async def _run_job(db: AsyncClient, deed: str, home: Path) -> str:
    with suppress(RingmillError):
        job = await db.jobs.submit(
            f"{home}/deeds.py:hostile",
            input=str(home / "input"),
            output=str(home / f"out-{deed}"),
            params={"deed": deed, "place": "{}"},
        )
        async for state in db.jobs.watch(job):
            if state.is_over:
                return str((state.error.detail or {}).get("cause", "")) if state.error else state.state
    return "refused"


def _memory_mib(cluster: LocalCluster) -> int:
    return int(psutil.Process(cluster.nodes[0].pid).memory_info().rss >> 20)


if __name__ == "__main__":
    sys.exit(main())
