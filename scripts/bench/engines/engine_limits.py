"""Measures the limits of the engine: recovery, a long load, gets during a compaction.

    python scripts/bench/engines/engine_limits.py [--quick] [--json PATH] [--records N] [--only calm|recovery]

load: --records random keys of 100 B, peak memory of the process and of its largest child, the levels' sizes
against their limits, and what is left after deleting all.  gets: p99 of gets and lag of the loop during one
full compaction, and without it.  recovery: a log of 64 MiB of 100 B records, opened again. `--only calm`
measures the gets alone, after the load that they need; `--only recovery` needs none.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the benchmarks share

from report import Report, arguments, percentile
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.node.storage.upkeep.stats import Stats

VALUE_BYTES = 100
BATCH = 16


def key_of(number: int) -> bytes:
    """Keys in an order that looks random and repeats for every process."""
    return b"%016x" % (number * 0x9E3779B97F4A7C15 % (1 << 64))


def values_of(random: Random) -> list[bytes]:
    """Values that compress to about a half, as those of the other benchmark."""
    return [random.randbytes(VALUE_BYTES // 2) * 2 for _ in range(1000)]


async def fill(engine: Engine, numbers: Iterable[int], values: list[bytes] | None) -> None:
    """Put every number's key, or delete it where there are no values."""
    batch, count = Batch(), 0
    for number in numbers:
        if values is None:
            batch.delete(key_of(number))
        else:
            batch.put(key_of(number), values[number % len(values)])
        if len(batch) == BATCH:
            engine.apply(batch)
            batch, count = Batch(), count + 1
            if count % 16 == 0:
                await engine.wait_writable()
                await asyncio.sleep(0)
    if len(batch):
        await engine.apply(batch).synced()


async def recovery(
    report: Report, files: OsFileSystem, spawner: ProcessSpawner, folder: str, mib: int
) -> None:
    options = EngineOptions(memtable_bytes=1 << 30)
    records = (mib << 20) // (16 + VALUE_BYTES + 7)
    async with await Engine.open(folder, options, files=files, spawner=spawner) as engine:
        await fill(engine, range(records), values_of(Random(1)))
    begun = time.perf_counter()
    engine = await Engine.open(folder, options, files=files, spawner=spawner)
    took = time.perf_counter() - begun
    assert engine.stats().memtable_keys == records
    await engine.close()
    report.row("recovery", log_mib=mib, records=records, seconds=took)
    report.goal("recovery of the log", took, 5.0, "s")


async def load(
    report: Report, files: OsFileSystem, spawner: ProcessSpawner, folder: str, records: int
) -> None:
    random = Random(2)
    async with await Engine.open(folder, EngineOptions(), files=files, spawner=spawner) as engine:
        seen = [0.0]
        watching = asyncio.create_task(watch_children(seen))
        begun = time.perf_counter()
        await fill(engine, range(records), values_of(random))
        applied = time.perf_counter() - begun
        await engine.flush()
        settled = time.perf_counter() - begun
        stats = engine.stats()
        levels = ", ".join(
            f"L{level.level} {level.tables} tables {level.size_bytes >> 20} MiB" for level in stats.levels
        )
        for number in random.sample(range(records), 1000):
            assert await engine.get(key_of(number)) is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        watching.cancel()
        report.row(
            "load", records=records, seconds=applied, settled_s=settled, table_mib=stats.table_bytes >> 20,
            levels=levels, peak_mib=peak, child_peak_mib=max(seen),
        )  # fmt: skip
        report.goal("size of the fullest level", fullest(stats, engine.options), 1.0, "x its limit")
        await calm(report, engine, records)
        full = engine.stats().table_bytes
        await fill(engine, range(records), None)
        await engine.flush()
        await engine.compact_range()
        left = engine.stats().table_bytes
        report.row("delete all", records=records, table_mib=left >> 20, share_left=left / full)
        report.goal("space left after deleting all", left / full, 0.01, "of the space before")


async def watch_children(seen: list[float]) -> None:
    """Note the memory of the largest child in MiB, four times a second, until cancelled."""
    parent = psutil.Process()
    while True:
        for child in parent.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                seen.append(child.memory_info().rss / 2**20)
        await asyncio.sleep(0.25)


def fullest(stats: Stats, options: EngineOptions) -> float:
    """By how much the fullest level fills what it may hold."""
    shares = [
        level.tables / options.level0_tables
        if not level.level
        else level.size_bytes / (options.level1_bytes * options.level_growth ** (level.level - 1))
        for level in stats.levels
    ]
    return max(shares)


async def calm(report: Report, engine: Engine, records: int) -> None:
    """Gets of random keys and turns of the loop, quiet and then during one full merge."""
    gc.collect()
    gc.freeze()  # as a node does once it has started
    quiet, quiet_lag = await measure(engine, records, asyncio.sleep(10))
    busy, busy_lag = await measure(engine, records, engine.compact_range())
    for case, gets, lag in (("quiet", quiet, quiet_lag), ("full merge", busy, busy_lag)):
        report.row(
            f"gets, {case}",
            seconds=sum(lag) + 0.001 * len(lag),
            gets=len(gets),
            p50_us=1e6 * percentile(gets, 0.5),
            p99_us=1e6 * percentile(gets, 0.99),
            lag_p999_ms=1e3 * percentile(lag, 0.999),
            lag_most_ms=1e3 * max(lag),
        )
    report.goal(
        "p99 of gets during a merge", percentile(busy, 0.99) / percentile(quiet, 0.99), 3.0, "x quiet"
    )
    report.goal("lag of the loop during a merge, p99.9", 1e3 * percentile(busy_lag, 0.999), 20.0, "ms")


async def measure(engine: Engine, records: int, work: object) -> tuple[list[float], list[float]]:
    """Latencies of gets and lags of 1 ms timers, in seconds, while `work` runs."""
    random, gets, lags = Random(3), list[float](), list[float]()
    running = asyncio.ensure_future(work)  # type: ignore[call-overload]

    async def get_forever() -> None:
        while not running.done():
            begun = time.perf_counter()
            await engine.get(key_of(random.randrange(records)))
            gets.append(time.perf_counter() - begun)
            await asyncio.sleep(0.0005)

    async def tick_forever() -> None:
        while not running.done():
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - begun - 0.001)

    await asyncio.gather(get_forever(), tick_forever())
    await running
    return gets, lags


async def load_and_calm(
    report: Report, files: OsFileSystem, spawner: ProcessSpawner, folder: str, records: int
) -> None:
    async with await Engine.open(folder, EngineOptions(), files=files, spawner=spawner) as engine:
        await fill(engine, range(records), values_of(Random(2)))
        await engine.flush()
        await calm(report, engine, records)


async def run(report: Report, records: int, mib: int, only: str | None) -> None:
    files, folder = OsFileSystem(), tempfile.mkdtemp(prefix="bench-limits-")
    try:
        async with ProcessSpawner() as spawner:
            if only == "calm":
                await load_and_calm(report, files, spawner, f"{folder}/load", records)
                return
            if only is None:
                await load(report, files, spawner, f"{folder}/load", records)
            await recovery(report, files, spawner, f"{folder}/recovery", mib)
    finally:
        files.close()
        shutil.rmtree(folder)


def main() -> None:
    import uvloop

    parser = arguments("engine_limits", __doc__ or "")
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--only", choices=["calm", "recovery"])
    chosen = parser.parse_args()
    records = chosen.records // 20 if chosen.quick else chosen.records
    report = Report("engine_limits", {"records": records, "value_bytes": VALUE_BYTES}, chosen.json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(report, records, 6 if chosen.quick else 64, chosen.only))
    report.finish()


if __name__ == "__main__":
    main()
