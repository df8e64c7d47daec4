"""A cluster of a few dictionaries that may lie: it drops one change of a sort that it has acknowledged."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast
from unittest.mock import patch

from ringmill.client.chaos import chaos_load
from ringmill.client.chaos.chaos_load import ChaosLoad, Spaces
from ringmill.client.chaos.load_tally import LoadTally
from ringmill.client.checked import merging_caller
from ringmill.client.registers.registers import RegisterValue
from ringmill.client.values import CausalContext, Item, Receipt
from ringmill.cluster.errors import Conflict

__all__ = ["loaded"]

ENOUGH = 600  # requests
LIE = 5  # the change of each sort that is acknowledged and dropped


class Cluster:
    """It keeps what it acknowledges, but for one change of the sort that it lies about."""

    def __init__(self, lies_about: str = "") -> None:
        self._lies_about = lies_about
        self._changes: Counter[str] = Counter()

    def drops(self, sort: str) -> bool:
        self._changes[sort] += 1
        return sort == self._lies_about and self._changes[sort] == LIE


class Objects:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._values: dict[bytes, bytes] = {}

    async def put(self, key: bytes, value: bytes, **_: Any) -> Receipt:
        if not self._cluster.drops("objects"):
            self._values[key] = value
        return cast("Receipt", type("Acknowledged", (), {"context": CausalContext(b"c")}))

    async def get(self, key: bytes, **_: Any) -> Item | None:
        value = self._values.get(key)
        return None if value is None else Item((value,), CausalContext(b"c"), ("n1#1:1",))


class Registers:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._held: dict[bytes, RegisterValue] = {}

    async def get(self, key: bytes) -> RegisterValue:
        return self._held.get(key, RegisterValue(None, 0))

    async def cas(
        self, key: bytes, value: bytes | None, expect: bytes | None = None, expect_version: int | None = None
    ) -> int:
        now = await self.get(key)
        if now.version != expect_version if expect_version is not None else now.value != expect:
            raise Conflict("holds something else", detail={"current": now.value, "version": now.version})
        return self._made(key, value, now).version

    async def incr(self, key: bytes, by: int) -> int:
        now = await self.get(key)
        return int(self._made(key, b"%d" % (int(now.value or b"0") + by), now).value or b"")

    def _made(self, key: bytes, value: bytes | None, now: RegisterValue) -> RegisterValue:
        made = RegisterValue(value, now.version + 1)
        if not self._cluster.drops("registers"):
            self._held[key] = made
        return made


class CounterSpace:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.counts: Counter[bytes] = Counter()


class Counters:
    """In place of AsyncCounters."""

    def __init__(self, space: CounterSpace) -> None:
        self._space = space

    async def add(self, key: bytes, amount: int) -> None:
        if not self._space.cluster.drops("counters"):
            self._space.counts[key] += amount

    async def get(self, key: bytes) -> int:
        return self._space.counts[key]


async def loaded(lies_about: str = "") -> ChaosLoad:
    """The load after its work on such a cluster, at full speed."""
    cluster, tally = Cluster(lies_about), LoadTally()
    spaces = Objects(cluster), Registers(cluster), CounterSpace(cluster)
    with (
        patch.object(chaos_load, "WRITER_PAUSE_S", 0.001),
        patch.object(chaos_load, "CALL_PAUSE_S", 0.0005),
        patch.object(merging_caller, "AsyncCounters", Counters),
    ):
        load = ChaosLoad(Spaces(*cast("Any", spaces)), 7, tally)
        tally.begin(0.0)
        await load.work(lambda: tally.requests >= ENOUGH)
        assert tally.requests >= ENOUGH and tally.errors == 0
        assert await load.look() == []
    return load
