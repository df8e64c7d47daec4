"""Flip one byte in every table of one running node in turn, under a load that checks every read.

    python scripts/chaos/tables.py --tables 30 --seed 7

Three nodes, N=3.  The victim's data is first merged into tables of 1 MiB while it is down.  Then, while it
runs and scrubs, one byte is turned in one table after the other: at random in the data, or near the end,
where filter, index, properties and footer lie.  Each time the node has to notice it, say so in its log and
count it in its status, write the table anew, heal what was lost, and be whole again: a scrub finds nothing
and status names no damaged range.  Its process stays the same all the time, every read has to be right and
every write taken.  Exit 0 when all of that held, 1 when not; data and logs are kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.healing_node import fill, flip, size_of, start_scrubbing, until_said, until_whole  # noqa: E402
from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.local import local_cluster, processes  # noqa: E402
from ringmill.client.local.checked_load import CheckedLoad  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, LocalNode, read_token  # noqa: E402
from ringmill.cluster.adapters.files.os_files import OsFileSystem  # noqa: E402
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402
from ringmill.node.storage.engine import Engine  # noqa: E402
from ringmill.node.storage.engine_options import EngineOptions  # noqa: E402

__all__ = ["main"]

MOST_TABLES: Final = 1000
KEYS_A_TABLE: Final = 62  # of 16 KiB that do not compress, in 1 MiB
TABLE_BYTES: Final = 1 << 20
END_BYTES: Final = 300  # filter, index, properties and footer of such a table have about as many
READS_A_ROUND: Final = 30
STATUS_EVERY_S: Final = 0.05
HEALED_LINE: Final = "healed: "  # node/repair/healing.py


@dataclass(slots=True)
class Round:
    """What came of one flipped byte; times in seconds after it."""

    table: str
    at: int
    size: int
    found_s: float = 0.0
    whole_s: float = 0.0
    most_ranges: int = 0  # that status named meanwhile
    violation: str = ""

    def line(self) -> str:
        return (
            f"{self.table:<14} {self.at:>9} of {self.size:>8} {self.found_s:>8.2f} {self.whole_s:>8.2f}"
            f" {self.most_ranges:>7}  {self.violation or 'ok'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tables", type=int, default=12, help=f"about this number, 1 to {MOST_TABLES}  [12]")
    parser.add_argument("--seed", type=int, default=1, help="seed of values, places and bits  [1]")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds that each of 4 writers rests before it writes  [0]"
    )
    parser.add_argument("--partitions", type=int, default=256, help="of the cluster  [256]")
    given = parser.parse_args()
    if not 1 <= given.tables <= MOST_TABLES:
        parser.error(f"--tables {given.tables}: 1 to {MOST_TABLES}")
    return judge_on_cluster(
        "tables",
        nodes=3,
        lowest_port=19300,
        partitions=given.partitions,
        run_and_judge=lambda cluster: asyncio.run(_run_and_judge(cluster, given, random.Random(given.seed))),
    )


async def _run_and_judge(cluster: LocalCluster, given: argparse.Namespace, chance: random.Random) -> bool:
    endpoints = [node.address for node in cluster.nodes]
    async with connect(endpoints, token=read_token(cluster.folder)) as db:
        cold = await fill(db, given.tables * KEYS_A_TABLE, chance)
        cluster, node = await _in_small_tables(cluster, cluster.nodes[0])
        load = CheckedLoad(db, keys=64, workers=4, read_tries=5, pause_s=given.pause)
        is_over = asyncio.Event()
        done: list[Round] = []
        print("table                 byte                found s  whole s  ranges", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(is_over.is_set))
            for path in sorted(_store(cluster, node).glob("*.sst")):
                done.append(await _round(cluster, node, db, cold, path, chance))
                print(done[-1].line(), flush=True)
                if done[-1].violation:
                    break
            is_over.set()
        counted = next(each for each in (await db.status()).nodes if each.id == node.id).engine
    return _judge(done, load, counted["damaged_tables"])


def _judge(done: list[Round], load: CheckedLoad, counted: int) -> bool:
    bad = sum(bool(one.violation) for one in done)
    wrong = [*load.lost, *load.failed_reads]
    slowest_found = max((one.found_s for one in done), default=0.0)
    slowest_whole = max((one.whole_s for one in done), default=0.0)
    print(
        f"{len(done)} tables, one byte each; status counted {counted}; {load.acknowledged} writes "
        f"({load.refused} refused, {load.unknown} of unknown outcome), {load.reads} reads, "
        f"{len(wrong)} wrong; slowest found {slowest_found:.1f} s, slowest whole {slowest_whole:.1f} s; "
        f"{bad} with a violation"
    )
    return bool(done) and not bad and not wrong and not load.refused and counted >= len(done)


async def _in_small_tables(cluster: LocalCluster, node: LocalNode) -> tuple[LocalCluster, LocalNode]:
    """Kill the node, have the engine merge what it holds into small tables, and start it again."""
    local_cluster.signal_node(node, signal.SIGKILL)  # after a stop in order its store must not change
    await asyncio.to_thread(processes.wait_gone, node.pid, node.started, 10.0)
    files, spawner = OsFileSystem(), ProcessSpawner()
    options = EngineOptions(table_bytes=TABLE_BYTES)
    try:
        folder = str(_store(cluster, node))
        async with await Engine.open(folder, options, files=files, spawner=spawner) as engine:
            await engine.flush()
            await engine.compact_range()
    finally:
        await spawner.close()
        files.close()
    cluster = await start_scrubbing(cluster, node)
    return cluster, cluster.node(node.id)


async def _round(
    cluster: LocalCluster,
    node: LocalNode,
    db: AsyncClient,
    cold: dict[str, bytes],
    path: Path,
    chance: random.Random,
) -> Round:
    log, size = Path(cluster.log_path(node)), size_of(path)
    is_in_data = chance.random() < 0.5
    one = Round(
        path.name, chance.randrange(size) if is_in_data else size - chance.randrange(1, END_BYTES), size
    )
    log_bytes, begun = size_of(log), time.monotonic()
    watch = asyncio.create_task(_watch(db, node.id, one))
    flip(path, one.at, 1 << chance.randrange(8))
    try:
        for key in chance.sample(sorted(cold), READS_A_ROUND):
            if (await db.get(key)).value != cold[key]:
                one.violation = f"{key} is not what was written"
        await until_said(log, log_bytes, path.name)
        one.found_s = time.monotonic() - begun
        await until_whole(db, node.id, log, size_of(log))
        one.whole_s = time.monotonic() - begun
    except (RingmillError, TimeoutError) as error:
        one.violation = f"{type(error).__name__}: {error}"
    finally:
        watch.cancel()
        await asyncio.wait([watch])
    one.violation += _not_healed(node, path, log, log_bytes, one)
    return one


def _not_healed(node: LocalNode, path: Path, log: Path, log_bytes: int, one: Round) -> str:
    """What tells that this node has not healed the table by itself; "" when it has."""
    if not processes.is_running(node.pid, node.started):
        return " the node has ended"
    if path.exists():
        return " the damaged table is in force still"
    if one.most_ranges and HEALED_LINE not in log.read_text(encoding="utf-8")[log_bytes:]:
        return " its log tells of no healing"
    return ""


async def _watch(db: AsyncClient, node: str, one: Round) -> None:
    """How many damaged ranges of the node its status names at most, until cancelled."""
    while True:
        status = await db.status(timeout=5.0)
        ranges = next(each for each in status.nodes if each.id == node).damaged_ranges or 0
        one.most_ranges = max(one.most_ranges, ranges)
        await asyncio.sleep(STATUS_EVERY_S)


def _store(cluster: LocalCluster, node: LocalNode) -> Path:
    return Path(cluster.data_folder(node)) / "store"


if __name__ == "__main__":
    raise SystemExit(main())
