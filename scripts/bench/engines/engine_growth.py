"""Microseconds of processor time that a get, a put and a scan cost the engine as its keys become more.

    python scripts/bench/engines/engine_growth.py [--quick] [--json PATH] [--against PATH] [--rounds 3]

Each size is filled once and merged into one level.  Then a process opens a copy of the folder, in turn for
this checkout and for `--against`, so that both see the same bytes and the same machine.  A figure is the
least of its rounds.  Keys and values are as long as those of a node with 16 B keys and 100 B values, and
the options are a node's; all files are in the page cache.  "get" is of uniformly random keys, "hot" of 500
keys; "get and put" is the step of a replica: a get, and a batch of one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from struct import Struct

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the benchmarks share

from report import Report, arguments
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.node.storage.engine import Batch, Engine, EngineOptions, NotCached

ROOT = Path(__file__).resolve().parents[3]
SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
GETS = 40_000
SCANNED = 200_000
PLACE = Struct(">BHQQI")  # as in front of a node's keys


def key_of(number: int) -> bytes:
    """Keys in an order that looks random and repeats for every process."""
    mixed = number * 0x9E3779B97F4A7C15 % (1 << 64)
    return PLACE.pack(0x10, mixed & 255, 1, 1, 1) + b"%016x" % mixed


async def fill(engine: Engine, keys: int) -> None:
    chance = random.Random(1)
    values = [chance.randbytes(50) * 2 for _ in range(1000)]
    for first in range(0, keys, 64):
        batch = Batch()
        for number in range(first, min(first + 64, keys)):
            batch.put(key_of(number), values[number % 1000])
        await engine.wait_writable()
        engine.apply(batch)
        await asyncio.sleep(0)
    await engine.flush()
    await engine.compact_range()


async def measure(engine: Engine, keys: int) -> dict[str, float]:
    """Microseconds an operation, by case."""
    chance = random.Random(2)
    uniform = [key_of(chance.randrange(keys)) for _ in range(2 * GETS)]
    warm, uniform = uniform[:GETS], uniform[GETS:]
    hot = uniform[:500] * 20
    absent = [key_of(keys + chance.randrange(keys)) for _ in range(GETS)]
    for key in (*warm, *uniform):  # so that what the page cache lacks is in it
        try:
            engine.get_nowait(key)
        except NotCached:
            await engine.get(key)
    gc.collect()
    gc.freeze()  # as a node does once it has started
    found = {"get": _gets(engine, uniform)}
    _gets(engine, hot)
    found["get hot"] = _gets(engine, hot)
    found["get missing"] = _gets(engine, absent)
    found["scan"] = await _scan(engine)
    found["get and put"] = _steps(engine, warm)
    return found


def _gets(engine: Engine, keys: list[bytes]) -> float:
    get = engine.get_nowait
    begun = time.process_time()
    for key in keys:
        get(key)
    return (time.process_time() - begun) / len(keys) * 1e6


def _steps(engine: Engine, keys: list[bytes]) -> float:
    value = b"v" * 100
    begun = time.process_time()
    for key in keys:
        engine.get_nowait(key)
        batch = Batch()
        batch.put(key, value)
        engine.apply(batch)
    return (time.process_time() - begun) / len(keys) * 1e6


async def _scan(engine: Engine) -> float:
    count, begun = 0, time.process_time()
    chunks = engine.scan_chunks()
    async for chunk in chunks:
        count += len(chunk)
        if count >= SCANNED:
            break
    await chunks.aclose()
    return (time.process_time() - begun) / count * 1e6


async def work(verb: str, folder: str, keys: int) -> None:
    """Fill the folder, or measure it and print the figures."""
    files = OsFileSystem()
    async with (
        ProcessSpawner() as spawner,
        await Engine.open(folder, EngineOptions(), files=files, spawner=spawner) as engine,
    ):
        if verb == "fill":
            await fill(engine, keys)
        else:
            print(json.dumps(await measure(engine, keys)))
    files.close()


def in_child(checkout: Path, verb: str, folder: Path, keys: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", verb, str(folder), str(keys)],
        env={**os.environ, "PYTHONPATH": str(checkout)}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout or "{}")
    return figures


def compare(report: Report, checkouts: dict[str, Path], sizes: list[int], rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as parent:
        for keys in sizes:
            filled, copy = Path(parent) / str(keys), Path(parent) / "copy"
            in_child(ROOT, "fill", filled, keys)
            best: dict[str, dict[str, float]] = {name: {} for name in checkouts}
            for _ in range(rounds):
                for name, checkout in checkouts.items():
                    shutil.copytree(filled, copy)
                    for case, us in in_child(checkout, "measure", copy, keys).items():
                        best[name][case] = min(us, best[name].get(case, us))
                    shutil.rmtree(copy)
            for case in next(iter(best.values())):
                report.row(f"{case}, {keys:,} keys", **{f"{name} us": best[name][case] for name in best})


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        verb, folder, keys = sys.argv[2:5]
        uvloop.run(work(verb, folder, int(keys)))
        return
    parser: argparse.ArgumentParser = arguments("engine_growth", __doc__ or "")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of keys")
    chosen = parser.parse_args()
    checkouts = {"ours": ROOT} | ({"against": chosen.against.resolve()} if chosen.against else {})
    sizes = [keys // 10 for keys in chosen.sizes] if chosen.quick else chosen.sizes
    report = Report("engine_growth", {"rounds": chosen.rounds, "value_bytes": 100}, chosen.json)
    compare(report, checkouts, sizes, 1 if chosen.quick else chosen.rounds)
    report.finish()


if __name__ == "__main__":
    main()
