"""Cursors of SCAN: numbers that mean something to the database alone that gave them."""

from __future__ import annotations

from typing import cast

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.redis.store.database import Database
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ports import Entropy
from tests.client.gateway.redis.redis_world import Registers

MOST_EXACT = (1 << 53) - 1
"""Number.MAX_SAFE_INTEGER: clients such as node-redis make numbers of cursors."""


class StandingClock(SystemClock):
    def wall(self) -> float:
        return 1_800_000_000.0


def cursors_of_one_database(entropy: Entropy) -> set[int]:
    clients = ClientsByToken(lambda token: cast("AsyncClient", Registers()))
    database = Database(clients, "", "redis0", timeout_s=1.0, clock=StandingClock(), entropy=entropy)
    return {database._number_of(f"place {each}") for each in range(1000)}


async def test_databases_that_began_at_the_same_moment_give_no_cursor_in_common() -> None:
    given = [cursors_of_one_database(OsEntropy()) for _ in range(4)]
    assert len(set().union(*given)) == 4000
    assert all(0 < cursor <= MOST_EXACT for each in given for cursor in each)


class LastNumbers:
    """Draws the largest numbers."""

    def random_bytes(self, stream: str, size: int) -> bytes:
        return b"\xff" * size


def test_the_largest_cursors_are_exact_numbers_in_javascript() -> None:
    assert max(cursors_of_one_database(cast("Entropy", LastNumbers()))) <= MOST_EXACT
