"""The live page over HTTP: its files, a stream of what the cluster does, and a job with its attempts.

The page is one folder of plain files, without anything from elsewhere.  Whoever can open it gets the files;
all that is of the cluster is asked with the caller's token.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from importlib.resources import files
from typing import Final, cast

from aiohttp import web

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.http.bodies import json_answer
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.http.streams import EVENTS_TYPE, OpenStream, event_text, with_beats
from ringmill.client.gateway.http.table.http_route import HttpRoute
from ringmill.client.gateway.page.cluster_watcher import ClusterWatcher, PageMessage
from ringmill.client.gateway.page.live_view import job_view

__all__ = ["LivePage"]

TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY: Final = (
    "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
)
KEPT_WATCHERS: Final = 8
LOOKING_S: Final = 2.0
"""Between two signs of life, which page.js waits for."""


class LivePage:
    """What the page is, and what it asks for."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """`now_s` is the wall clock in seconds."""
        self._now_s = now_s
        self._watchers: dict[AsyncClient, ClusterWatcher] = {}
        self._files = _read_files()

    def routes(self) -> list[HttpRoute]:
        """Routes that are for the page alone, and are in no OpenAPI document."""
        return [
            HttpRoute("GET", "/", "getPage", "page", "The live page.", self._index, needs_cluster=False),
            HttpRoute("GET", "/page/live", "watchCluster", "page", "What the cluster does.", self._live),
            HttpRoute("GET", "/page/job/{job}", "getJobPicture", "page", "A job by slots.", self._job),
            HttpRoute(
                "GET", "/page/{name}", "getPageFile", "page", "A file.", self._file, needs_cluster=False
            ),
        ]

    async def aclose(self) -> None:
        """End all streams."""
        watchers, self._watchers = list(self._watchers.values()), {}
        await asyncio.gather(*(each.aclose() for each in watchers))

    async def _index(self, call: HttpCall) -> web.StreamResponse:
        """The page."""
        return self._answer(call, "index.html")

    async def _file(self, call: HttpCall) -> web.StreamResponse:
        """A file of the page."""
        return self._answer(call, call.path["name"])

    def _answer(self, call: HttpCall, name: str) -> web.StreamResponse:
        if name not in self._files:
            raise HttpRefusal(404, "NO_SUCH_PATH", f"the page has no file {name[:40]!r}")
        body, kind, tag = self._files[name]
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if call.request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def _live(self, call: HttpCall) -> web.StreamResponse:
        """What the cluster does, once a second, until the page is closed; comments while a look lasts."""
        call.slot.becomes_a_stream()
        stream = OpenStream(call, EVENTS_TYPE)
        async with aclosing(self._watcher(call.client).subscribe()) as messages:
            message = await anext(messages)  # it is there at once, so the watcher is in use before this waits
            await self._close_idle()
            if not await stream.begin():
                return await stream.end()
            await stream.write(event_text(message.kind, message.body))
            beats = cast(
                "AsyncGenerator[PageMessage | None, None]", with_beats(messages, LOOKING_S, call.ending)
            )
            async with aclosing(beats):
                async for each in beats:
                    text = b": looking\n\n" if each is None else event_text(each.kind, each.body)
                    await stream.write(text)
        return await stream.end()

    def _watcher(self, client: AsyncClient) -> ClusterWatcher:
        """The one that looks with this client's token."""
        found = self._watchers.get(client)
        if found is None:
            found = self._watchers[client] = ClusterWatcher(client, self._now_s)
        return found

    async def _close_idle(self) -> None:
        """What watchers saw is kept while they are few."""
        too_many = max(0, len(self._watchers) - KEPT_WATCHERS)
        idle = [client for client, each in self._watchers.items() if not each.has_lookers]
        closed = [self._watchers.pop(client) for client in idle[:too_many]]
        await asyncio.gather(*(each.aclose() for each in closed))

    async def _job(self, call: HttpCall) -> web.StreamResponse:
        """A job with a row for each slot, and the attempts that ran there."""
        return json_answer(job_view(*await call.client.jobs.state_and_attempts(call.named("job"))))


def _read_files() -> Mapping[str, tuple[bytes, str, str]]:
    """Bytes, type and tag of each file of the page, by name."""
    found = {}
    for each in files("ringmill.client.gateway.page").joinpath("files").iterdir():
        suffix = each.name[each.name.rfind(".") :]
        if suffix in TYPES:
            body = each.read_bytes()
            found[each.name] = (body, TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found
