"""Clients of the cluster, one for each token that callers of the doors have shown.

What a caller may do is decided by the nodes (rule F8 in docs/protocol/requests.md): the gateway passes the
caller's token on, and a caller without one asks without one.  The gateway's own token is never lent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.protection.caller_limits import SharedRoom
from ringmill.cluster.errors import DeadlineExceeded, Overloaded, PermissionDenied, RingmillError, Unavailable

__all__ = ["ClientsByToken"]

MOST_TOKENS: Final = 64
MOST_OPENING: Final = 16  # connections with a token that is not known yet: strangers may try many
OPENING_OF_ONE: Final = 12
"""The most of these that one caller may have."""
AGAIN_S: Final = 1.0
LOOK_S: Final = 1.0


class ClientsByToken:
    """Opens a client at the first request with a token, and keeps those that were used last.

    One that is in use is not closed for a newer one: more than `most` are open when more are in use.
    """

    def __init__(self, connect: Callable[[str], AsyncClient], most: int = MOST_TOKENS) -> None:
        """`connect` makes a client whose requests have a token; "" makes one that shows none."""
        self._connect = connect
        self._most = most
        self._clients: OrderedDict[str, AsyncClient] = OrderedDict()
        self._opening: dict[str, asyncio.Task[AsyncClient]] = {}
        self._places = SharedRoom(MOST_OPENING, OPENING_OF_ONE)
        self._closing: set[asyncio.Task[None]] = set()
        self._users: dict[str, int] = {}
        self._is_closed = False

    @asynccontextmanager
    async def lend(self, token: str = "", caller: str = "") -> AsyncIterator[AsyncClient]:
        """The connected client for a token, which stays open within this block.  Raises as `client`."""
        client = await self.take(token, caller)
        try:
            yield client
        finally:
            self.give_back(token)

    async def take(self, token: str, caller: str = "") -> AsyncClient:
        """The connected client for a token, which stays open until `give_back`, to be called once."""
        self._users[token] = self._users.get(token, 0) + 1
        try:
            return await self.client(token, caller)
        except BaseException:
            self.give_back(token)
            raise

    def give_back(self, token: str) -> None:
        """One of those who use the client of this token has left."""
        self._users[token] -= 1
        if not self._users[token]:
            del self._users[token]
            self._close_unused()

    async def client(self, token: str = "", caller: str = "") -> AsyncClient:
        """The connected client for a token; "" for a caller who shows none.  It may be closed for a newer one
        at any time: `lend` and `take` give one that is not.  `caller` is whose share of the tries it takes.

        Raises PermissionDenied for a token that no node knows, Overloaded while many others are tried, and
        what connecting raises; the next call tries again.
        """
        if self._is_closed:
            raise Unavailable("the gateway is stopping")
        known = self._clients.get(token)
        if known is not None:
            self._clients.move_to_end(token)
            return known
        opening = self._opening.get(token)
        if opening is None:
            place = caller or f"token {token}"
            if token and not self._places.enter(place):
                raise Overloaded("the gateway tries other tokens now", detail={"retry_after": AGAIN_S})
            opening = self._opening[token] = asyncio.create_task(self._open(token))
            if token:
                opening.add_done_callback(lambda _: self._places.leave(place))
            opening.add_done_callback(partial(self._opened, token))
        return await asyncio.shield(opening)

    def knows(self, token: str) -> bool:
        """Whether there is a connected client for this token, so that nodes know it."""
        return token in self._clients

    async def aclose(self) -> None:
        """Close all clients; requests under way end with ClientClosed."""
        self._is_closed = True
        for opening in self._opening.values():
            opening.cancel()
        for client in self._clients.values():
            self._close_later(client)
        self._clients.clear()
        while waiting := [*self._opening.values(), *self._closing]:
            await asyncio.wait(waiting)

    async def _open(self, token: str) -> AsyncClient:
        try:
            return await self._connect(token).__aenter__()
        except (Unavailable, DeadlineExceeded) as error:
            # Nodes that do not know a token do not prove that they are nodes.  Others may just be down.
            is_refused = error.detail.get("proved") is False
            if token and is_refused and await self._answers_others():
                raise PermissionDenied(
                    "no node of the cluster knows this token",
                    detail={"token": "unknown"},
                    hint="`ringmill auth list` shows those that are issued",
                ) from error
            raise

    async def _answers_others(self) -> bool:
        """Whether the cluster answers a caller without a token now."""
        try:
            async with self.lend() as client:
                await client.status(timeout=LOOK_S)
        except RingmillError:
            return False
        return True

    def _opened(self, token: str, opening: asyncio.Task[AsyncClient]) -> None:
        del self._opening[token]
        if opening.cancelled() or opening.exception() is not None:
            return
        if self._is_closed:
            self._close_later(opening.result())
            return
        self._clients[token] = opening.result()
        self._close_unused()

    def _close_unused(self) -> None:
        """Close unused clients, the oldest first, when there are too many."""
        too_many = len(self._clients) - self._most
        if too_many <= 0:
            return
        newest = next(reversed(self._clients))
        unused = [token for token in self._clients if token not in self._users and token != newest]
        for token in unused[:too_many]:
            self._close_later(self._clients.pop(token))

    def _close_later(self, client: AsyncClient) -> None:
        closing = asyncio.create_task(client.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
