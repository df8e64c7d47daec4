"""Kill, pause and restart nodes in turn under a load that checks every read; by hand, as long as you like.

    python scripts/chaos/kill_loop.py --seconds 60 --seed 7 [--transport tcp]

It runs a cluster of its own in a temporary folder.  Exit 0: nothing acknowledged was lost and every key was
read from all owners at the end.  The seed chooses victims and pauses; real processes keep their own timing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.homes.own_cluster import judged_on_a_cluster  # noqa: E402
from ringmill.client.cli.demo.demo_cluster import until  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.local import local_cluster, processes  # noqa: E402
from ringmill.client.local.checked_load import CheckedLoad  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.client.local.restarting import start_again  # noqa: E402
from ringmill.cluster.wire.offers import CARRIERS  # noqa: E402

__all__ = ["main"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=CARRIERS, default="grpc", help="of nodes and client")
    given = parser.parse_args()
    return judged_on_a_cluster(
        "chaos",
        nodes=5,
        lowest_port=18000,
        has_held=lambda cluster: asyncio.run(_trouble(cluster, given.seconds, random.Random(given.seed))),
        transport=given.transport,
    )


async def _trouble(cluster: LocalCluster, seconds: float, chance: random.Random) -> bool:
    endpoints = [node.address for node in cluster.nodes]
    token, transport = read_token(cluster.folder), cluster.client_transport
    async with connect(endpoints, token=token, transport=transport) as db:
        load = CheckedLoad(db)
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(is_over.is_set))
            await _disturb(cluster, seconds, chance, lambda: load.acknowledged)
            is_over.set()
        print(
            f"{load.acknowledged} writes ({load.unknown} more of unknown outcome, {load.refused} refused), "
            f"{load.reads} reads ({len(load.failed_reads)} failed); "
            f"slowest {load.slowest_write_s:.2f} s and {load.slowest_read_s:.2f} s"
        )
        lost = [*load.lost]
        is_calm = await until(lambda: _is_calm(db), 60.0)
        load.lost.clear()
        load.failed_reads.clear()
        await load.read_back("all")
        lost += load.lost
        print(f"lost: {len(lost)} {lost[:3]}; unread at the end: {load.failed_reads[:3]}; calm: {is_calm}")
        return is_calm and not lost and not load.failed_reads


async def _disturb(
    cluster: LocalCluster, seconds: float, chance: random.Random, acknowledged: Callable[[], int]
) -> None:
    """One node at a time is killed or paused for a while, then brought back."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        node = cluster.node(chance.choice([one.id for one in cluster.nodes]))
        is_kill = chance.random() < 0.7
        print(f"{'kill' if is_kill else 'pause'} {node.id} after {acknowledged()} writes", flush=True)
        local_cluster.signal_node(node, signal.SIGKILL if is_kill else signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.2, 3.0))
        if is_kill:
            processes.wait_gone(node.pid, node.started, 10.0)
            cluster = await start_again(cluster, [node])
        else:
            local_cluster.signal_node(node, signal.SIGCONT)


async def _is_calm(db: AsyncClient) -> bool:
    status = await db.status(timeout=1.0)
    return status.health == "ok" and status.hints == 0


if __name__ == "__main__":
    raise SystemExit(main())
