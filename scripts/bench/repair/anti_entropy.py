"""What owners move to become equal, and what equal owners read and say.

    python scripts/bench/repair/anti_entropy.py [--quick] [--keys 100000] [--json PATH]

Three nodes, N=3, whose hints for one owner are bounded to 1 MiB.  All keys are written; one node is killed;
all keys are written again with other values, and the node is started.  When the owners are equal, the objects
and messages that they moved are compared with the objects that differed, those that the killed node held
otherwise or not at all and no hint was kept for, as copies of the stores show before it starts.  Then a round
among equal owners is counted: its messages, and what the engines of the nodes read meanwhile, that is scans,
bytes of blocks for them, and blocks asked for by gets.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

import ringmill

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT, BenchCluster
from report import Report, arguments
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.node.replica.hinted.hint_codec import decode_hint
from ringmill.node.replica.stored_key import (
    COPY_PREFIX_BYTES,
    Kind,
    kind_prefix,
    parse_hint_key,
    parse_object_key,
    prefix_end,
)
from ringmill.node.storage.engine import Engine, EngineOptions

NODES = 3
HINT_BYTES = 1 << 20
VALUE_BYTES = 200
BATCH = 5000
MOVED_GOAL, READ_GOAL = 1.5, 0.01
PATIENCE_S = 600.0


async def write(endpoints: str, keys: int, fill: bytes) -> None:
    async with ringmill.connect(endpoints, timeout=30.0) as db:
        for first in range(0, keys, BATCH):
            pairs = {
                b"key:%012d" % number: fill * VALUE_BYTES for number in range(first, min(first + BATCH, keys))
            }
            ringmill.raise_first(await db.mput(pairs, w=2))


def figures(cluster: BenchCluster) -> Mapping[str, int]:
    """The figures of all nodes that answer, added up."""
    views = cluster.json("repair", "status")
    assert isinstance(views, list)
    total: dict[str, int] = {"owed": 0}
    for view in views:
        for figure in ("pulled", "pushed", "moved_bytes", "wire_bytes", "hints_dropped"):
            total[figure] = total.get(figure, 0) + int(view.get(figure, 0))
        total["owed"] += sum(pair["owed"] for pair in view.get("pairs", ()))
    return total


def engine_figures(cluster: BenchCluster) -> Mapping[str, int]:
    """What the engines of all nodes have read so far."""
    total = dict.fromkeys(("scans", "scanned_bytes", "cache_hits", "cache_misses"), 0)
    for node in nodes_of(cluster):
        for figure in total:
            total[figure] += int(node["engine"].get(figure, 0))  # none of one that is down
    return total


def nodes_of(cluster: BenchCluster) -> list[Any]:
    nodes = cluster.json("cluster", "status")["nodes"]
    assert isinstance(nodes, list)
    return nodes


async def stored(folder: Path, kind: Kind) -> dict[bytes, bytes]:
    """What a copy of a store holds of one kind, by stored key; the original may be open."""
    files, spawner, prefix = OsFileSystem(), ProcessSpawner(), kind_prefix(kind)
    with tempfile.TemporaryDirectory(dir=ROOT / "build" / "bench") as copy:
        shutil.copytree(folder, f"{copy}/store")
        engine = await Engine.open(f"{copy}/store", EngineOptions(), files=files, spawner=spawner)
        async with engine:
            found = {key: value async for key, value in engine.scan(prefix, prefix_end(prefix))}
    await spawner.close()
    files.close()
    return found


async def differing(cluster: BenchCluster) -> tuple[int, int, int]:
    """Objects of n1 that n3 lacks and no hint will bring it: their number, the bytes of the objects, and of
    objects and stored keys without the copy's prefix."""
    stores = [cluster.folder / name / "store" for name in ("n1", "n2", "n3")]
    hinted: dict[tuple[object, ...], None] = {}
    for store in stores[:2]:
        for key, value in (await stored(store, Kind.HINT)).items():
            if "n3" in decode_hint(value).targets:
                hinted[(*parse_hint_key(key),)] = None
    ours, theirs = await stored(stores[0], Kind.OBJECT), await stored(stores[2], Kind.OBJECT)
    number = object_bytes = all_bytes = 0
    for key, value in ours.items():
        place = parse_object_key(key)
        if theirs.get(key) != value and (place.copy.partition, place.keyspace, place.key) not in hinted:
            number += 1
            object_bytes += len(value)
            all_bytes += len(value) + len(key) - COPY_PREFIX_BYTES
    return number, object_bytes, all_bytes


def hints_left(cluster: BenchCluster) -> int:
    return sum(int(node["hints"] or 0) for node in nodes_of(cluster))


def wait_level(cluster: BenchCluster) -> float:
    """Until no hint waits and nothing is owed; in seconds."""
    started = time.perf_counter()
    while hints_left(cluster) or figures(cluster)["owed"]:
        if time.perf_counter() - started > PATIENCE_S:
            raise SystemExit("the owners are not equal in time")
        time.sleep(0.5)
    return time.perf_counter() - started


def measure(cluster: BenchCluster, keys: int, report: Report) -> None:
    uvloop.run(write(cluster.endpoints, keys, b"a"))
    wait_level(cluster)
    cluster.command("cluster", "kill", "n3")
    uvloop.run(write(cluster.endpoints, keys, b"b"))
    time.sleep(3.0)  # the last flush ends
    before, kept = figures(cluster), hints_left(cluster)
    number, object_bytes, all_bytes = asyncio.run(differing(cluster))
    read_before = engine_figures(cluster)
    cluster.command("cluster", "restart", "n3")
    level_s = wait_level(cluster)
    after, read = figures(cluster), engine_figures(cluster)
    sent = after["wire_bytes"] - before["wire_bytes"]
    moved = after["moved_bytes"] - before["moved_bytes"]
    report.row(
        "a node is brought level",
        hints_kept=kept,
        hints_dropped=before["hints_dropped"],
        seconds=level_s,
        differing=number,
        differing_bytes=object_bytes,
        with_keys_bytes=all_bytes,
        moved_bytes=moved,
        sent_bytes=sent,
        scans=read["scans"] - read_before["scans"],
        scanned_bytes=read["scanned_bytes"] - read_before["scanned_bytes"],
    )
    report.goal("bytes of objects moved / bytes that differ", moved / max(1, object_bytes), MOVED_GOAL, "x")
    report.goal("bytes of all messages / bytes that differ", sent / max(1, object_bytes), MOVED_GOAL, "x")
    measure_equal(cluster, report)


def measure_equal(cluster: BenchCluster, report: Report) -> None:
    """A full round among equal owners: every pair in both directions."""
    time.sleep(3.0)
    held = held_bytes(cluster)
    before, read_before, started = figures(cluster), engine_figures(cluster), time.perf_counter()
    cluster.command("repair", "run")
    took_s = time.perf_counter() - started
    sent = figures(cluster)["wire_bytes"] - before["wire_bytes"]
    after = engine_figures(cluster)
    read = {figure: after[figure] - read_before[figure] for figure in after}
    blocks = read["cache_hits"] + read["cache_misses"]
    report.row(
        "equal owners compare",
        held_bytes=held,
        sent_bytes=sent,
        scans=read["scans"],
        scanned_bytes=read["scanned_bytes"],
        blocks_got=blocks,
        seconds=took_s,
    )
    share = (read["scanned_bytes"] + blocks * EngineOptions().block_bytes) / held
    report.goal("bytes of blocks read / bytes held", share, READ_GOAL, "x")


def held_bytes(cluster: BenchCluster) -> int:
    """Bytes of keys and objects on all nodes."""
    return sum(int(node["bytes"] or 0) for node in nodes_of(cluster))


def main() -> None:
    parser = arguments("anti_entropy", "What comparing owners costs.")
    parser.add_argument("--keys", type=int, default=100_000, help="number of keys that change")
    options = parser.parse_args()
    keys = options.keys // 10 if options.quick else options.keys
    settings = {
        "nodes": NODES,
        "replicas": 3,
        "keys": keys,
        "value_bytes": VALUE_BYTES,
        "hint_bytes": HINT_BYTES,
    }
    report = Report("anti_entropy", settings, options.json)
    environment = {"PYTHONPATH": str(ROOT), "RINGMILL_HINT_BYTES": str(HINT_BYTES)}
    with BenchCluster(nodes=NODES, environment=environment) as cluster:
        measure(cluster, keys, report)
    report.finish()


if __name__ == "__main__":
    main()
