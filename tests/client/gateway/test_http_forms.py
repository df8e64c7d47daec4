"""The form of an answer: gzip for those who take it, and a stream for those who want it most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from ringmill.client.gateway.http.call import takes_gzip
from ringmill.client.kv import AsyncKeyspace
from tests.client.gateway.http_world import http_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
JSON = "application/json"


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False), ("gzip", True), ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False), ("gzip; q=0.0", False),
        ("*", True), ("*;q=0", False), ("gzip;q=0, *", False), ("identity", False), ("x-gzip", True),
        ("identity;q=1, gzip;q=0.5", False), ("identity;q=0.5, gzip", True), ("gzip;q=x", False),
        ("notgzip", False),
    ],
)  # fmt: skip
def test_gzip_is_for_those_who_take_it(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes


async def test_an_answer_that_is_compressed_is_another_one_to_caches(node: Node) -> None:
    node[0].values[b"long"] = [b"v" * 2000]
    path = "/v1/kv/default/long"
    async with http_door(node[1]) as caller, aiohttp.ClientSession(auto_decompress=False) as session:
        caller.session = session
        told = {
            coding: await caller.ask("GET", path, headers={"Accept": JSON, "Accept-Encoding": coding})
            for coding in ("gzip", "gzip;q=0")
        }
        for each in told.values():
            assert each.headers["Vary"] == "Accept, Accept-Encoding"
        packed, plain = told["gzip"], told["gzip;q=0"]
        assert packed.headers["Content-Encoding"] == "gzip" and packed.body[:2] == b"\x1f\x8b"
        assert "Content-Encoding" not in plain.headers and plain.json["value"] == "v" * 2000
        assert (packed.headers["ETag"], plain.headers["ETag"]) == ('W/"AQ"', '"AQ"')
        for each in told.values():
            again = {"Accept": JSON, "If-None-Match": each.headers["ETag"]}
            known = await caller.ask("GET", path, headers=again)
            assert (known.status, known.headers["Vary"]) == (304, "Accept, Accept-Encoding")
        over = {"If-Match": packed.headers["ETag"]}
        assert (await caller.ask("PUT", path, data=b"w", headers=over)).status == 200


async def changes(*_: Any, **__: Any) -> AsyncIterator[Any]:
    """A watch of which nothing comes."""
    await asyncio.sleep(600)
    yield SimpleNamespace()


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ("application/json, text/event-stream;q=0.1", JSON),
        ("text/event-stream;q=0.1, */*", "application/octet-stream"),
        ("*/*", "application/octet-stream"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, */*;q=0.5", "text/event-stream"),
        ("text/html, text/event-stream;q=0.1", "text/event-stream"),
    ],
)
async def test_a_watch_is_for_those_who_want_no_other_form_more(
    node: Node, accepted: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncKeyspace, "watch", changes)
    node[0].values[b"k"] = [b"v"]
    async with http_door(node[1]) as caller:
        asked = caller.session.get(f"{caller.url}/v1/kv/default/k", headers={"Accept": accepted})
        async with asked as answer:
            assert (answer.status, answer.content_type) == (200, kind)
