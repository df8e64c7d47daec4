"""Cuts the power before every call and checks that the engine keeps its promises.

A trace is one run of random batches on a lossy disk, with the disk's moment before each call.  From each
moment and crash model a disk is made and an engine opened on it.  What it then holds must be the state
after exactly the batches 1 to s, where s is at least the last one acknowledged as synced and at most the
last one applied: nothing acknowledged is missing, nothing is invented, no batch is half there.

A disk that lies about syncs voids the first promise only: s may be lower, or the engine says CorruptData.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.errors import CorruptData
from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment

__all__ = ["FOLDER", "TurnSpawner", "Point", "EngineTrace", "TINY", "check_crash", "record_trace"]

FOLDER: Final = "data"
TINY: Final = EngineOptions(
    memtable_bytes=1500, block_bytes=200, table_bytes=1500, level0_tables=2, level1_bytes=6000, level_growth=2
)
_READING: Final = frozenset({"read", "pread", "open_read", "list"})

P = ParamSpec("P")
T = TypeVar("T")


class TurnSpawner:
    """Runs a child's function here, after giving the loop one turn."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        return function(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Point:
    """The instant before one call: what a crash there may forget and what not."""

    call: str
    moment: Moment
    acked: int
    applied: int
    killed: LossyDisk | None = None  # what a kill there leaves


@dataclass(slots=True)
class EngineTrace:
    """`states[s]` is what the store holds after batch s."""

    states: list[dict[bytes, bytes]] = field(default_factory=lambda: [{}])
    points: list[Point] = field(default_factory=list)
    acked: int = 0


async def record_trace(
    seed: int,
    operations: int,
    *,
    disk: LossyDisk | None = None,
    options: EngineOptions = TINY,
    with_kills: bool = False,
) -> EngineTrace:
    """Run random batches to the end, keeping the moment before every call that changes the disk."""
    random = Random(seed)
    trace = EngineTrace()
    disk = disk or LossyDisk()

    def remember(call: str, path: str) -> None:
        if call not in _READING:
            killed = disk.after_kill() if with_kills else None
            applied = len(trace.states) - 1
            trace.points.append(Point(f"{call} {path}", disk.moment(), trace.acked, applied, killed))

    disk.hook = remember
    async with await Engine.open(FOLDER, options, files=disk, spawner=TurnSpawner()) as engine:
        for _ in range(operations):
            await engine.wait_writable()
            batch, state = _random_batch(random, trace.states[-1])
            trace.states.append(state)
            commit = engine.apply(batch)
            fate = random.random()
            if fate < 0.3:
                await commit.synced()
                trace.acked = max(trace.acked, commit.sequence)
            elif fate < 0.6:
                await commit.buffered()
            elif fate < 0.9:
                await asyncio.sleep(0)
    disk.hook = None
    return trace


async def check_crash(trace: EngineTrace, point: Point, model: CrashModel, seed: int) -> str:
    """Open an engine on what the crash left and compare.  "kept", or "refused" by CorruptData.

    Raises AssertionError with the whole story when a promise is broken.
    """
    disk = LossyDisk.after(point.moment.crash(model, Random(seed)))
    story = f"before {point.call}, model {model}, seed {seed}, acked {point.acked}, applied {point.applied}"
    try:
        async with await Engine.open(FOLDER, TINY, files=disk, spawner=TurnSpawner()) as engine:
            found = {key: value async for key, value in engine.scan()}
            sequence = engine.sequence
    except CorruptData as error:
        assert model is CrashModel.LYING, f"{story}: {error}"
        return "refused"
    assert sequence <= point.applied, f"{story}: batch {sequence} was never applied"
    assert sequence >= point.acked or model is CrashModel.LYING, f"{story}: only {sequence} batches are left"
    assert found == trace.states[sequence], f"{story}: not the state after batch {sequence}"
    return "kept"


def _random_batch(random: Random, state: dict[bytes, bytes]) -> tuple[Batch, dict[bytes, bytes]]:
    batch, after = Batch(), dict(state)
    for _ in range(random.choice((1, 1, 2, 5))):
        key = b"k%03d" % random.randrange(120)
        if random.random() < 0.25:
            batch.delete(key)
            after.pop(key, None)
        else:
            value = random.randbytes(random.randrange(60))
            batch.put(key, value)
            after[key] = value
    return batch, after
