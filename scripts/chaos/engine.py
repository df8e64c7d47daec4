"""The long forms of the engine's tests: crashes at every call, flipped bits, kill -9, a full disk.

    python scripts/chaos/engine.py crash   a power cut before every call of 2,000 operations, five models
    python scripts/chaos/engine.py flips   every byte of 64 KiB, then 50,000 bits in 1 MiB
    python scripts/chaos/engine.py kill    kill -9 of a real writer, 100 times, state compared each time
    python scripts/chaos/engine.py full    a real full disk (tmpfs; needs the right to mount)

Each prints what it tried and exits with 1 when a promise was broken, 77 when it could not run here.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from ringmill.cluster.adapters.files.os_files import OsFileSystem  # noqa: E402
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner  # noqa: E402
from ringmill.cluster.errors import DiskFull  # noqa: E402
from ringmill.cluster.ids import DiskId, NodeId, Start  # noqa: E402
from ringmill.node.identity.identity_record import IdentityRecord, newest_record, record_copies  # noqa: E402
from ringmill.node.storage.engine import Batch, Engine, EngineOptions  # noqa: E402
from ringmill.simulator.disk.damage import Sample, check_flip, sample_folder  # noqa: E402
from ringmill.simulator.disk.engine_trace import check_crash, record_trace  # noqa: E402
from ringmill.simulator.disk.moment import CrashModel  # noqa: E402

SKIPPED = 77
ENDLESS_S = 120
PART_FLIPS = 200
KILL_OPTIONS = EngineOptions(memtable_bytes=60_000, table_bytes=60_000, level0_tables=2, level1_bytes=200_000)


async def crash(operations: int, seed: int) -> int:
    """A power cut before every call that changes the disk, under each model."""
    begun = time.monotonic()
    trace = await record_trace(seed, operations)
    print(f"{operations} operations made {len(trace.points)} calls; acknowledged as synced: {trace.acked}")
    outcomes: Counter[str] = Counter()
    broken = 0
    for number, point in enumerate(trace.points):
        for model in CrashModel:
            try:
                outcomes[f"{model}: {await check_crash(trace, point, model, number)}"] += 1
            except AssertionError as error:
                broken += 1
                print(f"BROKEN {error}")
    for outcome, count in sorted(outcomes.items()):
        print(f"  {outcome} {count}")
    print(f"{sum(outcomes.values())} states in {time.monotonic() - begun:.0f} s, {broken} broken promises")
    return 1 if broken else 0


def flips(small_bytes: int, large_bytes: int, random_flips: int, processes: int) -> int:
    """Every byte of a small folder, and random bits of a larger one."""
    small = asyncio.run(sample_folder(1, small_bytes))
    large = asyncio.run(sample_folder(2, large_bytes))
    random = Random(3)
    everywhere = [(number, 1 << number % 8) for number in range(small.size)]
    anywhere = [(random.randrange(large.size), 1 << random.randrange(8)) for _ in range(random_flips)]
    broken = _flip_identity()
    broken += _try_flips("every byte", small, everywhere, processes)
    broken += _try_flips("random bits", large, anywhere, processes)
    return 1 if broken else 0


def _flip_identity() -> int:
    """Every bit of the file that says whose folder it is.  It lies beside the engine's folders."""
    record = IdentityRecord(NodeId("n1"), DiskId("5a" * 16), Start(7, "c3" * 8), 9, (Start(6, "5b" * 8),))
    whole = record_copies(record)
    outcomes: Counter[str] = Counter()
    for bit in range(8 * len(whole)):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        outcomes["right" if newest_record([bytes(hurt)]) == record else "BROKEN"] += 1
    print(f"every bit of {len(whole)} bytes of identity: {_told(outcomes)}")
    return outcomes["BROKEN"]


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items()))


def _try_flips(name: str, sample: Sample, places: list[tuple[int, int]], processes: int) -> int:
    begun = time.monotonic()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    parts = [places[first : first + PART_FLIPS] for first in range(0, len(places), PART_FLIPS)]
    with ProcessPoolExecutor(processes) as pool:
        try:
            for part, took_s in pool.map(_try_part, repeat(sample), parts):
                outcomes += part
                slowest = max(slowest, took_s)
                if sys.stderr.isatty():
                    print(f"{name}: {outcomes.total()} of {len(places)} tried", end="\r", file=sys.stderr)
        except BrokenProcessPool:
            outcomes["BROKEN"] += 1
            print(f"BROKEN a flip took more than {ENDLESS_S} s; above is where it was")
    took = time.monotonic() - begun
    print(f"{name} of {sample.size} bytes: {_told(outcomes)}; {took:.0f} s, slowest answer {slowest:.2f} s")
    return outcomes["BROKEN"]


def _try_part(sample: Sample, places: list[tuple[int, int]]) -> tuple[Counter[str], float]:
    """Outcomes of these flips, and the longest that one took.  One that takes minutes is an endless loop."""
    outcomes: Counter[str] = Counter()
    slowest = 0.0

    async def try_all() -> None:
        nonlocal slowest
        for number, mask in places:
            started = time.monotonic()
            # ends the process and tells where it was: a loop that never awaits cannot be cancelled
            faulthandler.dump_traceback_later(ENDLESS_S, exit=True)
            try:
                outcomes[await check_flip(sample, number, mask)] += 1
            except AssertionError as error:
                outcomes["BROKEN"] += 1
                print(f"BROKEN {error}")
            slowest = max(slowest, time.monotonic() - started)
        faulthandler.cancel_dump_traceback_later()

    asyncio.run(try_all())
    return outcomes, slowest


def change_of(number: int) -> tuple[bytes, bytes | None]:
    """The change that batch `number` makes: a function of its number, so that any state can be computed."""
    random = Random(number)
    key = b"key%04d" % random.randrange(2000)
    return key, None if random.random() < 0.2 else random.randbytes(random.randrange(200))


async def write_until_killed(folder: str) -> None:
    """The victim: synced batches, each acknowledged on stdout."""
    files = OsFileSystem()
    async with ProcessSpawner() as spawner:
        engine = await Engine.open(folder, KILL_OPTIONS, files=files, spawner=spawner)
        print("open", engine.sequence, flush=True)
        while True:
            await engine.wait_writable()
            commits = []
            for _ in range(Random(engine.sequence).randrange(1, 20)):
                batch = Batch()
                key, value = change_of(engine.sequence + 1)
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
                commits.append(engine.apply(batch))
            await commits[-1].synced()
            print("acked", commits[-1].sequence, flush=True)


async def kill(rounds: int, seed: int) -> int:
    """SIGKILL to a real process at a random moment, again and again on the same folder."""
    random, files = Random(seed), OsFileSystem()
    state: dict[bytes, bytes] = {}
    known = 0
    with tempfile.TemporaryDirectory() as where:
        folder = f"{where}/data"
        for number in range(rounds):
            acked = _kill_once(folder, random.uniform(0.05, 0.6))
            async with ProcessSpawner() as spawner:
                engine = await Engine.open(folder, KILL_OPTIONS, files=files, spawner=spawner)
                async with engine:
                    sequence = engine.sequence
                    found = {key: value async for key, value in engine.scan()}
            if sequence < acked:
                print(f"BROKEN round {number}: {acked} acknowledged, {sequence} left")
                return 1
            for batch in range(known + 1, sequence + 1):
                key, value = change_of(batch)
                state.pop(key, None)
                if value is not None:
                    state[key] = value
            known = sequence
            if found != state:
                print(f"BROKEN round {number}: not the state after batch {sequence}")
                return 1
    files.close()
    print(f"{rounds} kills, {known} batches, nothing acknowledged was lost, nothing invented")
    return 0


def _kill_once(folder: str, after_s: float) -> int:
    """The last sequence that the victim acknowledged before it was killed."""
    victim = subprocess.Popen(
        [sys.executable, __file__, "victim", folder], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert victim.stdout is not None
    victim.stdout.readline()
    time.sleep(after_s)
    victim.kill()
    rest = victim.stdout.read().splitlines()
    victim.wait()
    acked = [int(line.split()[1]) for line in rest if line.startswith("acked") and line.split()[1:]]
    return acked[-1] if acked else 0


def full(size_mib: int) -> int:
    """Fill a small real disk, watch the engine go read-only, make room, watch it come back."""
    with tempfile.TemporaryDirectory() as where:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", where],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            print(f"skipped: no tmpfs can be mounted here: {mounted.stderr.strip()}")
            return SKIPPED
        ballast = Path(where, "ballast")
        room = os.statvfs(where)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize // 2))
        try:
            return asyncio.run(_fill_disk(where, ballast.unlink))
        finally:
            subprocess.run(["umount", "-l", where], check=True)


async def _fill_disk(where: str, make_room: Callable[[], None]) -> int:
    options = EngineOptions(
        memtable_bytes=1 << 20, reserve_bytes=0, table_bytes=1 << 20, level1_bytes=4 << 20
    )
    files, synced = OsFileSystem(), 0
    async with ProcessSpawner() as spawner:
        async with await Engine.open(f"{where}/data", options, files=files, spawner=spawner) as engine:
            synced, refusal = await _fill(engine, 0, 1 << 30)
            print(f"{synced} batches synced, then {refusal.code if refusal else 'no refusal'}: {refusal}")
            if refusal is None:
                return 1
            assert await engine.get(b"key%08d" % (synced - 1)) == _value(synced - 1)
            make_room()
            async with asyncio.timeout(30):
                while True:
                    try:
                        await engine.wait_writable()
                        break
                    except DiskFull:
                        await asyncio.sleep(0.1)
            more, _ = await _fill(engine, synced + 1, synced + 2000)
            print(f"space came back: {more - synced - 1} more batches synced")
        async with await Engine.open(f"{where}/data", options, files=files, spawner=spawner) as engine:
            numbers = [*range(synced), *range(synced + 1, more)]
            lost = [n for n in numbers if await engine.get(b"key%08d" % n) != _value(n)]
    files.close()
    print(f"after reopening: {len(lost)} of {len(numbers)} synced batches lost")
    return 1 if lost else 0


def _value(number: int) -> bytes:
    return Random(number).randbytes(2000)


async def _fill(engine: Engine, first: int, end: int) -> tuple[int, DiskFull | None]:
    for number in range(first, end):
        try:
            await engine.wait_writable()
            batch = Batch()
            batch.put(b"key%08d" % number, _value(number))
            await engine.apply(batch).synced()
        except DiskFull as refusal:
            return number, refusal
    return end, None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("crash")
    command.add_argument("--operations", type=int, default=2000)
    command.add_argument("--seed", type=int, default=1)
    command = commands.add_parser("flips")
    command.add_argument("--small-bytes", type=int, default=64 * 1024)
    command.add_argument("--large-bytes", type=int, default=1024 * 1024)
    command.add_argument("--random", type=int, default=50_000)
    command.add_argument("--processes", type=int, default=os.cpu_count())
    command = commands.add_parser("kill")
    command.add_argument("--rounds", type=int, default=100)
    command.add_argument("--seed", type=int, default=1)
    commands.add_parser("full").add_argument("--size-mib", type=int, default=64)
    commands.add_parser("victim").add_argument("folder")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)  # an engine tells of each damage that it meets
    if chosen.command == "crash":
        return asyncio.run(crash(chosen.operations, chosen.seed))
    if chosen.command == "flips":
        return flips(chosen.small_bytes, chosen.large_bytes, chosen.random, chosen.processes)
    if chosen.command == "kill":
        return asyncio.run(kill(chosen.rounds, chosen.seed))
    if chosen.command == "full":
        return full(chosen.size_mib)
    asyncio.run(write_until_killed(chosen.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
