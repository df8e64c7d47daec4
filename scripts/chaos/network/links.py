"""The links of a real cluster as something that can break: one TCP proxy before each node, on loopback.

The topology names the proxies, so that whoever talks to a node talks through its proxy.  Who dialled is seen
from the source port (diallers.py), so that each ordered pair of ends can be disturbed
by itself: the nodes, and CLIENTS, which is this process.  Bytes are held or delayed, never changed or
dropped: TCP would not let that through either.  What flows from `a` to `b` does so on connections that
either of them dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from chaos.network.diallers import Diallers

__all__ = ["CLIENTS", "LinkFault", "Links", "Way", "both_ways"]

CLIENTS = "clients"
HOST = "127.0.0.1"
CHUNK = 64 * 1024

Way = tuple[str, str]
"""From, to."""


@dataclass(frozen=True, eq=False, slots=True)
class LinkFault:
    """What is wrong with some ways for a while.

    cut: connections are reset and refused; hold: bytes wait; delay: each chunk waits `delay_s`.
    """

    kind: Literal["cut", "hold", "delay"]
    ways: frozenset[Way]
    delay_s: float = 0.0


@dataclass(eq=False, slots=True)
class _Connection:
    """One connection through a proxy: two halves."""

    dialler: str
    target: str
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]

    def runs_along(self, ways: frozenset[Way]) -> bool:
        return (self.dialler, self.target) in ways or (self.target, self.dialler) in ways

    def reset(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Links:
    """The proxies.  `async with` owns their servers and connections.

    `ports` maps each node to (the port it listens on, the port of its proxy); `pids` tells which processes
    run now.
    """

    def __init__(self, ports: Mapping[str, tuple[int, int]], pids: Callable[[], Mapping[str, int]]) -> None:
        self._ports = ports
        self._diallers = Diallers(pids, CLIENTS)
        self._faults: list[LinkFault] = []
        self._changed = asyncio.Condition()
        self._connections: dict[_Connection, None] = {}
        self._servers: list[asyncio.Server] = []
        self.accepted = 0

    async def __aenter__(self) -> Links:
        for node, (_, port) in self._ports.items():
            self._servers.append(await asyncio.start_server(self._serving(node), HOST, port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.reset()
        while self._connections:  # noqa: ASYNC110 - their tasks end as soon as they see the reset
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def disturbed(self, fault: LinkFault) -> AsyncIterator[None]:
        """Have it for the time of the block."""
        self._faults.append(fault)
        if fault.kind == "cut":
            for connection in list(self._connections):
                if connection.runs_along(fault.ways):
                    connection.reset()
        try:
            yield
        finally:
            self._faults.remove(fault)
            async with self._changed:
                self._changed.notify_all()

    def _serving(
        self, target: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], asyncio.Future[None]]:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> asyncio.Future[None]:
            return asyncio.ensure_future(self._connect(target, reader, writer))

        return serve

    async def _connect(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        port, proxy = self._ports[target]
        dialler = await self._diallers.who(writer.get_extra_info("peername")[1], proxy)
        if self._is_cut((dialler, target)):
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(dialler, target, (writer, far_writer))
        self._connections[connection] = None
        try:
            await self._carry_both(connection, reader, far_reader)
        finally:
            connection.reset()
            del self._connections[connection]

    async def _carry_both(
        self, connection: _Connection, near: asyncio.StreamReader, far: asyncio.StreamReader
    ) -> None:
        """Until either half ends; a connection that ends on one side ends on the other."""
        dialler, target, (back, there) = connection.dialler, connection.target, connection.writers
        halves = [
            asyncio.ensure_future(self._carry(near, there, (dialler, target))),
            asyncio.ensure_future(self._carry(far, back, (target, dialler))),
        ]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay_s(way))
                async with self._changed:
                    await self._changed.wait_for(lambda: not self._is_held(way))
                writer.write(data)
                await writer.drain()

    def _is_cut(self, way: Way) -> bool:
        back = (way[1], way[0])
        return any(
            fault.kind == "cut" and (way in fault.ways or back in fault.ways) for fault in self._faults
        )

    def _is_held(self, way: Way) -> bool:
        return any(fault.kind == "hold" and way in fault.ways for fault in self._faults)

    def _delay_s(self, way: Way) -> float:
        return sum(fault.delay_s for fault in self._faults if fault.kind == "delay" and way in fault.ways)


def both_ways(pairs: Iterable[Way]) -> frozenset[Way]:
    """The pairs and their reverses."""
    return frozenset(way for a, b in pairs for way in ((a, b), (b, a)))
