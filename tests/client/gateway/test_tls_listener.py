"""TLS handshakes at the HTTP door are bounded in time and number; honest callers are answered meanwhile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringmill.client.cli.doors.http_arguments import tls_of_door
from ringmill.client.gateway.http import tls_listener
from ringmill.client.local.authority.authority import Authority
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import OneNode

Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """Of the door, and of a caller that trusts it."""
    authority = Authority(str(tmp_path_factory.mktemp("tls") / "ca"))
    authority.init("doors")
    authority.issue("n1", ["127.0.0.1"])
    files = authority.files
    trusting = ssl.create_default_context(cafile=str(Path(files.bundle)))
    return tls_of_door(files.certificate("n1"), files.key("n1")), trusting


@asynccontextmanager
async def silent(caller: Caller, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that begin no handshake."""
    host, _, port = caller.url.removeprefix("https://").partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def test_the_oldest_handshake_makes_room_for_the_newest(
    node: tuple[OneNode, str], contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "MOST_HANDSHAKES", 5)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 600.0)
    ours, theirs = contexts
    async with http_door(node[1], tls=ours) as caller, silent(caller, 30) as begun:
        for _ in range(3):
            assert (await caller.ask("GET", "/healthz", ssl=theirs)).status == 200
        for reader in begun[:25]:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        assert not any(reader.at_eof() for reader in begun[-3:])


async def test_a_handshake_that_stops_ends_and_costs_no_other_caller(
    node: tuple[OneNode, str], contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.2)
    ours, theirs = contexts
    async with http_door(node[1], tls=ours, most_connections=3) as caller, silent(caller, 10) as begun:
        for reader in begun:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        put = await caller.ask("PUT", "/v1/kv/default/tls", data=b"v", ssl=theirs)
        assert put.status == 200
        assert (await caller.ask("GET", "/v1/kv/default/tls", ssl=theirs)).body == b"v"
