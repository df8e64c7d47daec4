"""The blocking twin: the same surface, each call waiting for its answer.

    with ringmill.Client("127.0.0.1:7101") as db:
        db.put("user:42", b"Ada")

A thread of its own runs the event loop; a call hands its coroutine over and waits.  The methods are made from
the async ones, so that there is one source for signatures, documentation and behaviour.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from client.arguments import Endpoints, Key, Level, Seconds
from client.connection import AsyncClient, connect
from client.job_values import JobState
from client.jobs import AsyncJobs
from client.kv import MISSING, AsyncKeyspace, Missing
from client.status import ClusterStatus
from client.values import Item
from cluster.ring.topology import Topology

__all__ = ["Client", "Jobs", "Keyspace"]

P = ParamSpec("P")
T = TypeVar("T")
Subject = TypeVar("Subject")
Subject_co = TypeVar("Subject_co", covariant=True)


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ringmill-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`; when the wait is interrupted (Ctrl-C), the work is cancelled."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Twin(Protocol[Subject_co]):
    """A blocking object beside the async one that it stands for."""

    @property
    def _subject(self) -> Subject_co: ...

    @property
    def _loop(self) -> _Loop: ...


def _blocking(
    method: Callable[Concatenate[Subject, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Twin[Subject], P], T]:
    """The same method, waiting for its result."""

    @functools.wraps(method)
    def wait(self: _Twin[Subject], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._subject, *args, **kwargs))

    return wait


class Keyspace:
    """One keyspace, blocking; see client/kv.py for what each method promises."""

    def __init__(self, subject: AsyncKeyspace, loop: _Loop) -> None:
        self._subject = subject
        self._loop = loop

    def __repr__(self) -> str:
        return f"<blocking {self._subject!r}>"

    @property
    def name(self) -> str:
        return self._subject.name

    put = _blocking(AsyncKeyspace.put)
    delete = _blocking(AsyncKeyspace.delete)
    locate = _blocking(AsyncKeyspace.locate)

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
        if isinstance(default, Missing):
            return self._loop.run(self._subject.get(key, r=r, timeout=timeout))
        return self._loop.run(self._subject.get(key, default, r=r, timeout=timeout))

    get.__doc__ = AsyncKeyspace.get.__doc__


class Jobs:
    """The jobs of a cluster, blocking; see client/jobs.py for what each method promises."""

    def __init__(self, subject: AsyncJobs, loop: _Loop) -> None:
        self._subject = subject
        self._loop = loop

    run = _blocking(AsyncJobs.run)
    submit = _blocking(AsyncJobs.submit)
    hand_over = _blocking(AsyncJobs.hand_over)
    status = _blocking(AsyncJobs.status)
    list = _blocking(AsyncJobs.list)
    logs = _blocking(AsyncJobs.logs)
    kill = _blocking(AsyncJobs.kill)

    def watch(self, job: str) -> Iterator[JobState]:
        states = self._subject.watch(job)
        while (state := self._loop.run(_next(states))) is not None:
            yield state

    watch.__doc__ = AsyncJobs.watch.__doc__


async def _next(states: AsyncIterator[JobState]) -> JobState | None:
    return await anext(states, None)


class Client(Keyspace):
    """A blocking client; `with` connects and closes it.  Safe to share between threads."""

    _subject: AsyncClient

    def __init__(
        self, endpoints: Endpoints, *, timeout: Seconds = 5.0, token: str = "", session: bool = True
    ) -> None:
        super().__init__(connect(endpoints, timeout=timeout, token=token, session=session), _Loop())

    def __enter__(self) -> Client:
        try:
            self._loop.run(self._subject.__aenter__())
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.run(self._subject.__aexit__(kind, error, trace))
        finally:
            self._loop.close()

    @property
    def topology(self) -> Topology:
        """The newest topology this client has met."""
        return self._subject.topology

    def keyspace(self, name: str) -> Keyspace:
        """The same surface over another keyspace.  Raises InvalidArgument listing those that exist."""
        return Keyspace(self._subject.keyspace(name), self._loop)

    @property
    def jobs(self) -> Jobs:
        """The jobs of the cluster."""
        return Jobs(self._subject.jobs, self._loop)

    def status(self, *, timeout: Seconds | None = None) -> ClusterStatus:
        """How the cluster is, as all members that answer see it.  Raises Unavailable when none does."""
        return self._loop.run(self._subject.status(timeout=timeout))
