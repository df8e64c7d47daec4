"""Clients of the cluster, one for each token that callers of the doors have shown.

What a caller may do is decided by the nodes (rule F8 in docs/protocol/requests.md): the gateway passes the
caller's token on, and a caller without one asks without one.  The gateway's own token is never lent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.cluster.errors import Unavailable

__all__ = ["ClientsByToken"]

MOST_TOKENS: Final = 64


class ClientsByToken:
    """Opens a client at the first request with a token, and keeps those that were used last."""

    def __init__(self, connect: Callable[[str], AsyncClient], most: int = MOST_TOKENS) -> None:
        """`connect` makes a client whose requests have a token; "" makes one that shows none."""
        self._connect = connect
        self._most = most
        self._clients: OrderedDict[str, asyncio.Task[AsyncClient]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def client(self, token: str = "") -> AsyncClient:
        """The connected client for a token; "" for a caller who shows none.

        Raises what connecting raises; the next call tries again.
        """
        if self._is_closed:
            raise Unavailable("the gateway is stopping")
        opening = self._clients.get(token)
        if opening is None:
            opening = self._clients[token] = asyncio.create_task(self._open(token))
            self._drop_oldest()
        self._clients.move_to_end(token)
        try:
            return await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._clients.get(token) is opening and not _is_open(opening):
                del self._clients[token]
            raise

    async def aclose(self) -> None:
        """Close all clients; requests under way end with ClientClosed."""
        self._is_closed = True
        for opening in self._clients.values():
            self._close_later(opening)
        self._clients.clear()
        while self._closing:
            await asyncio.wait(self._closing)

    async def _open(self, token: str) -> AsyncClient:
        return await self._connect(token).__aenter__()

    def _drop_oldest(self) -> None:
        while len(self._clients) > self._most:
            _, oldest = self._clients.popitem(last=False)
            self._close_later(oldest)

    def _close_later(self, opening: asyncio.Task[AsyncClient]) -> None:
        closing = asyncio.create_task(_close(opening))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _is_open(opening: asyncio.Task[AsyncClient]) -> bool:
    return not opening.cancelled() and opening.exception() is None


async def _close(opening: asyncio.Task[AsyncClient]) -> None:
    await asyncio.wait([opening])
    if _is_open(opening):
        await opening.result().aclose()
