"""A database of Redis in dicts: registers, the names of keys, and the time that the cluster tells."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self, cast

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.expiry.database_sweep import DatabaseSweep
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_index import NamedKey
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.registers.registers import RegisterValue
from ringmill.client.values import CausalContext
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import Conflict, RingmillError
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.cluster.versions.hybrid_time import hybrid_time
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, decode_cursor, encode_cursor
from ringmill.cluster.wire.token_text import parsed_token, token_text

__all__ = ["NOW_S", "StandingClock", "SweptWorld"]

NOW_S = 1_800_000_000.0
INDEX = KeyspaceId(1, 1)
PARTITIONS = 4


class StandingClock(SystemClock):
    """Tells this time."""

    def __init__(self, wall_s: float = NOW_S) -> None:
        self.wall_s = wall_s

    def wall(self) -> float:
        return self.wall_s


class SweptWorld:
    """What gateways share.  `before_cas` is called before each change of a key, and may raise an error."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes | None, int]] = {}
        self.names: dict[bytes, tuple[float, int]] = {}  # when it was put, and the version
        self.leases: dict[bytes, tuple[bytes | None, int]] = {}
        self.told_s = NOW_S
        self.reads: Counter[str] = Counter()  # by gateway
        self.read_error: RingmillError | None = None
        self.before_cas: Callable[[bytes], None] = lambda key: None
        self.lease_is_silent = False

    def set(self, key: bytes, *, expired_s: float | None = None, named_s: float = 3600.0) -> None:
        """A key that has expired so long ago, or does not expire, with a name that is so old."""
        at_ms = 0 if expired_s is None else int((NOW_S - expired_s) * 1000)
        version = self.values.get(key, (None, 0))[1]
        self.values[key] = (Entry(b"v", at_ms).encode(), version + 1)
        self.names[key] = (NOW_S - named_s, self.names.get(key, (0, 0))[1] + 1)

    def client(self, gateway: str = "g") -> AsyncClient:
        return cast("AsyncClient", _Client(self, gateway))

    def sweep(
        self, *, clock: SystemClock | None = None, figures: ExpiryFigures | None = None
    ) -> DatabaseSweep:
        return DatabaseSweep(
            self.client(), "redis0", most_keys_s=10_000, timeout_s=1.0,
            clock=clock or StandingClock(), figures=figures or ExpiryFigures(),
        )  # fmt: skip

    def named(self) -> list[NamedKey]:
        return [
            NamedKey(key, NOW_S - put_s > 600, CausalContext(b"%d" % version))
            for key, (put_s, version) in self.names.items()
        ]


class _Client:
    def __init__(self, world: SweptWorld, gateway: str) -> None:
        self.registers = _Registers(world, gateway)
        self.keyspaces = SimpleNamespace(list=self._list)
        self.topology = SimpleNamespace(
            partitions=PARTITIONS, keyspace_named=lambda name: SimpleNamespace(id=INDEX)
        )
        self._world = world

    async def _list(self) -> list[Any]:
        if self._world.read_error is not None:
            raise self._world.read_error
        return [SimpleNamespace(name=name) for name in ("redis0", "redis0-keys", "redis1")]

    def keyspace(self, name: str) -> _Space:
        return _Space(self._world)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""


class _Registers:
    def __init__(self, world: SweptWorld, gateway: str) -> None:
        self._world = world
        self._gateway = gateway

    def keyspace(self, name: str) -> _Registers:
        return self

    def lease(self, key: bytes, *, duration: float, owner: str) -> AsyncLease:
        return AsyncLease(
            "sweep", _LeaseRegister(self._world, key), owner=owner, duration_s=duration,
            clock=SystemClock(), entropy=OsEntropy(),
        )  # fmt: skip

    async def get(self, key: bytes, *, timeout: float) -> RegisterValue:
        self._world.reads[self._gateway] += 1
        if self._world.read_error is not None:
            raise self._world.read_error
        return RegisterValue(*self._world.values.get(key, (None, 0)))

    async def cas(self, key: bytes, value: bytes | None, *, expect_version: int, timeout: float) -> int:
        self._world.before_cas(key)
        return _changed(self._world.values, key, value, expect_version)


class _LeaseRegister:
    def __init__(self, world: SweptWorld, key: bytes) -> None:
        self._world = world
        self._key = key

    async def get(self, *, timeout: float) -> RegisterValue:
        return RegisterValue(*self._world.leases.get(self._key, (None, 0)))

    async def set(self, value: bytes, version: int, *, timeout: float) -> int:
        if self._world.lease_is_silent:
            await asyncio.sleep(timeout)
        return _changed(self._world.leases, self._key, value, version)


def _changed(
    values: dict[bytes, tuple[bytes | None, int]], key: bytes, value: bytes | None, version: int
) -> int:
    held, present = values.get(key, (None, 0))
    if version != present:
        raise Conflict("something else", detail={"current": held, "version": present})
    values[key] = (value, present + 1)
    return present + 1


class _Space:
    """The names of keys.  The last byte tells the partition."""

    def __init__(self, world: SweptWorld) -> None:
        self._world = world

    @property
    def _operations(self) -> Any:
        return SimpleNamespace(newest=hybrid_time(int(self._world.told_s * 1000)))

    async def delete(self, name: bytes, *, context: CausalContext) -> None:
        if self._world.names[name][1] == int(context.token):
            del self._world.names[name]

    def scan(self, *, prefix: bytes = b"", cursor: str = "", limit: int) -> _Scan:
        first = decode_cursor(parsed_token(cursor)).partition if cursor else 0
        return _Scan(self._world, first)


class _Scan:
    """One partition a page."""

    def __init__(self, world: SweptWorld, partition: int) -> None:
        following = ScanCursor(INDEX, PartitionId(partition + 1), b"", ScanBounds())
        self.cursor = token_text(encode_cursor(following)) if partition + 1 < PARTITIONS else ""
        here = [name for name in sorted(world.names) if name[-1] % PARTITIONS == partition]
        self._items = iter([(name, *world.names[name]) for name in here])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, Any]:
        for name, put_s, version in self._items:
            value = int(put_s * 1000).to_bytes(8, "big")
            return name, SimpleNamespace(siblings=(value,), context=CausalContext(b"%d" % version))
        raise StopAsyncIteration
