"""A session of the blocking client: each method of client/sessions/sessions.py waits for its answer."""

from __future__ import annotations

from typing import TypeVar, overload

from ringmill.client.arguments import Key, Level, Seconds
from ringmill.client.kv_requests import MISSING, Missing
from ringmill.client.sessions.sessions import AsyncSession, AsyncSessionKeyspace
from ringmill.client.twins.blocking_twins import WaitingLoop, timed, waiting_limit_s
from ringmill.client.values import Item

__all__ = ["Session", "SessionKeyspace"]

T = TypeVar("T")


class SessionKeyspace:
    """One keyspace under a session, blocking."""

    def __init__(self, subject: AsyncSessionKeyspace, loop: WaitingLoop, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """The name of the keyspace."""
        return self._subject.name

    put = timed(AsyncSessionKeyspace.put)
    delete = timed(AsyncSessionKeyspace.delete)
    touch = timed(AsyncSessionKeyspace.touch)

    @overload
    def get(self, key: Key, *, r: Level | None = None, timeout: Seconds | None = None) -> Item: ...

    @overload
    def get(
        self, key: Key, default: T, *, r: Level | None = None, timeout: Seconds | None = None
    ) -> Item | T: ...

    def get(
        self,
        key: Key,
        default: T | Missing = MISSING,
        *,
        r: Level | None = None,
        timeout: Seconds | None = None,
    ) -> Item | T:
        limit_s = waiting_limit_s(self._timeout_s, timeout)
        if isinstance(default, Missing):
            return self._loop.run(self._subject.get(key, r=r, timeout=timeout), limit_s)
        return self._loop.run(self._subject.get(key, default, r=r, timeout=timeout), limit_s)

    get.__doc__ = AsyncSessionKeyspace.get.__doc__


class Session(SessionKeyspace):
    """A session, blocking; use it with `with`.  Threads may share it."""

    def __init__(self, subject: AsyncSession, loop: WaitingLoop, timeout_s: float) -> None:
        super().__init__(subject, loop, timeout_s)
        self._session = subject

    def __enter__(self) -> Session:
        self._loop.run(self._session.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._session.__aexit__())

    def keyspace(self, name: str) -> SessionKeyspace:
        return SessionKeyspace(self._session.keyspace(name), self._loop, self._timeout_s)

    keyspace.__doc__ = AsyncSession.keyspace.__doc__

    def token(self) -> bytes:
        return self._loop.run(self._token())

    token.__doc__ = AsyncSession.token.__doc__

    async def _token(self) -> bytes:
        """Encode it in the client's own thread, which alone changes what the session has seen."""
        return self._session.token()
