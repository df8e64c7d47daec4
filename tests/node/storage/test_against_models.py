"""Random programs against a sorted dict, and the same programs against RocksDB as an outside judge.

RINGMILL_ENGINE_EXAMPLES sets how many programs each test runs (10,000 in the long form).
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringmill.node.storage.engine import Batch, Engine, Snapshot
from ringmill.node.storage.engine_options import STRATEGIES
from ringmill.simulator.disk.engine_trace import FOLDER, TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel

T = TypeVar("T")
EXAMPLES = int(os.environ.get("RINGMILL_ENGINE_EXAMPLES", "40"))
SHORT = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)

keys = st.sampled_from([b"%s%02d" % (letter, number) for letter in (b"a", b"b") for number in range(20)])
values = st.binary(max_size=60)
changes = st.lists(st.tuples(keys, st.none() | values), min_size=1, max_size=8)
bounds = st.none() | keys


class EngineMachine(RuleBasedStateMachine):
    """One engine on the lossy disk; `model` is what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.disk = LossyDisk()
        self.model: dict[bytes, bytes] = {}
        self.snapshots: list[tuple[Snapshot, dict[bytes, bytes]]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(strategy=st.sampled_from(STRATEGIES))
    def open(self, strategy: str) -> None:
        self.options = TINY.__class__(
            memtable_bytes=400,
            block_bytes=100,
            table_bytes=600,
            level0_tables=2,
            level1_bytes=1500,
            level_growth=2,
            strategy=strategy,
            time_window_sequences=50,
            block_cache_bytes=2000,
            reserve_bytes=0,
        )
        self.reopen_engine()

    def reopen_engine(self) -> None:
        self.engine = self.run(Engine.open(FOLDER, self.options, files=self.disk, spawner=TurnSpawner()))

    @rule(batch=changes)
    def apply(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        self.run(self.engine.wait_writable())
        built = Batch()
        for key, value in batch:
            if value is None:
                built.delete(key)
                self.model.pop(key, None)
            else:
                built.put(key, value)
                self.model[key] = value
        self.engine.apply(built)

    @rule(prefix=st.sampled_from([b"a", b"b", b"a1", b"b0"]))
    def drop(self, prefix: bytes) -> None:
        self.run(self.engine.wait_writable())
        self.run(self.engine.drop_prefix(prefix))
        self.model = {key: value for key, value in self.model.items() if not key.startswith(prefix)}

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        assert self.run(self.engine.get(key)) == self.model.get(key)

    @rule(start=bounds, end=bounds, reverse=st.booleans())
    def scan(self, start: bytes | None, end: bytes | None, reverse: bool) -> None:
        found = self.run(collect(self.engine, start or b"", end, reverse))
        assert found == expected(self.model, start or b"", end, reverse)

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append((self.engine.snapshot(), dict(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(reverse=st.booleans(), keep=st.booleans())
    def read_snapshot(self, reverse: bool, keep: bool) -> None:
        snapshot, model = self.snapshots[0]
        found = self.run(collect(self.engine, b"", None, reverse, snapshot))
        assert found == expected(model, b"", None, reverse)
        assert self.run(self.engine.get(b"a07", snapshot=snapshot)) == model.get(b"a07")
        if not keep:
            snapshot.release()
            del self.snapshots[0]

    @rule()
    def flush(self) -> None:
        self.run(self.engine.flush())

    @rule(start=bounds, end=bounds)
    def compact(self, start: bytes | None, end: bytes | None) -> None:
        self.run(self.engine.compact_range(start or b"", end))

    @rule()
    def let_background_work_go_on(self) -> None:
        self.run(asyncio.sleep(0))

    @rule()
    def reopen(self) -> None:
        self.snapshots.clear()
        self.run(self.engine.close())
        self.reopen_engine()

    @rule(model=st.sampled_from([m for m in CrashModel if m is not CrashModel.LYING]), seed=st.integers(0, 9))
    def lose_power_after_a_sync(self, model: CrashModel, seed: int) -> None:
        async def sync() -> None:
            await self.engine.wait_writable()
            batch = Batch()
            batch.put(b"a00", b"synced")
            await self.engine.apply(batch).synced()

        self.run(sync())
        self.model[b"a00"] = b"synced"
        self.snapshots.clear()
        moment = self.disk.moment()
        self.run(self.engine.close())
        self.disk = LossyDisk.after(moment.crash(model, Random(seed)))
        self.reopen_engine()

    @invariant()
    def nothing_is_marked_corrupt(self) -> None:
        assert not self.engine.corrupt_ranges()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.run(self.engine.close())
        self.loop.close()


class JudgedMachine(EngineMachine):
    """The same, and RocksDB's answers have to be the same too."""

    def __init__(self) -> None:
        super().__init__()
        from rocksdict import Options, Rdict

        self.folder = tempfile.mkdtemp(prefix="judge")
        options = Options(raw_mode=True)
        options.set_write_buffer_size(4096)
        self.judge = Rdict(self.folder, options)

    @rule(batch=changes)
    def apply(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        super().apply(batch)
        for key, value in batch:
            if value is None:
                self.judge.delete(key)
            else:
                self.judge[key] = value

    @rule(prefix=st.sampled_from([b"a", b"b", b"a1", b"b0"]))
    def drop(self, prefix: bytes) -> None:
        super().drop(prefix)
        self.judge.delete_range(prefix, prefix[:-1] + bytes([prefix[-1] + 1]))

    @rule(key=keys)
    def get(self, key: bytes) -> None:
        assert self.run(self.engine.get(key)) == self.judge.get(key)

    @rule(start=bounds, end=bounds, reverse=st.booleans())
    def scan(self, start: bytes | None, end: bytes | None, reverse: bool) -> None:
        found = self.run(collect(self.engine, start or b"", end, reverse))
        told = []
        for key, value in self.judge.items(from_key=start or b"\0"):
            assert isinstance(key, bytes)
            if end is None or key < end:
                told.append((key, value))
        assert found == (told[::-1] if reverse else told)

    @rule(model=st.sampled_from([CrashModel.TORN]), seed=st.integers(0, 9))
    def lose_power_after_a_sync(self, model: CrashModel, seed: int) -> None:
        super().lose_power_after_a_sync(model, seed)
        self.judge[b"a00"] = b"synced"

    def teardown(self) -> None:
        super().teardown()
        self.judge.close()
        shutil.rmtree(self.folder, ignore_errors=True)


async def collect(
    engine: Engine, start: bytes, end: bytes | None, reverse: bool, snapshot: Snapshot | None = None
) -> list[tuple[bytes, bytes]]:
    return [pair async for pair in engine.scan(start, end, reverse=reverse, snapshot=snapshot)]


def expected(
    model: dict[bytes, bytes], start: bytes, end: bytes | None, reverse: bool
) -> list[tuple[bytes, bytes]]:
    inside = [(key, model[key]) for key in sorted(model) if key >= start and (end is None or key < end)]
    return inside[::-1] if reverse else inside


TestAgainstADict = EngineMachine.TestCase
TestAgainstADict.settings = SHORT


TestAgainstRocksDb = pytest.mark.skipif(
    importlib.util.find_spec("rocksdict") is None, reason="rocksdict is not installed"
)(JudgedMachine.TestCase)
TestAgainstRocksDb.settings = SHORT
