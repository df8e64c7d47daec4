"""What it costs to remove expired keys of Redis in the background, and how fast that goes.

    python scripts/bench/doors/sweep_costs.py [--quick] [--json PATH]

Five nodes and a gateway that nobody asks anything.  Shares are of a core, of all nodes together and of the
gateway: without a sweep, with one over keys that live, and with one while it removes keys that have expired.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

import msgpack
import redis

import ringmill
from doors.local_gateway import LocalServer, redis_gateway
from local_cluster import BenchCluster
from report import Report, arguments
from ringmill.client.bench.processor_time import used_s

NODES = 5
KEYS = 4000
SETTLE_S, WATCH_S = 5.0, 40.0
VALUE = bytes(100)
TOGETHER = 64


async def fill(cluster: BenchCluster, name: str, *, have_expired: bool) -> None:
    """Make a database of this name, with keys as a gateway has left them."""
    then_ms = int((time.time() - 3600) * 1000)
    stored = msgpack.packb(["s", then_ms if have_expired else 0, VALUE])
    keys = [f"session:{number}" for number in range(KEYS)]
    async with ringmill.connect(cluster.endpoints) as db:
        await db.keyspaces.create(name, kind="registers")
        await db.keyspaces.create(f"{name}-keys")
        registers = db.registers.keyspace(name)
        await db.keyspace(f"{name}-keys").mput(dict.fromkeys(keys, then_ms.to_bytes(8, "big")))
        for start in range(0, KEYS, TOGETHER):
            some = keys[start : start + TOGETHER]
            await asyncio.gather(*(registers.cas(key, stored, expect=None) for key in some))


def figures(gateway: LocalServer) -> dict[str, float]:
    with redis.Redis(port=gateway.port) as caller:
        return dict(caller.info("stats"))


def used(cluster: BenchCluster, gateway: LocalServer) -> tuple[float, float]:
    """Seconds of processor time of the nodes, and of the gateway."""
    return sum(map(used_s, cluster.pids)), used_s(gateway.pid)


def watched(report: Report, name: str, cluster: BenchCluster, watch_s: float, *options: str) -> None:
    """A row of what is used while a gateway with these options runs."""
    with redis_gateway(cluster, *options) as gateway:
        time.sleep(SETTLE_S)
        before, swept, begun = used(cluster, gateway), figures(gateway)["swept_keys"], time.perf_counter()
        time.sleep(watch_s)
        took_s = time.perf_counter() - begun
        nodes, own = (b - a for a, b in zip(before, used(cluster, gateway), strict=True))
        keys_s = (figures(gateway)["swept_keys"] - swept) / took_s
    report.row(name, nodes_cores=nodes / took_s, gateway_cores=own / took_s, keys_s=keys_s)


def removed(report: Report, cluster: BenchCluster) -> None:
    """A row of what is used until all has been removed."""
    with redis_gateway(cluster, "--redis-db", "0=expired") as gateway:
        before, begun = used(cluster, gateway), time.perf_counter()
        while figures(gateway)["expired_keys"] < KEYS:
            time.sleep(0.2)
        took_s = time.perf_counter() - begun
        nodes, own = (b - a for a, b in zip(before, used(cluster, gateway), strict=True))
    report.row(
        "all have expired",
        nodes_cores=nodes / took_s,
        gateway_cores=own / took_s,
        keys_s=KEYS / took_s,
        us_a_key=(nodes + own) / KEYS * 1e6,
    )


def main() -> None:
    options = arguments("sweep_costs", __doc__ or "").parse_args()
    watch_s = WATCH_S / 4 if options.quick else WATCH_S
    report = Report("sweep_costs", {"nodes": NODES, "keys": KEYS, "value_bytes": len(VALUE)}, options.json)
    with BenchCluster(nodes=NODES) as cluster:
        watched(report, "no sweep", cluster, watch_s, "--redis-sweep", "0")
        watched(report, "no database", cluster, watch_s)
        asyncio.run(fill(cluster, "living", have_expired=False))
        watched(report, "all live", cluster, watch_s, "--redis-db", "0=living")
        asyncio.run(fill(cluster, "expired", have_expired=True))
        removed(report, cluster)
    report.finish()


if __name__ == "__main__":
    main()
