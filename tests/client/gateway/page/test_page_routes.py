"""Pages of one token share one look at the cluster, however they are opened."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.page import page_routes
from ringmill.client.gateway.page.cluster_watcher import ClusterWatcher
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
