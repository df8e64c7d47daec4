"""The databases of a door by number, each opened for the token of the caller who asks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from ringmill.client.gateway.clients_by_token import MOST_TOKENS, ClientsByToken
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.client.gateway.redis.store.redis_errors import NO_AUTH
from ringmill.cluster.errors import PermissionDenied, QuorumNotReached
from ringmill.cluster.ports import Clock, Entropy

__all__ = ["DATABASES", "ServedDatabases"]

DATABASES: Final = 16
"""The number of databases, as a Redis has by default; number n is keyspace `redis<n>`."""

_ANY_KEY: Final = b"redis/token"


class ServedDatabases:
    """Numbers mean keyspaces: of registers, with the names of the keys in one of objects beside."""

    def __init__(
        self,
        clients: ClientsByToken,
        names: Mapping[int, str],
        *,
        timeout_s: float,
        clock: Clock,
        entropy: Entropy,
        figures: ExpiryFigures,
    ) -> None:
        """`names` are the keyspaces of some numbers, in the place of `redis<n>`."""
        self._clients = clients
        self._names = {number: f"redis{number}" for number in range(DATABASES)} | dict(names)
        self._timeout_s = timeout_s
        self._entropy = entropy
        self._clock = clock
        self._figures = figures
        self._open: OrderedDict[tuple[str, int], Database] = OrderedDict()

    @property
    def keyspaces(self) -> Collection[str]:
        """The keyspaces of all numbers, whether they exist or not."""
        return self._names.values()

    def database(self, token: str, number: int) -> Database:
        """The database; one object for a token and number, while it is used.  Raises RedisError."""
        if number not in self._names:
            raise RedisError("ERR DB index is out of range")
        place = (token, number)
        if place not in self._open:
            self._open[place] = Database(
                self._clients,
                token,
                self._names[number],
                timeout_s=self._timeout_s,
                clock=self._clock,
                entropy=self._entropy,
                figures=self._figures,
            )
        self._open.move_to_end(place)
        if len(self._open) > (MOST_TOKENS + 1) * len(self._names):  # and those of callers without a token
            self._open.popitem(last=False)
        return self._open[place]

    async def existing(self, token: str) -> list[Database]:
        """The databases whose keyspaces exist.  Raises RingmillError."""
        async with self._clients.lend(token) as client:
            present = {info.name for info in await client.keyspaces.list()}
        return [self.database(token, number) for number, name in self._names.items() if name in present]

    async def check_token(self, token: str, address: str) -> None:
        """Ask the cluster whether it knows the token, by a read.  `address` is that of the caller and a port.

        Raises RedisError when it does not, RingmillError when it cannot be asked.
        """
        try:
            async with self._clients.lend(token, f"address {address.rpartition(':')[0]}") as client:
                await client.registers.get(_ANY_KEY)
        except PermissionDenied as error:
            raise RedisError("WRONGPASS invalid username-password pair or user is disabled.") from error
        except QuorumNotReached:
            return  # the node that says so has let the caller in

    async def check_shown(self, token: str, address: str) -> None:
        """Ask the cluster whether it takes what a caller has shown by now, also nothing.

        Raises RedisError when it does not, RingmillError when it cannot be asked.
        """
        try:
            await self.check_token(token, address)
        except RedisError as error:
            if token:
                raise
            raise RedisError(NO_AUTH) from error
