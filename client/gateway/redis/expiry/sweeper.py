"""Removes what has expired in the background, so that keys that nobody asks for again fill no disk.

Of several gateways one sweeps a database at a time: whichever holds the lease of it, a register.  What a
sweep removes is still what it has seen (rule R7), so two of them would only do work twice, and nothing
carries the term.  A failure ends no gateway: the sweep begins again a minute later, here or elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.redis.expiry.database_sweep import DatabaseSweep, drawn_place
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.key_index import INDEX_SUFFIX
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Clock, Entropy

__all__ = ["SweepOptions", "Sweeper"]

LOOK_EVERY_S: Final = 60.0
LEASE_S: Final = 60.0
GIVE_BACK_S: Final = 1.0
"""A gateway that stops waits no longer until its leases are given back.  Others wait for their end then."""
_LEASE: Final = b"redis-sweep/"
"""How the key of a lease in the keyspace `registers` begins; the name of the database's keyspace follows."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """`open_client` makes a client with the gateway's own token.  `most_keys_s` are keys of a database that
    are looked at a second, at most; 0 to sweep nothing."""

    open_client: Callable[[], AsyncClient]
    most_keys_s: int
    look_every_s: float = LOOK_EVERY_S
    lease_s: float = LEASE_S


class Sweeper:
    """Sweeps those of its databases that exist, from `start` to `stop`."""

    def __init__(
        self,
        options: SweepOptions,
        names: Iterable[str],
        *,
        timeout_s: float,
        clock: Clock,
        entropy: Entropy,
        figures: ExpiryFigures,
    ) -> None:
        """`names` are the keyspaces of the databases."""
        self._options = options
        self._names = list(dict.fromkeys(names))
        self._timeout_s = timeout_s
        self._clock = clock
        self._entropy = entropy
        self._figures = figures
        self._begun: set[str] = set()
        self._logged: dict[str, str] = {}  # why what is not swept, as the log has it
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless nothing is to be swept."""
        if self._options.most_keys_s:
            self._running = asyncio.create_task(self._run(), name="redis sweeper")

    def stop(self) -> None:
        """Look at nothing more, and give the leases back."""
        if self._running is not None:
            self._running.cancel()

    async def wait_ended(self) -> None:
        """Wait until what `stop` began is done."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while True:
            try:
                async with self._options.open_client() as client:
                    await self._sweep_all(client)
            except RingmillError as error:
                self._fails("the cluster", error)
            await asyncio.sleep(self._options.look_every_s)

    async def _sweep_all(self, client: AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for name in await self._present(client):
                    if name not in self._begun:
                        self._begun.add(name)
                        group.create_task(self._sweep(client, name), name=f"sweep {name}")
                await asyncio.sleep(self._options.look_every_s)

    async def _present(self, client: AsyncClient) -> list[str]:
        """Databases whose keyspaces are there; none when nobody tells."""
        try:
            present = {info.name for info in await client.keyspaces.list()}
        except RingmillError as error:
            self._fails("the cluster", error)
            return []
        return [name for name in self._names if {name, name + INDEX_SUFFIX} <= present]

    async def _sweep(self, client: AsyncClient, name: str) -> None:
        """Wait for the lease of the database, and sweep it while that is held."""
        try:
            lease = client.registers.lease(
                _LEASE + name.encode(), duration=self._options.lease_s, owner="gateway"
            )
            await lease.acquire()
            self._figures.swept_databases += 1
            try:
                sweep = DatabaseSweep(
                    client,
                    name,
                    most_keys_s=self._options.most_keys_s,
                    timeout_s=self._timeout_s,
                    clock=self._clock,
                    figures=self._figures,
                )
                await sweep.run(drawn_place(client.topology, name, self._entropy), lease)
            finally:
                self._figures.swept_databases -= 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(GIVE_BACK_S):
                        await lease.release()
        except RingmillError as error:
            self._fails(name, error)
        except Exception:  # noqa: BLE001 - a bug that one database shows must not end the sweeps of others
            _log.exception("the sweep of %s failed", name)
            self._figures.sweep_failures += 1
        finally:
            self._begun.discard(name)

    def _fails(self, what: str, error: RingmillError) -> None:
        """Count it, and log it unless it was logged last."""
        self._figures.sweep_failures += 1
        if self._logged.get(what) != str(error):
            self._logged[what] = str(error)
            _log.warning("expired keys of %s are not removed now: %s (%s)", what, error, error.hint)
