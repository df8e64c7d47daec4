"""The door for callers that speak Redis's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.meters.door_meter import DoorMeter
from ringmill.client.gateway.protection.caller_limits import CallerLimits
from ringmill.client.gateway.redis.commands import command_table
from ringmill.client.gateway.redis.expiry.sweeper import Sweeper, SweepOptions
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.serving.served_databases import ServedDatabases
from ringmill.client.gateway.redis.store.expired_keys import ExpiryFigures
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import Clock, Entropy

__all__ = ["RedisDoor"]

_LOOK_EVERY_S: Final = 1.0
_WORTH_GIVING_BACK: Final = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


class RedisDoor:
    """A Door.  It closes connections that are silent, or take no answers, for too long."""

    def __init__(
        self,
        host: str,
        port: int,
        clients: ClientsByToken,
        *,
        clock: Clock,
        entropy: Entropy,
        timeout_s: float,
        names: Mapping[int, str] | None = None,
        limits: RedisLimits | None = None,
        callers: CallerLimits | None = None,
        give_back: Callable[[], None] | None = None,
        sweeps: SweepOptions | None = None,
    ) -> None:
        """`names` are the keyspaces of databases that do not have the usual name.  `callers` are the limits
        that the doors of a gateway share.  `give_back` is called when much less memory is needed than before.
        Without `sweeps` expired keys wait for who asks."""
        command_table.load_commands()
        self.limits = limits or RedisLimits()
        self.expiry = ExpiryFigures()
        self.databases = ServedDatabases(
            clients, names or {}, timeout_s=timeout_s, clock=clock, entropy=entropy, figures=self.expiry
        )
        self._sweeper: Sweeper | None = None
        if sweeps is not None:
            self._sweeper = Sweeper(
                sweeps,
                self.databases.keyspaces,
                timeout_s=timeout_s,
                clock=clock,
                entropy=entropy,
                figures=self.expiry,
            )
        self.entropy = entropy
        self.began_s = clock.monotonic()
        self.connections_made = 0
        self.commands_done = 0
        self._clients = clients
        self._callers = callers or CallerLimits()
        self.meter = DoorMeter(clock.monotonic)
        self._host = host
        self._port = port
        self._clock = clock
        self._ids = itertools.count(1)
        self._connections: dict[int, RedisConnection] = {}
        self._gone: dict[int, RedisConnection] = {}  # of which commands are under way
        self._told_bytes = 0  # by all of them together; what has been answered since is told later
        self._most_bytes = 0  # of these, since memory was given back
        self._give_back = give_back
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """Listen; what a caller is to connect to, such as "redis://127.0.0.1:6379"."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: RedisConnection(self), self._host, self._port)
        except OSError as error:
            place = f"{self._host}:{self._port}"
            raise InvalidArgument(
                f"--redis {place}: {error.strerror or error}", hint="choose another port, or 0 for a free one"
            ) from error
        self._looking = asyncio.create_task(self._look_for_late())
        if self._sweeper is not None:
            self._sweeper.start()
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"

    async def close(self, grace_s: float) -> None:
        """Take no connection any more, and end those that are open."""
        if self._server is None or self._looking is None:
            return
        self._server.close()
        self._looking.cancel()
        if self._sweeper is not None:
            self._sweeper.stop()
        for connection in self.connections():
            connection.end_soon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._is_empty.wait()
        for connection in self.connections():
            connection.abort()
        if self._sweeper is not None:
            await self._sweeper.wait_ended()

    @property
    def held_bytes(self) -> int:
        """What all connections hold, as far as they have told."""
        return self._told_bytes

    def connections(self) -> Sequence[RedisConnection]:
        return list(self._connections.values())

    def opened(self, connection: RedisConnection) -> str:
        if len(self._connections) >= self.limits.most_connections and not self._close_silent():
            _log.warning(
                "%s is refused: there are %d connections", connection.address, len(self._connections)
            )
            self.meter.refuse("connections")
            return "ERR max number of clients reached"
        connection.id = self.connections_made = next(self._ids)
        self._connections[connection.id] = connection
        self._is_empty.clear()
        return ""

    def _close_silent(self) -> bool:
        """Close one that has nothing under way and was silent, if there is one.

        One that has shown no token goes before others, then one of the address that has most, then the one
        that was silent for longest.
        """
        silent_since_s = self.monotonic() - self.limits.spare_s
        spare = [
            each for each in self._connections.values()
            if each.lateness.active_s <= silent_since_s
            and not each.held_bytes and each.queued is None and each.watched is None
        ]  # fmt: skip
        if not spare:
            return False
        shares = Counter(_host_of(each) for each in self._connections.values())

        def place(each: RedisConnection) -> tuple[bool, int, float]:
            return bool(each.token), -shares[_host_of(each)], each.lateness.active_s

        chosen = min(spare, key=place)
        chosen.give_up("it was silent, and another one needs its place")
        self.closed(chosen)
        return True

    def closed(self, connection: RedisConnection) -> None:
        if self._connections.pop(connection.id, None) is not None:
            self._gone[connection.id] = connection
            if connection.held_bytes:
                self.note_growth(0)
                if len(self._gone) > self.limits.most_gone:
                    self._drop_first()
            else:
                self.note_ended(connection)
        if not self._connections:
            self._is_empty.set()

    def note_ended(self, connection: RedisConnection) -> None:
        """Note that nothing that a closed connection has begun goes on."""
        if self._gone.pop(connection.id, None) is not None:
            self._told_bytes -= connection.told_bytes

    def note_growth(self, by: int) -> None:
        """Note that a connection holds this number of bytes more, and make room when it is too much.

        Those that have gone make room first, what holds most before what holds less, and then the connection
        that holds most.
        """
        self._told_bytes += by
        self._most_bytes = max(self._most_bytes, self._told_bytes)
        if self._told_bytes > self.limits.most_held_bytes:
            self._make_room()

    def _make_room(self) -> None:
        most = self.limits.most_held_bytes
        held = {each: each.held_bytes for each in (*self._gone.values(), *self.connections())}
        for each, size in held.items():
            each.told_bytes = size
        self._told_bytes = total = sum(held.values())
        dropped, dropped_bytes = 0, 0
        for largest in sorted(held, key=lambda each: (each.is_gone, held[each]), reverse=True):
            if total <= most:
                break
            size = held[largest]
            total -= size
            self.meter.refuse("room")
            if largest.is_gone:
                dropped, dropped_bytes = dropped + 1, dropped_bytes + size
                self._drop(largest)
            else:
                largest.give_up(f"this connection has {size} bytes under way; all together may have {most}")
        if dropped:
            _log.warning(
                "what %d connections had under way as they went is dropped: %d bytes", dropped, dropped_bytes
            )

    def _drop_first(self) -> None:
        first = next(iter(self._gone.values()))
        _log.warning("what %s had under way as it went is dropped: %d bytes", first.address, first.held_bytes)
        self._drop(first)

    def _drop(self, gone: RedisConnection) -> None:
        gone.drop()
        self.note_ended(gone)

    def check_rate(self, connection: RedisConnection) -> None:
        if self._callers.are_none:
            return
        caller = self._clients.caller(connection.token, _host_of(connection))
        if wait_s := self._callers.take(caller):
            self.meter.refuse("rate")
            raise RedisError(f"RATELIMITED too many requests; the next one may come in {wait_s:.1f} s")

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall()

    async def _look_for_late(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now_s = self._clock.monotonic()
            for connection in self.connections():
                if why := connection.why_late(now_s):
                    connection.give_up(why)
            self._make_room()  # what a connection holds grows by more than what comes
            if self._give_back is not None and self._most_bytes - self._told_bytes > _WORTH_GIVING_BACK:
                self._most_bytes = self._told_bytes
                self._give_back()


def _host_of(connection: RedisConnection) -> str:
    return connection.address.rpartition(":")[0]
