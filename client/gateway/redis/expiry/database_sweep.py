"""Sweeps one database: goes through its keys by name, removes what has expired and names of what is gone.

It looks at a few keys at a time, and rests in between (sweep_pace.py).  A key is judged late: ten minutes
after its end, by the earlier of the gateway's clock and the time that the cluster tells (rule R7).  So the
sweep of a gateway whose clock is ahead removes no more than a scan of another one would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.expiry.sweep_pace import Looked, rest_s
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures, remove_expired
from ringmill.client.gateway.redis.store.key_index import INDEX_SUFFIX, KEPT_S, KeyIndex, NamedKey
from ringmill.client.gateway.redis.store.key_names import kept_name
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.client.kv import time_heard
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.limits import MAX_SCAN_ITEMS
from ringmill.cluster.ports import Clock, Entropy
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridTime, millis
from ringmill.cluster.wire.scan_cursor import ScanBounds, ScanCursor, encode_cursor
from ringmill.cluster.wire.token_text import token_text

__all__ = ["DatabaseSweep", "drawn_place"]

ROUND_S: Final = 600.0
"""From the beginning of one round to that of the next, if the first has ended by then."""
AT_ONCE: Final = 32
"""Keys that are looked at together.  They may hold 1 MiB each; fewer would share fewer frames and syncs."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What came of a look at one key: `is_gone` when there is no value, or none any more."""

    is_gone: bool
    has_expired: bool = False
    read_bytes: int = 0


class DatabaseSweep:
    def __init__(
        self,
        client: AsyncClient,
        name: str,
        *,
        most_keys_s: float,
        timeout_s: float,
        clock: Clock,
        figures: ExpiryFigures,
    ) -> None:
        """`name` is the keyspace of the database."""
        self._registers = client.registers.keyspace(name)
        self._space = client.keyspace(name)
        self._index = KeyIndex(client, name, self._wall)
        self._most_keys_s = most_keys_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._figures = figures

    async def run(self, place: str, lease: AsyncLease) -> None:
        """Sweep from this place to the end, and then round after round, as long as the lease is held.

        Raises RingmillError when nothing could be read.
        """
        while lease.is_held:
            began_s = self._clock.monotonic()
            if not await self._goes_round(place, lease):
                return
            if not place:
                ended_s = self._clock.monotonic()
                self._figures.last_round_s = ended_s - began_s
                self._figures.last_round_ended = self._clock.wall()
                await _rest(began_s + ROUND_S - ended_s, lease)
            place = ""

    async def _goes_round(self, place: str, lease: AsyncLease) -> bool:
        """Look at all names from there on; False when the lease was lost."""
        while True:
            page = await self._index.page(place, b"", MAX_SCAN_ITEMS)
            for start in range(0, len(page.names), AT_ONCE):
                if not lease.is_held:
                    return False
                looked = await self.look_at(page.names[start : start + AT_ONCE])
                await _rest(rest_s(looked, self._most_keys_s), lease)
            place = page.cursor
            if not place:
                return True

    async def look_at(self, names: Sequence[NamedKey]) -> Looked:
        """Remove what has expired of these, and old names of what is gone.

        A key that cannot be read, or removed, is left to the next round.  Raises RingmillError when that is
        so of all of them.
        """
        began_s = self._clock.monotonic()
        results = await gather_all(self._read_key(name) for name in names)
        failures = [each for each in results if isinstance(each, RingmillError)]
        self._figures.sweep_failures += len(failures)
        if failures and len(failures) == len(results):
            raise failures[0]
        looks = {name: each for name, each in zip(names, results, strict=True) if isinstance(each, _Look)}
        gone = [name for name, each in looks.items() if each.is_gone]
        expired = [name for name, each in looks.items() if each.has_expired]
        forgotten = await self._index.remove_old(gone)
        self._figures.swept_keys += len(looks)
        return Looked(
            keys=len(names),
            removed=len({*expired, *forgotten}),
            read_bytes=sum(each.read_bytes for each in looks.values()),
            took_s=self._clock.monotonic() - began_s,
        )

    async def _read_key(self, name: NamedKey) -> _Look | RingmillError:
        key = kept_name(name.key)
        try:
            found = await self._registers.get(key, timeout=self._timeout_s)
            if found.value is None:
                return _Look(is_gone=True)
            ended_ms = int((self._wall() - KEPT_S) * 1000)
            if not Entry.decode(found.value, ended_ms).has_expired:
                return _Look(is_gone=False, read_bytes=len(found.value))
            is_gone = await remove_expired(
                self._registers, key, found.version, self._figures, self._timeout_s
            )
            return _Look(is_gone, has_expired=is_gone, read_bytes=len(found.value))
        except RingmillError as error:
            return error

    def _wall(self) -> float:
        """The earlier of two times; before the cluster has told any, nothing has expired."""
        return min(self._clock.wall(), millis(HybridTime(time_heard(self._space))) / 1000)


def drawn_place(topology: Topology, name: str, entropy: Entropy) -> str:
    """Where the names of some partition begin, drawn anew each time: a gateway that is started again and
    again, and never comes to the end of a round, comes by everywhere all the same.

    `name` is the keyspace of the database.
    """
    index = topology.keyspace_named(name + INDEX_SUFFIX)
    partition = PartitionId(int(entropy.uniform("redis.sweep") * topology.partitions))
    return token_text(encode_cursor(ScanCursor(index.id, partition, b"", ScanBounds())))


async def _rest(pause_s: float, lease: AsyncLease) -> None:
    """Do nothing, or until the lease is lost."""
    with suppress(TimeoutError):
        await asyncio.wait_for(lease.lost.wait(), max(0.0, pause_s))
