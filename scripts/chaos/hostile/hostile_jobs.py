"""Run hostile jobs on a small cluster beside puts, and judge how each ends.

    python scripts/chaos/hostile/hostile_jobs.py --jobs 200 --seeds 1,2,3,4 [--as-uid 65534] [--json FILE]

Each seed has a cluster of two nodes and draws the order of the kinds (kinds.py); each comes equally often.
A job does one deed (deeds.py): it crashes, forks without end, reads the token, signals a node.  It has to end
as the kind says, within a minute; nothing may be left of it a few seconds later, neither processes nor files,
and no file of the cluster may have changed.  No node may be seen dead by the other one.  Exit 0 when at least
95 % of the jobs were right, none has escaped, no node was seen dead and no put beside them failed, else 1;
data and logs are kept then.

Root may run all of it as another user, by --as-uid.  A watchdog, started before the first job, ends all tasks
at more than 300 processes.  Times are told, and nothing is judged by them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from chaos.hostile.kinds import KINDS, Kind  # noqa: E402
from chaos.hostile.prober import Prober  # noqa: E402
from chaos.hostile.watchdog import marked_processes  # noqa: E402
from chaos.opinions.told_deaths import deaths_told  # noqa: E402
from report import machine  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.jobs.job_values import JobState  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402

__all__ = ["main"]

MARK: Final = f"ringmill-hostile-{os.getpid()}"
MOST_PROCESSES: Final = 300
MOST_S: Final = 60.0  # of one job
SETTLED_S: Final = 6.0  # until nothing may be left of it
QUIET_S: Final = 5.0
RIGHT_SHARE: Final = 0.95
DEEDS: Final = Path(__file__).with_name("deeds.py")


@dataclass(slots=True)
class Outcome:
    """How one job ended."""

    kind: str
    ended: str
    wanted: str
    seconds: float
    is_right: bool
    escapes: list[str] = field(default_factory=list)
    put_p99_ms: float = 0.0
    error: str = ""

    def line(self) -> str:
        faults = "; ".join(self.escapes) or ("" if self.is_right else f"WRONG: {self.error[:160]}")
        return (
            f"{self.kind:<20} {self.ended:<13} {self.seconds:>6.1f} {self.put_p99_ms:>8.1f}  {faults or 'ok'}"
        )


@dataclass(slots=True)
class Run:
    """The jobs of one seed, and the puts beside them."""

    seed: int
    quiet_p99_ms: float = 0.0
    failed_puts: int = 0
    deaths: int = 0  # how often a node was seen dead
    jobs: list[Outcome] = field(default_factory=list)

    @property
    def right(self) -> int:
        return sum(each.is_right for each in self.jobs)

    @property
    def escaped(self) -> int:
        return sum(bool(each.escapes) for each in self.jobs)

    @property
    def has_held(self) -> bool:
        is_right = self.right >= RIGHT_SHARE * len(self.jobs) and not self.escaped
        return is_right and not self.deaths and not self.failed_puts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--jobs", type=int, default=len(KINDS), metavar="N", help="in all  [one of each kind]"
    )
    parser.add_argument("--seeds", default="1", metavar="N,...", help="each has a cluster of its own  [1]")
    parser.add_argument("--only", default="", metavar="KIND,...", help="these kinds alone")
    parser.add_argument(
        "--as-uid", type=int, default=0, metavar="UID", help="become this user first, as root"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if given.as_uid:
        _begin_again_as(given.as_uid, parser)
    if not all(each.isdecimal() for each in given.seeds.split(",")):
        parser.error(f"--seeds {given.seeds}: numbers with commas between them")
    seeds = [int(each) for each in given.seeds.split(",")]
    if not len(seeds) <= given.jobs <= 2000:
        parser.error(f"--jobs {given.jobs}: {len(seeds)} to 2000")
    only = set(filter(None, given.only.split(",")))
    if unknown := only - {kind.deed for kind in KINDS}:
        parser.error(f"--only {', '.join(sorted(unknown))}: no such kind")
    kinds = [kind for kind in KINDS if not only or kind.deed in only]
    began, runs = time.time(), []
    for number, seed in enumerate(seeds):
        jobs = given.jobs // len(seeds) + (number < given.jobs % len(seeds))
        runs.append(Run(seed))
        if _try_seed(runs[-1], _drawn(kinds, jobs, seed)):
            break
    _tell(runs, began, given.json)
    return 0 if len(runs) == len(seeds) and all(run.has_held for run in runs) else 1


def _begin_again_as(uid: int, parser: argparse.ArgumentParser) -> None:
    """Run this program anew as another user, with a home that this user may write."""
    if os.geteuid():
        parser.error("--as-uid: only root can become another user")
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    if not os.access(sys.executable, os.X_OK):
        parser.error(f"--as-uid {uid}: that user may not run {sys.executable}; take another Python")
    os.environ["HOME"] = tempfile.mkdtemp(prefix="ringmill-home-")
    at = sys.argv.index("--as-uid") if "--as-uid" in sys.argv else len(sys.argv)
    rest = [each for each in (*sys.argv[:at], *sys.argv[at + 2 :]) if not each.startswith("--as-uid=")]
    os.execv(sys.executable, [sys.executable, *rest])


def _drawn(kinds: Sequence[Kind], jobs: int, seed: int) -> list[Kind]:
    """This number of kinds, each as often as the others, or once more."""
    draws, drawn = random.Random(seed), list[Kind]()
    while len(drawn) < jobs:
        drawn += draws.sample(kinds, len(kinds))
    return drawn[:jobs]


def _try_seed(run: Run, kinds: Sequence[Kind]) -> int:
    """0 when it has held."""
    os.environ["PATH"] += f":/{MARK}"  # the process that starts tasks keeps it, and
    os.environ["FSSPEC_MARK"] = MARK  # what tasks start keeps this
    watchdog = subprocess.Popen(
        [sys.executable, str(DEEDS.with_name("watchdog.py")), MARK, str(MOST_PROCESSES), str(len(kinds) * 90)]
    )

    def run_and_judge(cluster: LocalCluster) -> bool:
        asyncio.run(_submit_all(run, cluster, kinds))
        run.deaths = deaths_told(cluster)
        return run.has_held and not watchdog.poll()

    try:
        return judge_on_cluster("hostile", nodes=2, lowest_port=19700, run_and_judge=run_and_judge)
    finally:
        watchdog.kill()
        if watchdog.wait() == 3:
            print(f"THE WATCHDOG has ended tasks: more than {MOST_PROCESSES} processes", file=sys.stderr)


async def _submit_all(run: Run, cluster: LocalCluster, kinds: Sequence[Kind]) -> None:
    home = Path(cluster.folder).parent
    (home / "input").write_text("one line\n")
    (home / "diary").write_text("dear diary")
    (home / "deeds.py").write_bytes(DEEDS.read_bytes())
    async with connect([each.address for each in cluster.nodes], token=read_token(cluster.folder)) as db:
        prober = Prober(db)
        async with asyncio.TaskGroup() as group:
            probing = group.create_task(prober.run())
            await asyncio.sleep(QUIET_S)
            quiet = await prober.since_last()
            run.quiet_p99_ms, run.failed_puts = quiet.p99_ms, quiet.failed
            print(
                f"{'kind':<20} {'ended':<13} {'s':>6} {'p99 ms':>8}  "
                f"(seed {run.seed}, quiet: p99 {run.quiet_p99_ms:.1f} ms)",
                flush=True,
            )
            for number, kind in enumerate(kinds):
                outcome = await _outcome(db, cluster, home, kind, number)
                puts = await prober.since_last()
                outcome.put_p99_ms = puts.p99_ms
                run.failed_puts += puts.failed
                run.jobs.append(outcome)
                print(outcome.line(), flush=True)
            probing.cancel()


async def _outcome(db: AsyncClient, cluster: LocalCluster, home: Path, kind: Kind, number: int) -> Outcome:
    before = _fingerprint(cluster, home)
    began = time.perf_counter()
    place = {
        "node": cluster.nodes[0].pid,
        "port": int(cluster.nodes[0].address.rpartition(":")[2]),
        "token": f"{cluster.folder}/token",
        "data": f"{cluster.folder}/{cluster.nodes[0].id}",
        "home": str(home),
    }
    ended, error = await _run(db, kind, place, home, number)
    outcome = Outcome(
        kind.deed,
        ended,
        " or ".join(kind.ends),
        time.perf_counter() - began,
        is_right=ended in kind.ends and kind.text in error,
        error=error,
    )
    outcome.escapes = await _escapes(cluster, home, before)
    if ended == "SUCCEEDED" and "secret" in _output(home, number, cluster):
        outcome.escapes.append("the output has the token")
    return outcome


async def _run(
    db: AsyncClient, kind: Kind, place: dict[str, object], home: Path, number: int
) -> tuple[str, str]:
    """SUCCEEDED or the cause of the failure, and its text."""
    try:
        job = await db.jobs.submit(
            f"{home}/deeds.py:{kind.job}",
            input=str(home / "input"),
            output=str(home / f"out-{kind.deed}-{number}"),
            params={"deed": kind.deed, "place": json.dumps(place)},
        )
        state = await _wait_ended(db, job)
    except RingmillError as error:
        return error.code, str(error)
    if state.error is None:
        return state.state, ""
    detail = state.error.detail or {}
    return str(detail.get("cause", state.state)), str(state.error)


async def _wait_ended(db: AsyncClient, job: str) -> JobState:
    """Its last state; one that takes too long is killed."""
    try:
        async with asyncio.timeout(MOST_S):
            async for state in db.jobs.watch(job):
                if state.is_over:
                    return state
    except TimeoutError:
        await db.jobs.kill(job)
    return await db.jobs.status(job)


async def _escapes(cluster: LocalCluster, home: Path, before: dict[str, str]) -> list[str]:
    """What is left of a job once it had time to go; empty when nothing is."""
    until = time.monotonic() + SETTLED_S
    found = ["?"]
    while found and time.monotonic() < until:
        await asyncio.sleep(0.2)
        found = _left(cluster, home, before)
    return found


def _left(cluster: LocalCluster, home: Path, before: dict[str, str]) -> list[str]:
    found = [f"process {pid} is left: {_told(pid)}" for pid in _strays(cluster)]
    found += [f"{path.name} is left" for path in home.glob(".out-*")]
    for node in cluster.nodes:
        found += [f"{path} is left" for path in Path(cluster.folder, node.id, "scratch").glob("*")]
    after = _fingerprint(cluster, home)
    return found + [f"{name} has changed" for name in before if before[name] != after[name]]


def _strays(cluster: LocalCluster) -> list[int]:
    """Processes of tasks that are neither what starts them nor its direct children, which wait for work."""
    nodes = {each.pid for each in cluster.nodes}
    all_of_them = marked_processes(MARK)
    starters = {pid for pid in all_of_them if _parent(pid) in nodes}
    waiting = Counter(_parent(pid) for pid in all_of_them if pid not in starters)
    return [
        pid for pid in all_of_them
        if pid not in starters and (_parent(pid) not in starters or waiting[_parent(pid)] > 1)
    ]  # fmt: skip


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _told(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    except OSError:
        return "gone"


def _fingerprint(cluster: LocalCluster, home: Path) -> dict[str, str]:
    """What no job may change: the nodes' processes, the token, files beside the output."""
    token = Path(cluster.folder, "token")
    identities = [Path(cluster.folder, each.id, "IDENTITY").read_bytes() for each in cluster.nodes]
    return {
        "the nodes": str([_parent(each.pid) != 0 for each in cluster.nodes]),
        "the token": f"{token.read_text()} {token.stat().st_mode:o}",
        "the identities": str(identities),
        "the home": str(sorted(path.name for path in home.iterdir() if "out-" not in path.name)),
    }


def _output(home: Path, number: int, cluster: LocalCluster) -> str:
    """ "secret" when an output holds the token, or leads to it."""
    token = Path(cluster.folder, "token").read_text().strip()
    for path in home.glob(f"out-*-{number}/part-*"):
        if path.is_symlink() or token in path.read_text(errors="replace"):
            return "secret"
    return ""


def _tell(runs: Sequence[Run], began: float, json_file: str) -> None:
    jobs = [each for run in runs for each in run.jobs]
    if not jobs:
        return
    document = {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)),
        "seconds": round(time.time() - began),
        "uid": os.geteuid(),
        "machine": machine(),
        "load_1_min": round(os.getloadavg()[0], 1),
        "jobs": len(jobs),
        "right": sum(run.right for run in runs),
        "escaped": sum(run.escaped for run in runs),
        "seen_dead": sum(run.deaths for run in runs),
        "failed_puts": sum(run.failed_puts for run in runs),
        "quiet_p99_ms": [round(run.quiet_p99_ms, 1) for run in runs],
        "worst_p99_ms": round(max(each.put_p99_ms for each in jobs), 1),
    }
    print(
        "{right} of {jobs} right, {escaped} escaped, {seen_dead} times a node was seen dead; puts: p99 "
        "{quiet_p99_ms} ms quiet, {worst_p99_ms} ms beside the worst, {failed_puts} failed; uid {uid}, "
        "{seconds} s".format(**document)
    )
    if json_file:
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)
        document["runs"] = [asdict(run) for run in runs]
        Path(json_file).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
