"""Pages of one token share one look at the cluster, however they are opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.page import page_routes
from ringmill.client.gateway.page.cluster_watcher import ClusterWatcher, PageMessage
from ringmill.client.gateway.page.page_routes import LivePage
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import OneNode


class Idle:
    """A watcher that nobody looks at, and that takes its time to end."""

    has_lookers = False

    def __init__(self) -> None:
        self.has_ended = False

    async def aclose(self) -> None:
        await asyncio.sleep(0.1)
        self.has_ended = True


async def history(caller: Caller) -> str:
    """What an opened page is told first."""
    async with caller.session.get(f"{caller.url}/page/live") as answer:
        assert answer.status == 200
        line = await asyncio.wait_for(answer.content.readline(), 20)
        await asyncio.sleep(0.2)  # it stays open while the others open
        return line.decode().strip()


async def test_pages_that_open_at_once_share_one_watcher(
    node: tuple[OneNode, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ClusterWatcher] = []

    class Counted(ClusterWatcher):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(page_routes, "ClusterWatcher", Counted)
    monkeypatch.setattr(page_routes, "KEPT_WATCHERS", 1)
    page, idle = LivePage(lambda: 1.0), Idle()
    page._watchers[cast("AsyncClient", object())] = cast("ClusterWatcher", idle)
    async with http_door(node[1], [page]) as caller:
        told = await asyncio.gather(*(history(caller) for _ in range(5)))
    assert told == ["event: history"] * 5
    assert len(made) == 1
    assert idle.has_ended, "no more than KEPT_WATCHERS are kept"


class Slow:
    """A watcher whose looks take their time."""

    has_lookers = True

    async def subscribe(self) -> AsyncIterator[PageMessage]:
        yield PageMessage("history", {})
        await asyncio.sleep(0.2)
        yield PageMessage("live", {})
        await asyncio.Event().wait()


async def written_to_a_page(call: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a page is told until its stream ends, which is told that the gateway stops after `live`."""
    written: list[bytes] = []

    class Stream:
        def __init__(self, *_: Any) -> None: ...

        async def begin(self) -> bool:
            return True

        async def write(self, data: bytes) -> None:
            written.append(data.partition(b"\n")[0])
            if data.startswith(b"event: live"):
                call.ending.set()

        async def end(self) -> list[bytes]:
            return written

    monkeypatch.setattr(page_routes, "OpenStream", Stream)
    page = LivePage(lambda: 1.0)
    page._watchers[call.client] = cast("ClusterWatcher", Slow())
    async with asyncio.timeout(10):
        await page._live(call)
    return written


async def test_a_page_has_signs_of_life_while_a_look_lasts_and_ends_with_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_routes, "LOOKING_S", 0.08)
    slot = SimpleNamespace(becomes_a_stream=lambda: None)
    call = SimpleNamespace(client=object(), slot=slot, ending=asyncio.Event())
    told = await written_to_a_page(call, monkeypatch)
    assert told[0] == b"event: history" and told[-1] == b"event: live"
    assert told[1:-1] and {*told[1:-1]} == {b": looking"}
    assert await written_to_a_page(call, monkeypatch) == [b"event: history"], "one that comes too late"
