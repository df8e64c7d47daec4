"""Run hostile jobs on a small cluster beside puts, and judge how each ends.

    python scripts/chaos/hostile/hostile_jobs.py --rounds 1 --json build/hostile.json

Two nodes of their own.  Each kind of job (kinds.py) does one deed (deeds.py): it crashes, forks without end,
reads the token, signals a node.  It has to end as the kind says, within a minute; nothing may be left of it
a few seconds later, neither processes nor files, and no file of the cluster may have changed.  Exit 0 when at
least 95 % of the jobs were right and none has escaped, else 1; data and logs are kept then.

A watchdog, started before the first job, ends all tasks at more than 300 processes.  Times are told, and
nothing is judged by them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would tell of every reset connection

from chaos.homes.own_cluster import judged_on_a_cluster  # noqa: E402
from chaos.hostile.kinds import KINDS, Kind  # noqa: E402
from chaos.hostile.watchdog import marked_processes  # noqa: E402
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
PUT_EVERY_S: Final = 0.03
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
        told = "; ".join(self.escapes) or ("" if self.is_right else f"WRONG: {self.error[:160]}")
        return (
            f"{self.kind:<20} {self.ended:<13} {self.seconds:>6.1f} {self.put_p99_ms:>8.1f}  {told or 'ok'}"
        )


class Prober:
    """Puts a key again and again; tells the latencies since it was asked last, in milliseconds."""

    def __init__(self, db: AsyncClient) -> None:
        self._db = db
        self._taken: list[float] = []
        self.failures = 0

    async def run(self) -> None:
        number = 0
        while True:
            began, number = time.perf_counter(), number + 1
            try:
                await self._db.put(f"probe-{number % 100}", b"x" * 100)
            except RingmillError:
                self.failures += 1
            self._taken.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PUT_EVERY_S)

    def p99_ms(self) -> float:
        taken, self._taken = sorted(self._taken), []
        return taken[int(len(taken) * 0.99)] if taken else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=1, help="of all kinds, 1 to 20  [1]")
    parser.add_argument("--only", default="", metavar="KIND,...", help="these kinds alone")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if not 1 <= given.rounds <= 20:
        parser.error(f"--rounds {given.rounds}: 1 to 20")
    only = set(filter(None, given.only.split(",")))
    if unknown := only - {kind.deed for kind in KINDS}:
        parser.error(f"--only {', '.join(sorted(unknown))}: no such kind")
    kinds = [kind for kind in KINDS if not only or kind.deed in only] * given.rounds
    os.environ["PATH"] += f":/{MARK}"  # the process that starts tasks keeps it, and
    os.environ["FSSPEC_MARK"] = MARK  # what tasks start keeps this
    watchdog = subprocess.Popen(
        [sys.executable, str(DEEDS.with_name("watchdog.py")), MARK, str(MOST_PROCESSES), str(len(kinds) * 90)]
    )
    try:
        return judged_on_a_cluster(
            "hostile",
            nodes=2,
            lowest_port=19700,
            has_held=lambda cluster: (
                asyncio.run(_has_held(cluster, kinds, given.json)) and not watchdog.poll()
            ),
        )
    finally:
        watchdog.kill()
        if watchdog.wait() == 3:
            print(f"THE WATCHDOG has ended tasks: more than {MOST_PROCESSES} processes", file=sys.stderr)


async def _has_held(cluster: LocalCluster, kinds: Sequence[Kind], json_file: str) -> bool:
    home = Path(cluster.folder).parent
    (home / "input").write_text("one line\n")
    (home / "diary").write_text("dear diary")
    (home / "deeds.py").write_bytes(DEEDS.read_bytes())
    outcomes = []
    async with connect([each.address for each in cluster.nodes], token=read_token(cluster.folder)) as db:
        prober = Prober(db)
        probing = asyncio.create_task(prober.run())
        await asyncio.sleep(QUIET_S)
        quiet_ms = prober.p99_ms()
        print(
            f"{'kind':<20} {'ended':<13} {'s':>6} {'p99 ms':>8}  (quiet: p99 {quiet_ms:.1f} ms)", flush=True
        )
        for number, kind in enumerate(kinds):
            outcome = await _outcome(db, cluster, home, kind, number)
            outcome.put_p99_ms = prober.p99_ms()
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
        probing.cancel()
    return _judged(outcomes, quiet_ms, prober.failures, json_file)


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
        state = await _ended(db, job)
    except RingmillError as error:
        return error.code, str(error)
    if state.error is None:
        return state.state, ""
    detail = state.error.detail or {}
    return str(detail.get("cause", state.state)), str(state.error)


async def _ended(db: AsyncClient, job: str) -> JobState:
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


def _judged(outcomes: Sequence[Outcome], quiet_ms: float, failed_puts: int, json_file: str) -> bool:
    right = sum(each.is_right for each in outcomes)
    escapes = sum(bool(each.escapes) for each in outcomes)
    worst_ms = max(each.put_p99_ms for each in outcomes)
    print(
        f"{right} of {len(outcomes)} right, {escapes} escaped; puts: p99 {quiet_ms:.1f} ms quiet, "
        f"{worst_ms:.1f} ms beside the worst, {failed_puts} failed"
    )
    if json_file:
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)
        document = {
            "right": right,
            "escaped": escapes,
            "quiet_p99_ms": round(quiet_ms, 3),
            "failed_puts": failed_puts,
            "jobs": [asdict(each) for each in outcomes],
        }
        Path(json_file).write_text(json.dumps(document, indent=1) + "\n")
    return right >= RIGHT_SHARE * len(outcomes) and not escapes


if __name__ == "__main__":
    sys.exit(main())
