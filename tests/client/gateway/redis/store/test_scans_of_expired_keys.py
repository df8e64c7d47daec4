"""A scan removes what has expired, and the name of a key only once the key is gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_index import IndexPage, KeyIndex, NamedKey
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.values import CausalContext
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import QuorumNotReached
from tests.client.gateway.redis.redis_world import Registers


class WeakRegisters(Registers):
    """Can be read and not changed, until told otherwise."""

    is_weak = True

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        if self.is_weak:
            raise QuorumNotReached("one owner of three", outcome="unknown")
        return await super().cas(key, value, timeout=timeout, **expected)


async def test_the_name_of_an_expired_key_stays_as_long_as_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    registers, names, figures = WeakRegisters(), [b"k"], ExpiryFigures()
    registers.values[b"k"] = (Entry(b"v", 1).encode(), 1)

    async def page_of(index: KeyIndex, cursor: str, prefix: bytes, limit: int) -> IndexPage:
        return IndexPage([NamedKey(name, True, CausalContext(b"")) for name in names], "")

    async def delete(name: bytes, *, context: CausalContext) -> None:
        names.remove(name)

    monkeypatch.setattr(KeyIndex, "page", page_of)
    monkeypatch.setattr(registers, "delete", delete, raising=False)
    clients = ClientsByToken(lambda token: cast("AsyncClient", registers))
    database = Database(
        clients, "", "redis0", timeout_s=1.0, clock=SystemClock(), entropy=OsEntropy(), figures=figures
    )
    assert await database.scan(0, None, 10, None) == (0, [])
    assert (names, figures.expired_keys) == ([b"k"], 0)
    registers.is_weak = False
    assert await database.scan(0, None, 10, None) == (0, [])
    assert (registers.values[b"k"], names) == ((None, 2), [b"k"])
    assert await database.scan(0, None, 10, b"has expired") == (0, [])
    assert (names, figures.expired_keys) == ([], 1)
