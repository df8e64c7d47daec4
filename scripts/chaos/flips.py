"""Flip bits in every file of one node's folder, round after round, under a load that checks every read.

    python scripts/chaos/flips.py --rounds 200 --seed 7

Each round stops or kills one node, flips bits at random in each of its files (identity and control state,
logs, tables, manifest), starts it, and waits until it is whole again: a scrub finds no damage and status
names no damaged range.  Meanwhile every read has to be right and every write taken, as two sound owners
are there all the time.  Exit 0 when all of that held in all rounds, 1 when not; data and logs are kept
then.  The seed chooses victims and bits; real processes keep their own timing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.healing_node import fill, flip, size_of, start_scrubbing, until_whole  # noqa: E402
from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.local import local_cluster, processes  # noqa: E402
from ringmill.client.local.checked_load import CheckedLoad  # noqa: E402
from ringmill.client.local.local_state import (  # noqa: E402
    LocalCluster,
    read_token,
)
from ringmill.cluster.errors import RingmillError  # noqa: E402

__all__ = ["main"]

MOST_ROUNDS: Final = 1000
BYTES_A_FLIP: Final = 4 << 20  # one flip a file, and one more for each of these
SKIPPED: Final = ("LOCK",)  # holds nothing


@dataclass(slots=True)
class Round:
    """What came of one round; times in seconds."""

    number: int
    node: str
    ended_by: str
    files: int
    flips: int
    start_s: float = 0.0
    heal_s: float = 0.0
    writes: int = 0
    reads: int = 0
    violation: str = ""

    def line(self) -> str:
        what = self.violation or "ok"
        return (
            f"{self.number:>5}  {self.node:<4} {self.ended_by:<7} {self.files:>5} {self.flips:>6}"
            f" {self.start_s:>8.2f} {self.heal_s:>8.2f} {self.writes:>7} {self.reads:>7}  {what}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20, help=f"1 to {MOST_ROUNDS}  [20]")
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="no round begins after this time  [3600]"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of victims and bits  [1]")
    parser.add_argument(
        "--keys", type=int, default=2600, help="number of keys of 16 KiB, written once  [2600]"
    )
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds that each of 4 writers rests before it writes  [0]"
    )
    parser.add_argument("--partitions", type=int, default=256, help="of the cluster  [256]")
    given = parser.parse_args()
    if not 1 <= given.rounds <= MOST_ROUNDS:
        parser.error(f"--rounds {given.rounds}: 1 to {MOST_ROUNDS}")
    return judge_on_cluster(
        "flips",
        nodes=3,
        lowest_port=19000,
        partitions=given.partitions,
        run_and_judge=lambda cluster: asyncio.run(_trouble(cluster, given, random.Random(given.seed))),
    )


async def _trouble(cluster: LocalCluster, given: argparse.Namespace, chance: random.Random) -> bool:
    endpoints = [node.address for node in cluster.nodes]
    until = time.monotonic() + given.seconds
    done: list[Round] = []
    async with connect(endpoints, token=read_token(cluster.folder)) as db:
        cold = await fill(db, given.keys, chance)
        load = CheckedLoad(db, keys=64, workers=4, read_tries=5, pause_s=given.pause)
        is_over = asyncio.Event()
        print("round  node ended   files  flips  start s   heal s  writes   reads", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(is_over.is_set))
            for number in range(1, given.rounds + 1):
                if time.monotonic() > until or (done and done[-1].violation):
                    break
                cluster, one = await _round(number, cluster, db, load, cold, chance)
                done.append(one)
                print(one.line(), flush=True)
            is_over.set()
    bad = [one for one in done if one.violation]
    slowest = max((one.heal_s for one in done), default=0.0)
    print(
        f"{len(done)} rounds, {sum(one.flips for one in done)} bits flipped in "
        f"{sum(one.files for one in done)} files; "
        f"{load.acknowledged} writes ({load.unknown} of unknown outcome as their node ended), "
        f"{load.reads} reads ({load.repeated_reads} asked again as nobody answered in time); "
        f"slowest start {max((one.start_s for one in done), default=0.0):.1f} s, "
        f"slowest heal {slowest:.1f} s; {len(bad)} with a violation"
    )
    return bool(done) and not bad


async def _round(
    number: int,
    cluster: LocalCluster,
    db: AsyncClient,
    load: CheckedLoad,
    cold: dict[str, bytes],
    chance: random.Random,
) -> tuple[LocalCluster, Round]:
    node = cluster.node(chance.choice([one.id for one in cluster.nodes]))
    is_kill = chance.random() < 0.5
    writes, reads, unknown, refused = load.acknowledged, load.reads, load.unknown, load.refused
    if is_kill:
        local_cluster.signal_node(node, signal.SIGKILL)
        await asyncio.to_thread(processes.wait_gone, node.pid, node.started, 10.0)
    else:
        await asyncio.to_thread(local_cluster.stop_nodes, [node])
    files, flips = _flip_everywhere(Path(cluster.data_folder(node)), chance)
    one = Round(number, node.id, "kill -9" if is_kill else "stop", files, flips)
    log = Path(cluster.log_path(node))
    log_bytes = size_of(log)
    try:
        begun = time.monotonic()
        cluster = await start_scrubbing(cluster, node)
        one.start_s = time.monotonic() - begun
        for key in chance.sample(sorted(cold), min(100, len(cold))):
            if (await db.get(key)).value != cold[key]:
                one.violation = f"{key} is not what was written"
        await until_whole(db, node.id, log, log_bytes)
        one.heal_s = time.monotonic() - begun - one.start_s
    except (RingmillError, TimeoutError) as error:
        one.violation = f"{type(error).__name__}: {error}"
    one.writes, one.reads = load.acknowledged - writes, load.reads - reads
    if load.refused > refused or load.unknown - unknown > load.workers:  # one a worker, as its node ends
        one.violation += f" {load.refused - refused} writes refused, {load.unknown - unknown} unknown"
    if load.lost or load.failed_reads:
        one.violation += f" lost {load.lost[:2]}, unread {load.failed_reads[:2]}"
    return cluster, one


def _flip_everywhere(folder: Path, chance: random.Random) -> tuple[int, int]:
    """At least one bit of every file; how many files and flips."""
    files = flips = 0
    for path in _files(folder):
        size = path.stat().st_size
        for _ in range(1 + size // BYTES_A_FLIP):
            flip(path, chance.randrange(size), 1 << chance.randrange(8))
            flips += 1
        files += 1
    return files, flips


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in SKIPPED and path.stat().st_size:
            yield path


if __name__ == "__main__":
    raise SystemExit(main())
