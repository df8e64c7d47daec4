"""A lease that a client or a node holds: acquired, renewed in the background, released.

    async with db.registers.lease("reports", duration=6) as lease:
        while lease.is_held:
            await write_report(fencing=lease.term)

At most one holder believes in a lease at a time (rule R6), as long as clocks run at the same speed within
30 %.  Its holder may still be stopped between a look at `is_held` and what it does next, so whatever it does
has to carry the term, and whoever takes that has to refuse a lower term than it has seen.
Rules: docs/protocol/registers.md.
"""

from __future__ import annotations

import asyncio
import numbers
from contextlib import suppress
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Final, Protocol

from ringmill.cluster.consensus.lease import (
    LeaseRecord,
    LeaseWatch,
    decode_lease,
    encode_lease,
    held_until,
)
from ringmill.cluster.errors import (
    ClientClosed,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ports import Clock, Entropy

__all__ = ["AsyncLease", "LeaseRegister"]

_RENEWALS: Final = 3  # within the duration
_LOOKS: Final = 6
_SHORTEST_PAUSE_S: Final = 0.05
_ONE_TRY_S: Final = 1.0  # for each request of who waits no longer, or less
_LONGEST_WAIT_S: Final = 30 * 86400.0
_TERMS_LEFT_OUT: Final = 10**9  # more than holders there can have been that one node has not heard of


class _Seen(Protocol):
    @property
    def value(self) -> bytes | None: ...

    @property
    def version(self) -> int: ...


class LeaseRegister(Protocol):
    """What a lease asks of its register (client/registers/registers.py, node/jobs/journal/cells.py)."""

    async def get(self, *, timeout: float) -> _Seen: ...

    async def set(self, value: bytes, version: int, *, timeout: float) -> int: ...


class AsyncLease:
    """One claim on a lease.  `async with` waits until it is acquired, and releases it at the end.

    `term` is the fencing number, 0 before it was acquired.  It is for one use: two that share one would both
    hold it, with one term.
    """

    def __init__(
        self,
        name: str,
        register: LeaseRegister,
        *,
        owner: str,
        duration_s: float,
        clock: Clock,
        entropy: Entropy,
        former_term: int = 0,
    ) -> None:
        """`former_term`: of a holder that there was, should the register have been lost since.  Later ones
        that others know of are left out then, too (rule J29)."""
        self.name = name
        self._former_term = former_term
        self.term = 0
        self.lost = asyncio.Event()
        """Set when this client may no longer act as the holder, for whatever reason."""
        self._register = register
        self._holder = f"{owner}/{entropy.random_bytes('lease', 8).hex()}"  # nobody else renews it
        self._duration_s = duration_s
        self._clock = clock
        self._until = 0.0
        self._version = 0
        self._record = LeaseRecord(self._holder, 0, 0, round(duration_s * 1000))
        self._renewing: asyncio.Task[None] | None = None
        self._is_used = False

    @property
    def is_held(self) -> bool:
        """Whether this client may act as the holder now."""
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """For how many seconds from now this client may act as the holder, if no renewal succeeds."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - self._clock.boottime())

    def check(self) -> int:
        """The term.  Raises Unavailable when the lease is not held any more."""
        if not self.is_held:
            raise Unavailable(f"the lease {self.name} is not held any more", outcome="failed")
        return self.term

    async def acquire(self, timeout_s: float | timedelta | None = None) -> int:
        """Wait until the lease is free, or was left by its holder, and take it.  Returns the term.

        Raises DeadlineExceeded after `timeout_s`: then somebody else holds it.  Raises what the register
        raises, when that came last within `timeout_s`, or nodes have let it be neither read nor set within
        the lease's duration; at once PermissionDenied, ClientClosed, and InvalidArgument for something else
        there, or when it is being acquired, or was before.  After any other error it may be tried again.
        """
        if self._is_used or self.lost.is_set():
            raise InvalidArgument(
                f"this claim on the lease {self.name} has been used already, and it is for one use",
                hint="each `with`, thread and task needs its own: db.registers.lease(...) makes one",
            )
        self._is_used = True
        try:
            return await self._wait_and_take(timeout_s)
        except BaseException:
            self._is_used = False
            raise

    async def _wait_and_take(self, timeout_s: float | timedelta | None) -> int:
        now = self._clock.boottime()
        wait_s = _checked_wait_s(timeout_s)
        deadline = now + wait_s
        watch = LeaseWatch()
        done_at = now  # the last time that nothing but others was in the way
        while True:
            pause_s: float | None = _SHORTEST_PAUSE_S
            failure: RingmillError | None = None
            try:
                pause_s = await self._try(watch, deadline)
                done_at = self._clock.boottime()
            except Conflict:  # others were faster
                done_at = self._clock.boottime()
            except (InvalidArgument, PermissionDenied, ClientClosed):
                raise
            except RingmillError as error:
                if self._clock.boottime() - done_at > self._duration_s:
                    raise
                failure = error
            if pause_s is None:
                self._renewing = asyncio.create_task(self._renew(), name=f"lease {self.name}")
                return self.term
            if self._clock.boottime() + pause_s > deadline:
                raise failure or DeadlineExceeded(
                    f"the lease {self.name} was not free within {wait_s:g} s", outcome="failed"
                )
            await asyncio.sleep(pause_s)

    async def release(self) -> None:
        """Give it up, so that others need not wait for its end.  What fails here ends by itself."""
        left_s = self.left_s
        self.abandon()
        if self._renewing is not None:
            await asyncio.wait([self._renewing])  # a plain await takes a cancellation of ours for its end
            if not self._renewing.cancelled():
                self._renewing.result()
        if left_s:
            with suppress(RingmillError):
                await self._set_free(self._clock.boottime() + left_s)

    async def _set_free(self, until: float) -> None:
        """Once more where a renewal that was cancelled has been done.  Raises RingmillError."""
        for _ in range(2):
            free = encode_lease(self._record._replace(holder=""))
            try:
                timeout_s = self._within(self._duration_s, until)
                await self._register.set(free, self._version, timeout=timeout_s)
            except Conflict as conflict:
                if not self._still_ours(conflict):
                    return
            else:
                return

    def abandon(self) -> None:
        """Stop acting as the holder and renew it no longer; others have to wait for its end."""
        self._until = 0.0
        self.lost.set()
        if self._renewing is not None:
            self._renewing.cancel()

    async def __aenter__(self) -> AsyncLease:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    async def _try(self, watch: LeaseWatch, deadline: float) -> float | None:
        """None once it is ours, else how long to wait before the next look.  Raises RingmillError."""
        found = await self._register.get(timeout=self._within(self._duration_s, deadline))
        now = self._clock.boottime()
        present = decode_lease(found.value)
        if present.holder == self._holder:  # an earlier try was done, though nobody said so
            await self._set(present._replace(renewal=present.renewal + 1), found.version, deadline)
            return None
        if not present.is_free:
            watch.see(found.version, present.duration_ms / 1000, now)
            if left_s := watch.left_s(now):
                return min(left_s, max(_SHORTEST_PAUSE_S, self._duration_s / _LOOKS))
        is_lost = present.term < self._former_term  # terms only grow, but by a loss that was accepted
        term = self._former_term + _TERMS_LEFT_OUT if is_lost else present.term + 1
        await self._set(self._record._replace(term=term, renewal=0), found.version, deadline)
        return None

    def _within(self, most_s: float, deadline: float) -> float:
        """How long a request may take of whoever waits until then: long enough to be answered once."""
        return min(most_s, max(_ONE_TRY_S, deadline - self._clock.boottime()))

    async def _set(self, record: LeaseRecord, version: int, deadline: float = inf) -> None:
        sent_at = self._clock.boottime()
        timeout_s = self._within(self._duration_s / _RENEWALS, deadline)
        made = await self._register.set(encode_lease(record), version, timeout=timeout_s)
        self._record, self._version, self.term = record, made, record.term
        self._until = held_until(sent_at, self._duration_s)

    async def _renew(self) -> None:
        """Renew it until it is lost."""
        try:
            while self.is_held:
                await asyncio.sleep(self._duration_s / _RENEWALS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._until - self._clock.boottime())):
                        await self._renew_once()
        finally:
            self.lost.set()

    async def _renew_once(self) -> None:
        while not await self._try_renew():  # noqa: ASYNC110 - nothing tells when a node answers again
            await asyncio.sleep(_SHORTEST_PAUSE_S)

    async def _try_renew(self) -> bool:
        """Send one renewal.  Returns whether no further one is needed: it was done, or the lease is lost."""
        following = self._record._replace(renewal=self._record.renewal + 1)
        try:
            await self._set(following, self._version)
        except Conflict as conflict:
            if self._still_ours(conflict):
                return False  # an earlier renewal was done, though nobody said so
            self._until = 0.0
        except RingmillError:
            return False
        return True  # or nothing is left to be renewed

    def _still_ours(self, conflict: Conflict) -> bool:
        """Whether this client holds it all the same, in the version that the register has."""
        present = _lease_or_none(conflict.detail["current"])
        if present is None or (present.holder, present.term) != (self._holder, self.term):
            return False
        self._record, self._version = present, int(conflict.detail["version"])
        return True


def _lease_or_none(value: bytes | None) -> LeaseRecord | None:
    """None for a register that somebody has set to something else."""
    try:
        return decode_lease(value)
    except InvalidArgument:
        return None


def _checked_wait_s(timeout: float | timedelta | None) -> float:
    """Seconds; 0 looks once.  Raises InvalidArgument."""
    if timeout is None:
        return inf
    wait_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if not isinstance(wait_s, numbers.Real) or isinstance(wait_s, bool):
        kind = type(timeout).__name__
        raise InvalidArgument(f"timeout_s is of type {kind}; it must be seconds as a number, or a timedelta")
    if not 0 <= wait_s <= _LONGEST_WAIT_S:
        raise InvalidArgument(
            f"timeout_s is not from 0 to {_LONGEST_WAIT_S:.0f} s", hint="None waits for as long as it takes"
        )
    return float(wait_s)
