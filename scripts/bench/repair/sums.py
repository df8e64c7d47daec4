"""What the sums of copies cost: a write that changes them, and the scan of a start that makes them.

    python scripts/bench/repair/sums.py [--quick] [--json PATH]

One process, the engine on a real folder, without a network.  Puts of 100 bytes over other values are merged
in and committed in batches of 1 and of 32 with the sums and, in turns, with a function that does nothing in
their place: processor time a put, the least of the rounds, with syncs off the way.  Then a folder of 100,000
and one of 300,000 such objects are opened and counted as a start does it: time, processor time, and by how
much a task that sleeps 1 ms is late meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from report import Report, arguments, percentile
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId, PartitionId, Start
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.object_batch import ObjectBatch
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.storage.engine import Engine, EngineOptions

PARTITIONS = 256
VALUE_BYTES = 100
PUTS, ROUNDS = 20_000, 7
SIZES = (100_000, 300_000)
GOAL_US = 5.0


def place_of(number: int) -> Place:
    copy = Copy(PartitionId(number % PARTITIONS), Epoch(1))
    return Place(copy, KeyspaceId(1, 0), b"key:%012d" % number)


def encoded(counter: int, value: bytes) -> bytes:
    """One value by another node."""
    actor, when = Actor("bench#1"), HybridTime((1_764_000_000_000 << 16) + counter)
    sibling = Sibling(Dot(actor, counter), value, when, OperationId(counter, 1, when), 0, is_retry=False)
    return encode_object(StoredObject(VersionVector(((actor, counter),)), (sibling,), HybridTime(0)))


def store_on(engine: Engine) -> ObjectStore:
    actors = CopyActors(NodeId("n1"), Start(1, "0" * 16))
    return ObjectStore(
        engine,
        actors=actors,
        clock=HybridClock(SystemClock()),
        options=ReplicaOptions(),
        feed=ChangeFeed("0" * 10, SystemClock(), most_keys=100),
    )


@contextmanager
def without_sums() -> Iterator[None]:
    change, add = CopySums.change, CopySums.add
    CopySums.change = lambda *_: None  # type: ignore[method-assign]
    CopySums.add = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        CopySums.change, CopySums.add = change, add  # type: ignore[method-assign]


async def put_all(store: ObjectStore, places: list[Place], objects: list[bytes], batch_items: int) -> float:
    """Microseconds of processor time a put."""
    begun = time.thread_time()
    for first in range(0, len(places), batch_items):
        batch = ObjectBatch()
        for at in range(first, min(first + batch_items, len(places))):
            store.apply_into(batch, places[at], objects[at])
        store.commit(batch)
    spent_us = (time.thread_time() - begun) / len(places) * 1e6
    await store.wait_synced()
    return spent_us


async def measure_puts(folder: Path, puts: int, report: Report) -> None:
    places = [place_of(number) for number in range(puts)]
    random.Random(1).shuffle(places)
    counter = 0
    options = EngineOptions(memtable_bytes=512 << 20)  # nothing is flushed, which others would pay for
    async with await Engine.open(
        str(folder), options, files=OsFileSystem(), spawner=ProcessSpawner()
    ) as engine:
        store = store_on(engine)
        for batch_items in (1, 32):
            best = {"with": 1e9, "without": 1e9}
            for number in range(2 * ROUNDS + 2):
                values = [encoded(counter + at, random.randbytes(VALUE_BYTES)) for at in range(1, puts + 1)]
                counter += puts
                if number % 2:
                    spent, name = await put_all(store, places, values, batch_items), "with"
                else:
                    with without_sums():
                        spent, name = await put_all(store, places, values, batch_items), "without"
                if number >= 2:  # the first of each makes the keys
                    best[name] = min(best[name], spent)
            more = best["with"] - best["without"]
            report.row(
                f"put, batches of {batch_items}",
                with_us=best["with"],
                without_us=best["without"],
                more_us=more,
            )
            report.goal(f"sums, a put in batches of {batch_items}", more, GOAL_US, "us")


async def late_ms(stop: asyncio.Event) -> list[float]:
    late = []
    while not stop.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - begun - 0.001) * 1000)
    return late


async def count(folder: Path, keys: int, report: Report) -> None:
    files, spawner = OsFileSystem(), ProcessSpawner()
    async with await Engine.open(str(folder), EngineOptions(), files=files, spawner=spawner) as engine:
        store = store_on(engine)
        for first in range(0, keys, 1000):
            batch = ObjectBatch()
            for at in range(first, first + 1000):
                store.apply_into(batch, place_of(at), encoded(at + 1, os.urandom(VALUE_BYTES)))
            await engine.wait_writable()
            store.commit(batch)
        await store.wait_synced()
    for sums in ("with", "without", "with", "without"):
        async with await Engine.open(str(folder), EngineOptions(), files=files, spawner=spawner) as engine:
            store, stop = store_on(engine), asyncio.Event()
            ticking = asyncio.create_task(late_ms(stop))
            await asyncio.sleep(0.1)
            begun, spent = time.perf_counter(), time.process_time()
            if sums == "with":
                await store.count_stored()
            else:
                with without_sums():
                    await store.count_stored()
            took_s, cpu_s = time.perf_counter() - begun, time.process_time() - spent
            stop.set()
            late = await ticking
            assert store.keys == keys
            report.row(
                f"count {keys:,} objects {sums} sums",
                seconds=took_s,
                cpu_seconds=cpu_s,
                cpu_us_an_object=cpu_s / keys * 1e6,
                late_p50_ms=percentile(late, 0.5),
                late_p99_ms=percentile(late, 0.99),
                late_most_ms=max(late),
            )


async def measure(puts: int, sizes: tuple[int, ...], report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await measure_puts(Path(folder) / "puts", puts, report)
        for keys in sizes:
            await count(Path(folder) / str(keys), keys, report)


def main() -> None:
    options = arguments("sums", "What the sums of copies cost.").parse_args()
    puts, sizes = (PUTS // 10, (10_000,)) if options.quick else (PUTS, SIZES)
    report = Report("sums", {"puts": puts, "rounds": ROUNDS, "value_bytes": VALUE_BYTES}, options.json)
    uvloop.run(measure(puts, sizes, report))
    report.finish()


if __name__ == "__main__":
    main()
