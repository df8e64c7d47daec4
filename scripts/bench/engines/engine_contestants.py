"""The contestants of the engine benchmark: each a class with the same few verbs, run in a process of its own.

    python scripts/bench/engines/engine_contestants.py NAME FOLDER RECORDS      prints one JSON object

Durability is the same for all: buffered is "the system has it", synced is fdatasync before the answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the benchmarks share

from report import percentile
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.node.storage.engine import Batch, Commit, Engine, EngineOptions, NotCached

KEY_BYTES = 16
VALUE_BYTES = 100
CACHE_BYTES = 64 << 20
BUFFER_BYTES = 32 << 20
SYNC_WRITERS = (1, 16, 64)
MIXED_LEAST = 5000


class Workload:
    """The keys and values that every contestant gets, from one seed."""

    def __init__(self, records: int) -> None:
        chance = random.Random(1)
        self.keys = [b"%0*d" % (KEY_BYTES, chance.randrange(10 * records)) for _ in range(records)]
        self.values = [chance.randbytes(VALUE_BYTES // 2) * 2 for _ in range(1000)]
        self.hot = chance.choices(self.keys[:2000], k=min(records, 50_000))
        self.uniform = chance.choices(self.keys, k=min(records, 50_000))
        self.missing = [b"x%0*d" % (KEY_BYTES - 1, chance.randrange(10 * records)) for _ in range(20_000)]
        self.distinct = len(set(self.keys))
        self.user_bytes = records * (KEY_BYTES + VALUE_BYTES)


def rate(count: int, work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


class Judge:
    """Verbs of a blocking engine; subclasses fill in put, get, scan, synced put, settle."""

    put: Callable[[bytes, bytes], object]
    get: Callable[[bytes], object]
    put_synced: Callable[[bytes, bytes], object]

    def scan(self, *, reverse: bool) -> int:
        raise NotImplementedError

    merges: bool = True  # whether `wait_idle` has tables to compact

    def wait_idle(self) -> None:
        """Merge everything, where the engine has anything to merge."""

    def commit(self) -> None:
        """End a transaction, where there are any."""

    def close(self) -> None:
        raise NotImplementedError


class Plyvel(Judge):
    def __init__(self, folder: str) -> None:
        import plyvel

        self.db = plyvel.DB(
            folder,
            create_if_missing=True,
            write_buffer_size=BUFFER_BYTES,
            lru_cache_size=CACHE_BYTES,
            bloom_filter_bits=10,
        )
        self.put, self.get = self.db.put, self.db.get
        self.put_synced = lambda key, value: self.db.put(key, value, sync=True)

    def scan(self, *, reverse: bool) -> int:
        return sum(1 for _ in self.db.iterator(reverse=reverse))

    def wait_idle(self) -> None:
        self.db.compact_range()

    def close(self) -> None:
        self.db.close()


class RocksDb(Judge):
    def __init__(self, folder: str) -> None:
        from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteOptions

        options, table = Options(raw_mode=True), BlockBasedOptions()
        table.set_bloom_filter(10, False)
        table.set_block_cache(Cache(CACHE_BYTES))
        options.set_block_based_table_factory(table)
        options.set_write_buffer_size(BUFFER_BYTES)
        self.db = Rdict(folder, options)
        synced = WriteOptions()
        synced.sync = True
        self.put = self.db.__setitem__
        self.get = self.db.get
        self.put_synced = lambda key, value: self.db.put(key, value, write_opt=synced)

    def scan(self, *, reverse: bool) -> int:
        return sum(1 for _ in self.db.items(backwards=reverse))

    def wait_idle(self) -> None:
        self.db.flush(wait=True)
        self.db.compact_range(None, None)

    def close(self) -> None:
        self.db.close()


class Lmdb(Judge):
    merges = False

    def __init__(self, folder: str) -> None:
        import lmdb

        self.env = lmdb.open(folder, map_size=8 << 30, sync=False)
        self.put = self._put
        self.get = self._get
        self.put_synced = self._put_synced

    def _put(self, key: bytes, value: bytes) -> None:
        with self.env.begin(write=True) as change:
            change.put(key, value)

    def _get(self, key: bytes) -> object:
        with self.env.begin() as view:
            return view.get(key)

    def _put_synced(self, key: bytes, value: bytes) -> None:
        self._put(key, value)
        self.env.sync(True)

    def scan(self, *, reverse: bool) -> int:
        with self.env.begin() as view, view.cursor() as cursor:
            return sum(1 for _ in (cursor.iterprev() if reverse else cursor.iternext()))

    def close(self) -> None:
        self.env.close()


class Sqlite(Judge):
    merges = False

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(f"{folder}/db", isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=normal")
        self.db.execute(f"pragma cache_size=-{CACHE_BYTES >> 10}")
        self.db.execute("create table if not exists kv (k blob primary key, v blob) without rowid")
        self.lock = threading.Lock()
        self.put = lambda key, value: self.db.execute("insert or replace into kv values (?, ?)", (key, value))
        self.get = lambda key: self.db.execute("select v from kv where k = ?", (key,)).fetchone()
        self.put_synced = self._put_synced

    def _put_synced(self, key: bytes, value: bytes) -> None:
        with self.lock:
            self.db.execute("pragma synchronous=full")
            self.put(key, value)

    def scan(self, *, reverse: bool) -> int:
        order = "desc" if reverse else "asc"
        return sum(1 for _ in self.db.execute(f"select k, v from kv order by k {order}"))

    def close(self) -> None:
        self.db.close()


JUDGES = {"plyvel": Plyvel, "rocksdict": RocksDb, "lmdb": Lmdb, "sqlite3": Sqlite}


def run_judge(name: str, folder: str, work: Workload) -> dict[str, float]:
    """Every case of one blocking engine; rates per second."""
    found: dict[str, float] = {}
    judge = JUDGES[name](folder)

    def fill() -> None:
        put, values = judge.put, work.values
        for number, key in enumerate(work.keys):
            put(key, values[number % 1000])

    def get_all(keys: list[bytes]) -> None:
        get = judge.get
        for key in keys:
            get(key)

    written = written_bytes()
    found["fill"] = rate(len(work.keys), fill)
    found["overwrite"] = rate(len(work.keys), fill)
    judge.wait_idle()
    found["write_amplification"] = (written_bytes() - written) / (2 * work.user_bytes)
    judge.close()
    found["space_amplification"] = folder_bytes(folder) / (work.distinct * (KEY_BYTES + VALUE_BYTES))
    judge = JUDGES[name](folder)
    found["get cold"] = rate(len(work.uniform), lambda: get_all(work.uniform))
    get_all(work.hot)
    found["get hot"] = rate(len(work.hot), lambda: get_all(work.hot))
    found["get missing"] = rate(len(work.missing), lambda: get_all(work.missing))
    found["scan"] = rate(work.distinct, lambda: judge.scan(reverse=False))
    found["scan reverse"] = rate(work.distinct, lambda: judge.scan(reverse=True))
    for writers in SYNC_WRITERS:
        found[f"synced {writers}"] = rate(*synced_by_threads(judge, work, writers))
    found |= mixed_figures(*mixed(judge, work))
    judge.close()
    return found


def mixed(judge: Judge, work: Workload) -> tuple[int, float, list[float]]:
    """Puts and gets in turns while another thread compacts everything: their number, seconds, each get's
    seconds."""
    for key in work.keys[::3]:
        judge.put(key, work.values[0])  # so that there is something to merge
    merging = threading.Thread(target=judge.wait_idle)
    latencies: list[float] = []
    begun = time.perf_counter()
    if judge.merges:
        merging.start()
    for number in count():
        if number >= MIXED_LEAST and not merging.is_alive():
            break
        judge.put(work.uniform[number % len(work.uniform)], work.values[number % 1000])
        started = time.perf_counter()
        judge.get(work.uniform[-1 - number % len(work.uniform)])
        latencies.append(time.perf_counter() - started)
    return 2 * len(latencies), time.perf_counter() - begun, latencies


def mixed_figures(operations: int, took_s: float, latencies: list[float]) -> dict[str, float]:
    return {"mixed": operations / took_s, "mixed, get p99 us": 1e6 * percentile(latencies, 0.99)}


def synced_by_threads(judge: Judge, work: Workload, writers: int) -> tuple[int, Callable[[], None]]:
    each = max(20, 1000 // writers)

    def write(first: int) -> None:
        for number in range(first, first + each):
            judge.put_synced(work.keys[number % len(work.keys)], work.values[number % 1000])

    def run() -> None:
        threads = [threading.Thread(target=write, args=(each * n,)) for n in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return writers * each, run


class Ringmill:
    """This project's engine under the verbs of all contestants, on its event loop."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        self.engine = engine
        self.work = work

    async def fill(self) -> None:
        for number, key in enumerate(self.work.keys):
            await self._put(key, number).buffered()
            await self._breathe(number)

    async def get_all(self, keys: list[bytes]) -> None:
        get = self.engine.get_nowait
        for key in keys:
            try:
                get(key)
            except NotCached:
                await self.engine.get(key)

    async def scan(self, *, reverse: bool) -> None:
        async for _ in self.engine.scan(reverse=reverse):
            pass

    async def wait_idle(self) -> None:
        await self.engine.flush()
        await self.engine.compact_range()

    async def synced(self, writers: int, each: int) -> None:
        async def write(first: int) -> None:
            for number in range(first, first + each):
                await self._put(self.work.keys[number % len(self.work.keys)], number).synced()

        await asyncio.gather(*(write(each * n) for n in range(writers)))

    async def mixed(self) -> tuple[int, float, list[float]]:
        """Write and read in turns while tables merge.  Returns operations, seconds and read latencies."""
        uniform = self.work.uniform
        for number, key in enumerate(self.work.keys[::3]):
            self._put(key, number)
            await self._breathe(number)
        latencies: list[float] = []
        begun = time.perf_counter()
        merging = asyncio.ensure_future(self.wait_idle())
        for number in count():
            if number >= MIXED_LEAST and merging.done():
                break
            await self._put(uniform[number % len(uniform)], number).buffered()
            started = time.perf_counter()
            await self.get_all([uniform[-1 - number % len(uniform)]])
            latencies.append(time.perf_counter() - started)
            await self._breathe(number)
        await merging
        return 2 * len(latencies), time.perf_counter() - begun, latencies

    def _put(self, key: bytes, number: int) -> Commit:
        batch = Batch()
        batch.put(key, self.work.values[number % 1000])
        return self.engine.apply(batch)

    async def _breathe(self, number: int) -> None:
        """What a polite writer does now and then."""
        if not number % 64:
            await self.engine.wait_writable()
            await asyncio.sleep(0)


async def run_ringmill(folder: str, work: Workload) -> dict[str, float]:
    """Every case of this project's engine; rates per second."""
    found: dict[str, float] = {}
    options = EngineOptions(memtable_bytes=BUFFER_BYTES, block_cache_bytes=CACHE_BYTES)
    files = OsFileSystem()

    async def timed(case: str, operations: int, steps: Awaitable[None]) -> None:
        begun = time.perf_counter()
        await steps
        found[case] = operations / (time.perf_counter() - begun)

    async with ProcessSpawner() as spawner:
        async with await Engine.open(folder, options, files=files, spawner=spawner) as engine:
            ringmill = Ringmill(engine, work)
            await timed("fill", len(work.keys), ringmill.fill())
            await timed("overwrite", len(work.keys), ringmill.fill())
            await ringmill.wait_idle()
            counts, log_bytes = engine.stats().counters, engine.stats().log_bytes
            written = log_bytes + counts.flushed_bytes + counts.compaction_written_bytes
            found["write_amplification"] = written / (2 * work.user_bytes)
        found["space_amplification"] = folder_bytes(folder) / (work.distinct * (KEY_BYTES + VALUE_BYTES))
        async with await Engine.open(folder, options, files=files, spawner=spawner) as engine:
            ringmill = Ringmill(engine, work)
            await timed("get cold", len(work.uniform), ringmill.get_all(work.uniform))
            await ringmill.get_all(work.hot)
            await timed("get hot", len(work.hot), ringmill.get_all(work.hot))
            await timed("get missing", len(work.missing), ringmill.get_all(work.missing))
            await timed("scan", work.distinct, ringmill.scan(reverse=False))
            await timed("scan reverse", work.distinct, ringmill.scan(reverse=True))
            for writers in SYNC_WRITERS:
                each = max(20, 1000 // writers) if writers == 1 else 100
                await timed(f"synced {writers}", writers * each, ringmill.synced(writers, each))
            found |= mixed_figures(*await ringmill.mixed())
    files.close()
    return found


def written_bytes() -> int:
    """Bytes that this process has caused to be written to the disk."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def folder_bytes(folder: str) -> int:
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*") if path.is_file())


def main() -> None:
    name, folder, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
    work = Workload(records)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "ringmill":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(run_ringmill(folder, work))
    else:
        found = run_judge(name, folder, work)
    found["peak_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
