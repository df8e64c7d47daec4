"""Answers that go on: what is told when they fail amid it, and what HEAD gets of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from ringmill.client.gateway.http.answers import change_streams, part_answers
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.http_admission import HttpAdmission, Slot
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.http.streams import EVENTS_TYPE, LINES_TYPE, OpenStream, event_text
from ringmill.client.gateway.http.table.http_route import HttpRoute
from ringmill.client.gateway.jobs.shown_parts import ShownParts
from ringmill.client.gateway.page.page_routes import LivePage
from ringmill.client.gateway.protection.caller_limits import SharedRoom
from ringmill.client.jobs.job_values import JobState
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.values import CausalContext, Item, PrefixChange
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Failing:
    """Routes whose answers fail when they have begun."""

    def routes(self) -> Sequence[HttpRoute]:
        """As `Pages.routes`."""
        return [
            HttpRoute("GET", f"/failing/{each.__name__}", each.__name__, "t", "t", each, needs_cluster=False)
            for each in (self.told, self.unexpected, self.short)
        ]

    async def told(self, call: HttpCall) -> web.StreamResponse:
        stream = OpenStream(call, LINES_TYPE)
        await stream.begin()
        await stream.write(b"first\n")
        raise CorruptData("the second is damaged")

    async def unexpected(self, call: HttpCall) -> web.StreamResponse:
        stream = OpenStream(call, LINES_TYPE)
        await stream.begin()
        await stream.write(b"first\n")
        raise KeyError("second")

    async def short(self, call: HttpCall) -> web.StreamResponse:
        stream = OpenStream(call, LINES_TYPE, 12)
        await stream.begin()
        await stream.write(b"first\n")
        return await stream.end()

    async def aclose(self) -> None:
        """As `Pages.aclose`."""


class Scanning:
    """A scan of two pages."""

    cursor = ""

    def __init__(self) -> None:
        self.pages = [[(b"k%d" % number, item(b"v"))] for number in range(2)]

    async def page(self) -> list[tuple[bytes, Item]]:
        return self.pages.pop(0) if self.pages else []


def item(value: bytes) -> Item:
    return Item((value,), CausalContext(b"c"), ("n1#1:1",), ttls=(None,))


async def changes(*_: Any, **__: Any) -> AsyncIterator[Any]:
    """A watch of which nothing comes."""
    await asyncio.sleep(600)
    yield SimpleNamespace()


async def spoken(caller: Caller, said: bytes) -> bytes:
    """All that comes until the door ends the connection."""
    host, _, port = caller.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await asyncio.wait_for(reader.read(1 << 16), 20):
            heard += part
    writer.close()
    return heard


@pytest.mark.parametrize("way", ["told", "unexpected", "short"])
async def test_an_answer_that_fails_amid_it_is_cut_off_and_holds_no_other_one(node: Node, way: str) -> None:
    async with http_door(node[1], [Failing()]) as caller:
        asked = f"GET /failing/{way} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        told = await spoken(caller, asked + HEALTH)
        assert told.count(b"HTTP/1.1 ") <= 1 and b"problem" not in told, told
        assert not told.endswith(b"0\r\n\r\n"), "it does not look whole"
        assert (await caller.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/kv/default", LINES_TYPE),
        ("/v1/kv/default", EVENTS_TYPE),
        ("/v1/kv/default/k", EVENTS_TYPE),
        ("/page/live", EVENTS_TYPE),
    ],
)
async def test_head_of_an_answer_that_goes_on_is_its_head_alone(
    node: Node, path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncKeyspace, "scan", lambda *_, **__: Scanning())
    monkeypatch.setattr(AsyncKeyspace, "watch", changes)
    monkeypatch.setattr(change_streams, "watch_of_prefix", changes)
    async with http_door(node[1], [LivePage(lambda: 1.0)]) as caller:
        head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {kind}\r\n\r\n".encode()
        first, _, rest = (await spoken(caller, head + HEALTH)).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ") and f"Content-Type: {kind}".encode() in first
    assert rest.startswith(b"HTTP/1.1 200 "), rest[:200]


async def test_a_scan_that_is_being_taken_counts_among_the_streams(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncKeyspace, "scan", lambda *_, **__: Scanning())
    async with http_door(node[1], admission=HttpAdmission(streams=SharedRoom(0, 0))) as caller:
        refused = await caller.ask("GET", "/v1/kv/default")
    assert (refused.status, refused.json["code"]) == (503, "BUSY")


def test_one_caller_has_a_share_of_the_streams_and_leaves_the_others_theirs() -> None:
    rooms = HttpAdmission(requests=SharedRoom(1, 1), streams=SharedRoom(4, 2))
    with ExitStack() as open_streams:
        for caller in ("address a", "address a", "address b"):
            open_streams.enter_context(Slot(rooms, caller)).becomes_a_stream()
        with Slot(rooms, "address a") as slot, pytest.raises(HttpRefusal, match="2 of one caller"):
            slot.becomes_a_stream()
        assert rooms.requests.taken == 0
    with Slot(rooms, "address a") as slot:
        slot.becomes_a_stream()
        slot.becomes_a_stream()
    assert all(rooms.streams.enter("address d") for _ in range(2)), "all are free again"


def test_an_event_has_no_line_end_that_some_reader_knows() -> None:
    told = event_text("change", {"key": "a\u2028b\u2029c\r\nd"}, "7").decode()
    assert told.count("\n") == 4 and len(told.splitlines()) == 4, told
    assert r"a\u2028b\u2029c" in told


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_part_whose_size_is_known_says_its_length(
    node: Node, method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "part-00000").write_bytes(b"a\t1\n")
    rows = {"parts": [{"name": "part-00000", "size": 4, "records": 1}]}
    (tmp_path / "_SUCCESS").write_text(json.dumps(rows))
    state = JobState("j", "j", "SUCCEEDED", "n1", str(tmp_path), 1.0, 0.0, (), (), 0, {}, {}, (), None)
    with closing(OsFileSystem()) as files:
        shown = ShownParts(files)

        async def asked(_: HttpCall) -> tuple[JobState, ShownParts]:
            return state, shown

        monkeypatch.setattr(part_answers, "_ask", asked)
        async with http_door(node[1]) as caller:
            told = await caller.ask(method, "/v1/jobs/j/output/part-00000")
    assert (told.status, told.headers.get("Content-Length")) == (200, "4")
    assert told.body == (b"a\t1\n" if method == "GET" else b"")


async def test_a_watch_from_now_has_an_id_before_its_first_event_and_goes_on_from_one_at_its_own_path(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    async def watched(
        _: AsyncKeyspace, prefix: bytes, opened: Callable[[str], None], **options: Any
    ) -> AsyncIterator[Any]:
        asked.append(options)
        if options.get("from_now"):
            opened("now")
        await asyncio.sleep(600)
        yield SimpleNamespace()

    monkeypatch.setattr(change_streams, "watch_of_prefix", watched)
    monkeypatch.setattr(change_streams, "FIRST_S", 0.01)
    async with http_door(node[1]) as caller:
        path, accepted = f"{caller.url}/v1/kv/default?prefix=a&from_now=true", {"Accept": EVENTS_TYPE}
        async with caller.session.get(path, headers=accepted) as first:
            assert [await first.content.readline() for _ in range(3)] == [
                b"id: now\n",
                b"\n",
                b": nothing new\n",
            ]
        async with caller.session.get(path, headers={**accepted, "Last-Event-ID": "now"}) as second:
            assert second.status == 200 and await second.content.readline() == b": nothing new\n"
    assert asked == [{"after": None, "from_now": True}, {"after": "now"}]


def test_an_event_whose_id_fits_into_no_header_has_none() -> None:
    def told(length: int) -> bytes:
        change = PrefixChange(b"k", item(b"v"), CausalContext(b"c"), "c" * length)
        return change_streams._event(change)

    assert told(7000).startswith(b"id: ccc") and told(7001).startswith(b"event: change\n")


@pytest.mark.parametrize(
    "given",
    [
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 9\r\nSec-WebSocket-Key: "
        "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
        "Sec-WebSocket-Protocol: spam",
    ],
    ids=["no Connection", "version", "key"],
)
async def test_a_bad_handshake_is_reported_and_fills_no_log(
    node: Node, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_door(node[1]) as caller:
        asked = f"GET /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n{given}\r\n\r\n"
        host, _, port = caller.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(asked.encode())
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        problem = json.loads(await asyncio.wait_for(reader.readline(), 20))
        writer.close()
    assert told.startswith(b"HTTP/1.1 400 ") and b"Sec-WebSocket-Version: 13" in told
    assert (problem["code"], problem["outcome"]) == ("BAD_HANDSHAKE", "failed")
    assert not caplog.records
