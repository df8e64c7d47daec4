"""The blocking client: the same methods as the async one, but each call waits for its answer.

    with ringmill.Client("127.0.0.1:7101") as db:
        db.put("user:42", b"Ada")

A thread of its own runs the event loop.  A call passes its coroutine to that thread and waits until shortly
after its deadline at the latest.  The methods are generated from the async ones, their one source.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

from ringmill.client.administration.hot_view import HotView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.arguments import (
    ContextLike,
    Endpoints,
    Key,
    Level,
    Seconds,
    checked_session_token,
    checked_timeout_s,
)
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.jobs.job_modules import LoadedJob, Target
from ringmill.client.jobs.job_packing import loaded_here
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.kv_requests import MISSING, ManyPutsSettings, Missing
from ringmill.client.many_keys import Pairs, checked_keys, checked_pairs
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.client.routing.balancing import BalanceName
from ringmill.client.scans.async_scan import ScanSettings
from ringmill.client.scans.blocking_scan import Scan
from ringmill.client.twins.blocking_administration import Auth, Keyspaces, Members, Ring
from ringmill.client.twins.blocking_mergeables import Counters, Maps, Sets
from ringmill.client.twins.blocking_pipeline import Pipeline
from ringmill.client.twins.blocking_sessions import Session
from ringmill.client.twins.blocking_twins import blocking, timed, waiting_limit_s
from ringmill.client.twins.loop_thread import LoopThread
from ringmill.client.values import Item, KeyChange, PrefixChange, Receipt
from ringmill.client.watches.polling import PATIENCE_S
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import ClientClosed, RingmillError
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.wire.offers import CarrierName

__all__ = ["Client", "Jobs", "Keyspace", "Lease", "Registers"]

CLOSE_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class Keyspace:
    """One keyspace, blocking; see client/kv.py for what each method promises."""

    def __init__(self, subject: AsyncKeyspace, loop: LoopThread, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<blocking {self._subject!r}>"

    @property
    def name(self) -> str:
        return self._subject.name

    put = timed(AsyncKeyspace.put)
    delete = timed(AsyncKeyspace.delete)
    touch = timed(AsyncKeyspace.touch)
    locate = timed(AsyncKeyspace.locate)
    explain = timed(AsyncKeyspace.explain)

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

    get.__doc__ = AsyncKeyspace.get.__doc__

    def mget(
        self, keys: Iterable[Key], *, r: Level | None = None, timeout: Seconds | None = None
    ) -> list[Item | RingmillError | None]:
        # In this thread, as a generator of the user's may call this client.
        checked = list(checked_keys(keys))
        return self._loop.run(self._subject.mget(checked, r=r, timeout=timeout))

    mget.__doc__ = AsyncKeyspace.mget.__doc__

    def mput(
        self,
        pairs: Pairs,
        **settings: Unpack[ManyPutsSettings],
    ) -> list[Receipt | RingmillError]:
        checked = list(checked_pairs(pairs))
        return self._loop.run(self._subject.mput(checked, **settings))

    mput.__doc__ = AsyncKeyspace.mput.__doc__

    def watch(
        self,
        key: Key,
        *,
        after: ContextLike | None = None,
        r: Level | None = None,
        patience: Seconds = PATIENCE_S,
    ) -> Iterator[KeyChange]:
        return self._changes(self._subject.watch(key, after=after, r=r, patience=patience))

    watch.__doc__ = AsyncKeyspace.watch.__doc__

    def watch_prefix(
        self,
        prefix: Key,
        *,
        after: str | None = None,
        from_now: bool = False,
        r: Level | None = None,
        patience: Seconds = PATIENCE_S,
    ) -> Iterator[PrefixChange]:
        return self._changes(
            self._subject.watch_prefix(prefix, after=after, from_now=from_now, r=r, patience=patience)
        )

    watch_prefix.__doc__ = AsyncKeyspace.watch_prefix.__doc__

    def _changes(self, changes: AsyncIterator[T]) -> Iterator[T]:
        while (change := self._loop.run(_next(changes))) is not None:
            yield change

    def scan(self, **settings: Unpack[ScanSettings]) -> Scan:
        return Scan(self._subject.scan(**settings), self._loop)

    scan.__doc__ = AsyncKeyspace.scan.__doc__

    def pipeline(self) -> Pipeline:
        """A queue of puts, gets and deletes that answer through futures and are sent together.

        Use it with `with`.  Threads may share it.
        """
        return Pipeline(self._subject.pipeline(), self._loop)


class Registers:
    """The registers of a cluster, blocking, as client/registers/registers.py promises."""

    def __init__(self, subject: AsyncRegisters, loop: LoopThread, timeout_s: float) -> None:
        self._subject = subject
        self._loop = loop
        self._timeout_s = timeout_s

    get = timed(AsyncRegisters.get)
    explain = timed(AsyncRegisters.explain)
    cas = timed(AsyncRegisters.cas)
    incr = timed(AsyncRegisters.incr)

    def keyspace(self, name: str) -> Registers:
        return Registers(self._subject.keyspace(name), self._loop, self._timeout_s)

    keyspace.__doc__ = AsyncRegisters.keyspace.__doc__

    def lease(self, key: Key, *, duration: Seconds = 6.0, owner: str = "") -> Lease:
        return Lease(self._subject.lease(key, duration=duration, owner=owner), self._loop)

    lease.__doc__ = AsyncRegisters.lease.__doc__


class Lease:
    """A lease, blocking; see cluster/consensus/leases.py.  The client's own thread renews it."""

    def __init__(self, subject: AsyncLease, loop: LoopThread) -> None:
        self._subject = subject
        self._loop = loop

    @property
    def term(self) -> int:
        return self._subject.term

    @property
    def is_held(self) -> bool:
        """Whether this client may act as the holder now."""
        return self._subject.is_held

    @property
    def left_s(self) -> float:
        """For how many seconds from now this client may act as the holder, if no renewal succeeds."""
        return self._subject.left_s

    acquire = blocking(AsyncLease.acquire)
    release = blocking(AsyncLease.release)

    def check(self) -> int:
        return self._subject.check()

    check.__doc__ = AsyncLease.check.__doc__

    def __enter__(self) -> Lease:
        try:
            self.acquire()
        except Exception:
            raise
        except BaseException:  # Ctrl-C, perhaps when it was acquired: nobody would release it
            with suppress(ClientClosed):
                self._loop.call(self._subject.abandon)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _loading(
    method: Callable[Concatenate[AsyncJobs, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Jobs, P], T]:
    """The blocking form of a method of jobs that takes one: it is imported in the caller's thread, as the
    client's own one serves all others meanwhile."""

    @functools.wraps(method)
    def wait_for(self: Jobs, /, *args: P.args, **kwargs: P.kwargs) -> T:
        given: list[Any] = [*args]
        if given:
            given[0] = _loaded(self._subject, given[0])
        elif "target" in kwargs:
            kwargs["target"] = _loaded(self._subject, cast("Target", kwargs["target"]))
        work: Coroutine[Any, Any, T] = cast("Any", method)(self._subject, *given, **kwargs)
        return self._loop.run(work)

    return wait_for


class Jobs:
    """The jobs of a cluster, blocking; see client/jobs/jobs.py for what each method promises."""

    def __init__(self, subject: AsyncJobs, loop: LoopThread) -> None:
        self._subject = subject
        self._loop = loop

    run = _loading(AsyncJobs.run)
    submit = _loading(AsyncJobs.submit)
    hand_over = blocking(AsyncJobs.hand_over)
    status = blocking(AsyncJobs.status)
    list = blocking(AsyncJobs.list)
    logs = blocking(AsyncJobs.logs)
    attempts = blocking(AsyncJobs.attempts)
    state_and_attempts = blocking(AsyncJobs.state_and_attempts)
    map_task = blocking(AsyncJobs.map_task)
    explain = blocking(AsyncJobs.explain)
    kill = blocking(AsyncJobs.kill)
    pause = blocking(AsyncJobs.pause)
    resume = blocking(AsyncJobs.resume)
    purge = blocking(AsyncJobs.purge)
    coordinator = blocking(AsyncJobs.coordinator)
    handover = blocking(AsyncJobs.handover)

    def watch(self, job: str) -> Iterator[JobState]:
        states = self._subject.watch(job)
        while (state := self._loop.run(_next(states))) is not None:
            yield state

    watch.__doc__ = AsyncJobs.watch.__doc__


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


class Client(Keyspace):
    """A blocking client; `with`, or `close`, ends it.  Threads may share it, processes may not."""

    _subject: AsyncClient

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        timeout: Seconds = 5.0,
        token: str = "",
        session: bool = True,
        transport: CarrierName = "grpc",
        tls_ca: str = "",
        tls_cert: str = "",
        tls_key: str = "",
        balance: BalanceName = "hash",
    ) -> None:
        subject = connect(
            endpoints, timeout=timeout, token=token, session=session, transport=transport,
            tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, balance=balance,
        )  # fmt: skip
        super().__init__(subject, LoopThread(subject.aclose), checked_timeout_s(timeout))

    def __enter__(self) -> Client:
        try:
            self._loop.run(self._subject.__aenter__(), waiting_limit_s(self._timeout_s, None))
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; calling it again does nothing.

        Calls in progress in other threads raise ClientClosed, a kind of Unavailable, with outcome "unknown"
        for a write that was sent and "failed" otherwise.  All later calls raise it, too.
        """
        try:
            self._loop.run(self._subject.aclose(), CLOSE_S)
        except ClientClosed:
            return
        finally:
            self._loop.close()

    @property
    def topology(self) -> Topology:
        """The newest topology that this client has received."""
        return self._subject.topology

    def keyspace(self, name: str) -> Keyspace:
        """The methods of this client for another keyspace.

        Requests to one that does not exist raise InvalidArgument, which lists those that do.
        """
        return Keyspace(self._subject.keyspace(name), self._loop, self._timeout_s)

    def session(self, *, token: bytes | None = None) -> Session:
        if token is not None:
            checked_session_token(token)
        self._loop.run(_connect(self._subject, self._timeout_s), waiting_limit_s(self._timeout_s, None))
        return Session(self._subject.session(token=token), self._loop, self._timeout_s)

    session.__doc__ = AsyncClient.session.__doc__

    @property
    def keyspaces(self) -> Keyspaces:
        """Makes, changes, drops and lists keyspaces."""
        return Keyspaces(self._subject.keyspaces, self._loop, self._timeout_s)

    @property
    def auth(self) -> Auth:
        """Issues, lists and revokes tokens of clients.  It needs the role admin."""
        return Auth(self._subject.auth, self._loop, self._timeout_s)

    @property
    def members(self) -> Members:
        """Adds, removes and replaces members, and goes on without lost ones."""
        return Members(self._subject.members, self._loop, self._timeout_s)

    @property
    def ring(self) -> Ring:
        """Shows who owns what, and what a change of the members would move."""
        return Ring(self._subject.ring, self._loop, self._timeout_s)

    def counters(self, name: str) -> Counters:
        return Counters(self._subject.counters(name), self._loop, self._timeout_s)

    counters.__doc__ = AsyncClient.counters.__doc__

    def sets(self, name: str) -> Sets:
        return Sets(self._subject.sets(name), self._loop, self._timeout_s)

    sets.__doc__ = AsyncClient.sets.__doc__

    def maps(self, name: str) -> Maps:
        return Maps(self._subject.maps(name), self._loop, self._timeout_s)

    maps.__doc__ = AsyncClient.maps.__doc__

    @property
    def registers(self) -> Registers:
        """Values that change by compare-and-set."""
        return Registers(self._subject.registers, self._loop, self._timeout_s)

    @property
    def jobs(self) -> Jobs:
        """The jobs of the cluster."""
        return Jobs(self._subject.jobs, self._loop)

    def status(self, *, timeout: Seconds | None = None) -> ClusterStatus:
        """The state of the cluster as seen by all members that answer.

        Raises Unavailable when none answers.
        """
        return self._loop.run(
            self._subject.status(timeout=timeout), waiting_limit_s(self._timeout_s, timeout)
        )

    def hot(self, *, status: ClusterStatus | None = None, timeout: Seconds | None = None) -> HotView:
        asking = self._subject.hot(status=status, timeout=timeout)
        return self._loop.run(asking, waiting_limit_s(self._timeout_s, timeout))

    hot.__doc__ = AsyncClient.hot.__doc__

    def metrics(self, *, timeout: Seconds | None = None) -> Mapping[str, NodeMetrics]:
        return self._loop.run(
            self._subject.metrics(timeout=timeout), waiting_limit_s(self._timeout_s, timeout)
        )

    metrics.__doc__ = AsyncClient.metrics.__doc__


def _loaded(subject: AsyncJobs, target: Target) -> LoadedJob:
    subject._directory.lifetime.check_open()
    return loaded_here(target, subject._files)


async def _connect(subject: AsyncClient, timeout_s: float) -> None:
    """Learn the cluster, unless an earlier request has."""
    subject._directory.lifetime.check()
    if subject._directory.topology is None:
        await subject._directory.learn(timeout_s)
