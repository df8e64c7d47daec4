"""A connection that was accepted is closed by its peer's name, and no other."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from ringmill.cluster.adapters.network.closed_connections import close_connections


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", "ipv4:127.0.0.1"), ("::1", "ipv6:" + quote("[::1]"))]
)
async def test_a_connection_is_closed_by_its_peer(host: str, name: str) -> None:
    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    try:
        server = await asyncio.start_server(keep, host, 0)
    except OSError:
        pytest.skip(f"{host} is not of this machine")
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(host, port)
        other, others = await asyncio.open_connection(host, port)
        peer = f"{name}:{writer.get_extra_info('sockname')[1]}"
        await close_connections(port + 1, {peer})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.05)
        await close_connections(port, {peer})
        assert await reader.read() == b""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.read(), 0.05)
        writer.close()
        others.close()
