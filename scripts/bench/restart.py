"""How soon nodes with many keys serve after a restart, and the slowest call meanwhile.

    python scripts/bench/restart.py [--quick] [--keys 1000000] [--json PATH]

Three nodes, N=3, so that each holds every key.  The keys are written into the nodes' stores while these are
down, by the engine itself, as the same through the front door takes minutes.  Then `cluster up` is timed, and
for half a minute after it, while the nodes count what they hold, single gets and puts are.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import uvloop

import ringmill
from local_cluster import BenchCluster
from report import Report, arguments, percentile
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.ids import Actor, KeyspaceId
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.engine_options import EngineOptions

NODES = 3
NAMES = tuple(f"n{number}" for number in range(1, NODES + 1))
VALUE = b"." * 100
BATCH = 500
WATCH_S = 30.0
CALLERS = 4
READY_GOAL_S, CALL_GOAL_MS = 5.0, 100.0


def key_of(number: int) -> bytes:
    return f"key:{number:012d}".encode()


async def topology_of(cluster: BenchCluster) -> Topology:
    async with ringmill.connect(cluster.endpoints, timeout=30.0) as db:
        return db.topology


def stored(number: int, at_ms: int) -> bytes:
    """The object of one key, as one write by an actor that is no node's makes it."""
    actor, counter, when = Actor("bench#1"), number + 1, HybridTime(at_ms << 16)
    sibling = Sibling(Dot(actor, counter), VALUE, when, OperationId(counter, 1, when), 0, is_retry=False)
    return encode_object(StoredObject(VersionVector(((actor, counter),)), (sibling,), HybridTime(0)))


async def fill(folder: Path, topology: Topology, keys: int) -> None:
    """Write `keys` objects into the store of a node that does not run."""
    files, spawner = OsFileSystem(), ProcessSpawner()
    keyspace, at_ms = KeyspaceId(1, 0), int(time.time() * 1000)
    try:
        async with await Engine.open(str(folder), EngineOptions(), files=files, spawner=spawner) as engine:
            for first in range(0, keys, BATCH):
                batch = Batch()
                for number in range(first, min(first + BATCH, keys)):
                    key = key_of(number)
                    partition = topology.partition_of(keyspace, key)
                    copy = Copy(partition, topology.row(partition).copy_epochs[0])
                    batch.put(Place(copy, keyspace, key).stored_key, stored(number, at_ms))
                await engine.wait_writable()
                engine.apply(batch)
            await engine.flush()
    finally:
        await spawner.close()
        files.close()


async def call(endpoints: str, keys: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each get and of each put of a few callers, each with one call at a time."""
    seeded, gets, puts = random.Random(7), [], []
    async with ringmill.connect(endpoints, timeout=30.0) as db:
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while (sent := time.perf_counter()) < until:
                await db.get(key_of(seeded.randrange(keys)))
                gets.append(time.perf_counter() - sent)
                sent = time.perf_counter()
                await db.put(key_of(seeded.randrange(keys)), VALUE)
                puts.append(time.perf_counter() - sent)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
    return gets, puts


async def restarts(cluster: BenchCluster, keys: int, report: Report) -> None:
    """Fill the stores, then restart twice: as after a crash, and after a clean stop."""
    topology = await topology_of(cluster)
    await asyncio.to_thread(cluster.command, "cluster", "kill", *NAMES)  # the stores change: no clean stop
    for name in NAMES:
        await fill(cluster.folder / name / "store", topology, keys)
    for case in ("after kill -9", "after a clean stop"):
        if case == "after a clean stop":
            await asyncio.to_thread(cluster.command, "cluster", "down")
        started = time.perf_counter()
        await asyncio.to_thread(cluster.command, "cluster", "up", "--timeout", "120s")
        up_s = time.perf_counter() - started
        gets, puts = await call(cluster.endpoints, keys, WATCH_S)
        for verb, taken in (("get", gets), ("put", puts)):
            p99_ms, slowest_ms = percentile(taken, 0.99) * 1e3, max(taken) * 1e3
            report.row(f"{verb} {case}", ready_s=up_s, count=len(taken), p99_ms=p99_ms, slowest_ms=slowest_ms)
        report.goal(f"ready {case}", up_s, READY_GOAL_S, "s")
        report.goal(f"slowest call {case}", max(*gets, *puts) * 1e3, CALL_GOAL_MS, "ms")


def main() -> None:
    parser = arguments("restart", "Restart of nodes that hold many keys.")
    parser.add_argument("--keys", type=int, default=1_000_000, help="number of keys on each node")
    options = parser.parse_args()
    keys = options.keys // 10 if options.quick else options.keys
    report = Report("restart", {"nodes": NODES, "replicas": 3, "keys": keys}, options.json)
    with BenchCluster(nodes=NODES) as cluster:
        uvloop.run(restarts(cluster, keys, report))
    report.finish()


if __name__ == "__main__":
    main()
