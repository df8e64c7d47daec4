"""Cursors of SCAN: numbers that mean something to the database alone that gave them."""

from __future__ import annotations

from typing import cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.redis.serving.served_databases import DATABASES, ServedDatabases
from ringmill.client.gateway.redis.store import database as database_module
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_index import IndexPage, KeyIndex, NamedKey
from ringmill.client.values import CausalContext
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ports import Entropy
from ringmill.cluster.ring.access.access_entries import MAX_TOKENS
from tests.client.gateway.redis.redis_world import Registers

MOST_EXACT = (1 << 53) - 1
"""Number.MAX_SAFE_INTEGER: clients such as node-redis make numbers of cursors."""


class StandingClock(SystemClock):
    def wall(self) -> float:
        return 1_800_000_000.0


def a_database(entropy: Entropy, registers: Registers | None = None) -> Database:
    clients = ClientsByToken(lambda token: cast("AsyncClient", registers or Registers()))
    return Database(clients, "", "redis0", timeout_s=1.0, clock=StandingClock(), entropy=entropy)


def cursors_of_one_database(entropy: Entropy) -> set[int]:
    database = a_database(entropy)
    return {database._number_of(f"place {each}") for each in range(1000)}


async def test_databases_that_began_at_the_same_moment_give_no_cursor_in_common() -> None:
    given = [cursors_of_one_database(OsEntropy()) for _ in range(4)]
    assert len(set().union(*given)) == 4000
    assert all(0 < cursor <= MOST_EXACT for each in given for cursor in each)


def test_cursors_are_known_however_many_tokens_a_cluster_has() -> None:
    clients = ClientsByToken(lambda token: cast("AsyncClient", Registers()))
    served = ServedDatabases(
        clients, {}, timeout_s=1.0, clock=StandingClock(), entropy=OsEntropy(), figures=ExpiryFigures()
    )
    first = served.database("", 0)
    for number in range(MAX_TOKENS):
        for each in range(DATABASES):
            served.database(f"token {number}", each)
    assert served.database("", 0) is first


class LastNumbers:
    """Draws the largest numbers."""

    def random_bytes(self, stream: str, size: int) -> bytes:
        return b"\xff" * size


def test_the_largest_cursors_are_exact_numbers_in_javascript() -> None:
    assert max(cursors_of_one_database(cast("Entropy", LastNumbers()))) <= MOST_EXACT


async def test_a_walk_over_all_keys_takes_no_cursor_from_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    registers = Registers()
    keys = [b"a", b"b", b"c"]
    for key in keys:
        registers.hold(key, b"v")

    async def page_of(index: KeyIndex, cursor: str, prefix: bytes, limit: int) -> IndexPage:
        at = int(cursor or "0")
        named = NamedKey(keys[at], False, CausalContext(b""))
        return IndexPage([named], "" if at == 2 else str(at + 1))

    monkeypatch.setattr(KeyIndex, "page", page_of)
    monkeypatch.setattr(database_module, "MAX_SCAN_ITEMS", 1)
    database = a_database(OsEntropy(), registers)
    cursor, names = await database.scan(0, None, 1, None)
    assert names == [b"a"] and list(database._cursors) == [cursor]
    for pattern, found in ((None, keys), (b"[bc]", [b"b", b"c"])):
        assert [name async for page in database.all_keys(pattern) for name in page] == found
    assert list(database._cursors) == [cursor]
    assert (await database.scan(cursor, None, 10, None))[1] == [b"b"]
