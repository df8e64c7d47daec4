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
from hashlib import sha256
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.protection.shared_turns import SharedTurns
from ringmill.cluster.errors import DeadlineExceeded, Overloaded, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ring.access.access_entries import MAX_TOKENS

__all__ = ["ClientsByToken"]

MOST_TOKENS: Final = MAX_TOKENS
MOST_OPENING: Final = 16  # connections with a token that is not known yet: strangers may try many
OPENING_OF_ONE: Final = 12
"""The most of these that one caller may have.  Tokens that nodes have confirmed have others."""
WAIT_S: Final = 5.0
"""The longest wait for a place among the connections that are being opened."""
MOST_WAITING: Final = 256
AGAIN_S: Final = 1.0
LOOK_S: Final = 1.0
KNOWN_S: Final = 600.0
"""How long a token stays known after its last use, when its client was closed."""
MOST_KNOWN: Final = 1024
_ANY_KEY: Final = b"gateway/token"


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
        self._strangers = SharedTurns(MOST_OPENING, OPENING_OF_ONE)
        self._reopening = SharedTurns(MOST_OPENING, MOST_OPENING)
        self._known: OrderedDict[bytes, float] = OrderedDict()  # with when it was used last, by its hash
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

        Raises PermissionDenied for a token that opens nothing, Overloaded when many others are tried for too
        long, and what connecting raises; the next call tries again.
        """
        if self._is_closed:
            raise Unavailable("the gateway is stopping")
        known = self._clients.get(token)
        if known is not None:
            self._clients.move_to_end(token)
            if token:
                if (place := _hash_of(token)) not in self._known:
                    await self._confirm(known)  # nodes said that it is over, perhaps by a wrong clock
                self._note(place)
            return known
        opening = self._opening.get(token)
        if opening is None:
            work = self._open_in_turn(token, caller or f"token {token}") if token else self._open(token)
            opening = self._opening[token] = asyncio.create_task(work)
            opening.add_done_callback(partial(self._opened, token))
        return await asyncio.shield(opening)

    def knows(self, token: str) -> bool:
        """Whether nodes have confirmed this token, and it is in use, or was not long ago."""
        used_s = self._known.get(_hash_of(token))
        if used_s is None:
            return False
        return token in self._clients or asyncio.get_running_loop().time() - used_s < KNOWN_S

    @property
    def open_count(self) -> int:
        """How many clients are open."""
        return len(self._clients)

    async def confirm(self, token: str, caller: str) -> None:
        """Have the nodes say that a token is in force; where none answers, one that they have confirmed is.

        Raises PermissionDenied for one that is not, and what connecting raises.
        """
        was_known = self.knows(token)
        async with self.lend(token, caller) as client:
            if not was_known:
                return  # it was confirmed just now, to be lent
            try:
                await self._confirm(client)
            except PermissionDenied:
                self.forget(token)
                raise

    def caller(self, token: str, address: str) -> str:
        """Whose share of a gateway's limits a request takes: a token's that nodes have confirmed, else an
        address's, as a token that nobody has confirmed may be made up."""
        return f"token {token}" if token and self.knows(token) else f"address {address}"

    def forget(self, token: str) -> None:
        """Nodes say that this token is over: it is a stranger's from now on."""
        self._known.pop(_hash_of(token), None)

    def _note(self, place: bytes) -> None:
        self._known[place] = asyncio.get_running_loop().time()
        self._known.move_to_end(place)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

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

    async def _open_in_turn(self, token: str, caller: str) -> AsyncClient:
        """Strangers wait for each other, and tokens that are known for each other."""
        turns = self._reopening if self.knows(token) else self._strangers
        is_taken = turns.take_at_once(caller) or (
            turns.waiting < MOST_WAITING and await turns.take(caller, WAIT_S)
        )
        if not is_taken:
            raise Overloaded("the gateway tries other tokens now", detail={"retry_after": AGAIN_S})
        try:
            client = await self._open(token)
            try:
                await self._confirm(client)
            except BaseException:
                self._close_later(client)
                raise
            self._note(_hash_of(token))
            return client
        finally:
            turns.leave(caller)

    async def _confirm(self, client: AsyncClient) -> None:
        """Raises PermissionDenied for a token that is over: a client connects with it, as with none."""
        try:
            async with asyncio.timeout(LOOK_S):
                await client.registers.get(_ANY_KEY)
        except PermissionDenied:
            raise
        except (RingmillError, TimeoutError):
            return  # the nodes have something else to say, so its requests may ask

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


def _hash_of(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
