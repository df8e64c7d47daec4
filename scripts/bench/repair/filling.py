"""What it takes a joiner to store what it has read: merged in through the log, and as tables beside it.

    python scripts/bench/repair/filling.py [--quick] [--mib 64] [--value-bytes 1000] [--json PATH]

One process, engines on a real folder, without a network.  A source holds 16 copies of one partition each, and
tells them in pages.  Then two empty stores take the pages, one after the other in turns: each ends when all
is synced and flushed.  Milliseconds a MiB of values: elapsed, of the loop's process, of its children.  The
workers are started before; the first round is not counted.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, Final

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from repair.sums import encoded, store_on
from report import Report, arguments
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.node.moves.brought_table import TableOfCopy
from ringmill.node.replica.object_batch import ObjectBatch
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import PAGE_ITEMS, Page, PageBody, ReadPage, read_page
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, parse_object_key
from ringmill.node.storage.engine import Engine, EngineOptions

COPIES: Final = 16
ROUNDS: Final = 4
Bring = Callable[[Engine, ObjectStore, Copy, list[bytes]], Awaitable[None]]


async def merge_in(engine: Engine, objects: ObjectStore, copy: Copy, bodies: list[bytes]) -> None:
    """As node/moves/filling.py does with a short copy."""
    for body in bodies:
        batch = ObjectBatch()
        await engine.wait_writable()
        for key, stored in Page.decode(body).items:
            if batch.is_full:
                objects.commit(batch)
                batch = ObjectBatch()
            objects.apply_into(batch, parse_object_key(copy_prefix(copy) + key), stored)
        objects.commit(batch)
        await objects.wait_synced()


async def add_tables(engine: Engine, objects: ObjectStore, copy: Copy, bodies: list[bytes]) -> None:
    pages = [PageBody.of(body) for body in bodies]
    clock = HybridClock(SystemClock())
    table = TableOfCopy(copy, b"", pages, engine=engine, objects=objects, clock=clock)
    brought = await table.add()
    assert brought is not None and not brought.rest


async def fill_source(engine: Engine, mib: int, value_bytes: int) -> None:
    objects, each = store_on(engine), (mib << 20) // COPIES // value_bytes
    for number in range(each * COPIES):
        place = Place(Copy(PartitionId(number // each), Epoch(1)), KeyspaceId(1, 0), b"key:%012d" % number)
        batch = ObjectBatch()
        objects.apply_into(batch, place, encoded(number + 1, random.randbytes(value_bytes)))
        await engine.wait_writable()
        objects.commit(batch)
    await engine.flush()


async def pages_of(engine: Engine, number: int) -> list[bytes]:
    copy, start, bodies = Copy(PartitionId(number), Epoch(1)), b"", list[bytes]()
    row: Any = SimpleNamespace(row_epoch=Epoch(1))
    while not bodies or start:
        page = await read_page(engine, ReadPage(Epoch(1), copy.partition, start), row, copy, PAGE_ITEMS)
        bodies.append(page.encode())
        start = page.covered_to
    return bodies


def children_s() -> float:
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


async def take(folder: Path, spawner: ProcessSpawner, bring: Bring, copies: list[list[bytes]]) -> list[float]:
    """Seconds: elapsed, of this process, of its children."""
    files = OsFileSystem()
    async with await Engine.open(str(folder), EngineOptions(), files=files, spawner=spawner) as engine:
        objects = store_on(engine)
        await objects.count_stored()
        begun = time.perf_counter(), time.process_time(), children_s()
        for number, bodies in enumerate(copies):
            await bring(engine, objects, Copy(PartitionId(number), Epoch(2)), bodies)
        await engine.flush()
        ended = time.perf_counter(), time.process_time(), children_s()
    return [after - before for before, after in zip(begun, ended, strict=True)]


async def measure(folder: Path, mib: int, value_bytes: int, report: Report) -> None:
    spawner = ProcessSpawner(workers=1)  # the same worker does all, so that none is counted while it starts
    files = OsFileSystem()
    async with await Engine.open(
        str(folder / "source"), EngineOptions(), files=files, spawner=spawner
    ) as source:
        await fill_source(source, mib, value_bytes)
        begun = time.process_time()
        copies = [await pages_of(source, number) for number in range(COPIES)]
        report.row("read pages at the source", loop_ms=(time.process_time() - begun) / mib * 1000)
    cases: dict[str, tuple[Bring, list[list[float]]]] = {
        "merged in": (merge_in, []),
        "as tables": (add_tables, []),
    }
    for number in range(ROUNDS):
        for name, (bring, found) in cases.items():
            took = await take(folder / f"{name}-{number}", spawner, bring, copies)
            if number:
                found.append(took)
    for name, (_, found) in cases.items():
        elapsed, loop, children = (median(column) / mib * 1000 for column in zip(*found, strict=True))
        report.row(name, elapsed_ms=elapsed, loop_ms=loop, children_ms=children, cpu_ms=loop + children)
    await spawner.close()


def main() -> None:
    parser = arguments("filling", "What it takes a joiner to store what it has read.")
    parser.add_argument("--mib", type=int, default=64, help="MiB of values")
    parser.add_argument("--value-bytes", type=int, default=1000, help="size of a value")
    options = parser.parse_args()
    mib = max(1, options.mib // 10) if options.quick else options.mib
    settings = {"mib": mib, "value_bytes": options.value_bytes, "rounds": ROUNDS - 1, "cores": os.cpu_count()}
    report = Report("filling", settings, options.json)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        uvloop.run(measure(Path(folder), mib, options.value_bytes, report))
    report.finish()


if __name__ == "__main__":
    main()
