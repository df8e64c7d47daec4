"""Coordinating a write: apply here, send to every owner in the same tick, answer at `w` acks.

The coordinator is an owner that can read its own copy; another node forwards once.  Owners that do not ack
get a hint, kept here.  Once a write is in the log nothing is taken back, so whatever goes wrong after that
is `outcome: unknown` (rules W1, W2 and W3).  An owner that cannot read its own copy hands the write to
another one (rule H9).  In a joint old owners alone coordinate, and a level is reached in both sets of owners
(rule M1).  What a request does not say, its keyspace does; one of `lww` takes no blind siblings
(rule V3).  An update of a counter, set or map may first ask others what it replaces (rule V10), and a touch
asks them what it keeps (rule V11).

`Writer.write` takes every write, and may wait before it applies one.  Most writes need not wait: those of one
frame are applied together by a `WriteBatch`, which takes what can be applied at once and leaves the others to
`Writer.write`.  Either way a write in the log is a `WriteInFlight`, which the dispatcher sends to its owners
(node/requests/write_dispatcher.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ringmill.cluster.callbacks import resolve
from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    DiskFull,
    NotFound,
    RingmillError,
    UnresolvedSiblings,
    WrongEpoch,
)
from ringmill.cluster.limits import MAX_OBJECT_BYTES
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import parse_level
from ringmill.cluster.quorum.receipt import Durability, QuorumReceipt, parse_durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import BLIND, ContextSeal, ContextToken
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.mergeable import Update
from ringmill.cluster.versions.objects import StoredObject
from ringmill.cluster.versions.seen import Needed, may_be_cut
from ringmill.node.contracts import TimeKeeper
from ringmill.node.replica.object_batch import Growth, ObjectBatch, TouchedValue
from ringmill.node.replica.object_store import Intent, NotCaughtUp, ObjectStore, Written
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.owners.observed import Observer
from ringmill.node.requests.owners.session_needs import level_for, need_of
from ringmill.node.requests.request_limits import (
    UNLIMITED,
    GrowthLimit,
    admit_growth,
    check_birth,
    check_key,
    check_ttl,
    check_value,
    growth_limit,
    time_allowed,
)
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.requests.touching import kept_value
from ringmill.node.requests.updates import update_of
from ringmill.node.requests.write_dispatcher import WriteDispatcher
from ringmill.node.requests.write_in_flight import OnWriteDone, WriteInFlight
from ringmill.node.storage.storage_errors import NotCached, StorageFailed

__all__ = ["WriteBatch", "Writer"]


class Writer:
    def __init__(
        self,
        *,
        routes: Routes,
        objects: ObjectStore,
        dispatcher: WriteDispatcher,
        forwarder: Forwarder,
        attempts: WriteRetries,
        observer: Observer,
        hybrid: HybridClock,
        timekeeper: TimeKeeper,
        clock: Clock,
        seal: ContextSeal,
    ) -> None:
        self._routes = routes
        self._objects = objects
        self._dispatcher = dispatcher
        self._forwarder = forwarder
        self._attempts = attempts
        self._observer = observer
        self._hybrid = hybrid
        self._timekeeper = timekeeper
        self._clock = clock
        self._seal = seal

    async def write(self, request: WriteRequest) -> QuorumReceipt:
        """Put, delete or touch a key.

        Raises InvalidArgument, WrongEpoch, Unavailable and Overloaded before anything happened;
        QuorumNotReached (outcome unknown), which names the owners that acked and those that did not.  For a
        touch also NotFound and UnresolvedSiblings.
        """
        durability, deadline = self._checked(request)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch, deadline.left_s)
        _check_wanted(request, route)
        request = self._attempts.named(request)
        if self._routes.node not in route.row.whole:
            sometimes("a write is forwarded to an owner")
            return await self._forwarder.forward(request, route, deadline)
        update = update_of(request, route.keyspace)
        prepared = self._prepare(request, route, durability, update)
        if request.options.ttl_ms or route.keyspace.ttl_ms or request.is_touch:
            await self._timekeeper.wait_compared(deadline.left_s / 2)
        await self._timekeeper.wait_judged(deadline.left_s)
        await self._attempts.check_retry(request, route, deadline)

        intent = prepared.intent
        try:
            if request.is_touch or (update is not None and update.observes):
                r = level_for(intent.needed, route.row.readers_for(route.row.level(route.keyspace.r)), route)
                await self._observe(route, r, intent, deadline, intent.needed)  # V10, V11, S2
            written = await self._write_caught_up(route, intent, deadline)
        except CorruptData as error:
            if request.is_forwarded or error.outcome != "failed":
                raise
            sometimes("an owner that cannot read its copy lets another coordinate")
            return await self._forwarder.forward(request, route, deadline, instead_of=self._routes.node)
        receipt: asyncio.Future[QuorumReceipt] = asyncio.get_running_loop().create_future()
        write = self._in_flight(request, route, prepared, written, deadline, partial(resolve, receipt))
        self._dispatcher.send([write])  # no await since it was applied: owners hear of it in the same tick
        return await receipt

    def batch(self) -> WriteBatch:
        """A batch for writes that came together.  No await between this and its `commit`."""
        return WriteBatch(
            self._write_into, objects=self._objects, dispatcher=self._dispatcher, clock=self._clock
        )

    def _prepare(
        self, request: WriteRequest, route: Route, durability: Durability, update: Update | None
    ) -> _Prepared:
        """What is to be written, and when it is acknowledged.  Raises InvalidArgument."""
        options, keyspace = request.options, route.keyspace
        if not options.durability:
            durability = parse_durability(keyspace.durability)
        w = route.row.writers_for(parse_level(options.level, route.row.size, keyspace.w))
        return _Prepared(durability, w, self._intent(self._attempts.named(request), route, update))

    def _in_flight(
        self,
        request: WriteRequest,
        route: Route,
        prepared: _Prepared,
        written: Written,
        deadline: Deadline,
        on_done: OnWriteDone,
    ) -> WriteInFlight:
        return WriteInFlight(
            self._dispatcher,
            route,
            written,
            w=prepared.w,
            durability=prepared.durability,
            deadline=deadline,
            verb=request.verb,
            on_done=on_done,
        )

    async def _observe(
        self, route: Route, r: int, intent: Intent, deadline: Deadline, needed: Needed | None
    ) -> VersionVector:
        """Merge what `r` owners hold, and all that is `needed`, into this node's copy.

        Returns the context of what was merged in.

        Raises QuorumNotReached and what the engine raises: this attempt has written nothing.  CorruptData is
        "failed" also for a later attempt, as another owner can coordinate it.
        """
        try:
            found = await self._observer.ask(route, r, deadline, needed)
            await self._observer.bring(found, route, deadline)
        except CorruptData:
            raise
        except RingmillError as error:
            raise error.with_outcome("unknown" if intent.is_retry else "failed") from error
        return found.context

    def _checked(self, request: WriteRequest) -> tuple[Durability, Deadline]:
        """Raises InvalidArgument, and DeadlineExceeded when nobody waits any more."""
        options = request.options
        check_key(request.key)
        check_value(request.value)
        check_ttl(options.ttl_ms)
        check_birth(request.operation, self._hybrid)
        allowed_s = time_allowed(options.timeout_s, request.left_s)
        return parse_durability(options.durability), Deadline.after(allowed_s, self._clock)

    async def _write_caught_up(self, route: Route, intent: Intent, deadline: Deadline) -> Written:
        """Apply the write once this node's copy has what the write's session has seen (rule S2), and what a
        context that may be cut names (rule V12)."""
        needed = intent.needed
        if needed is None:
            return await self._write_here(route, intent, deadline)
        if needed.forgotten:
            await self._catch_up(route, intent, needed, deadline)
        is_caught_up = False
        while True:
            try:
                return await self._write_here(route, intent, deadline)
            except NotCaughtUp as behind:
                # What this copy lacks after it was brought was deleted, and is forgotten here.
                known = behind.held.context
                if not is_caught_up:
                    known = await self._catch_up(route, intent, needed, deadline)
                    is_caught_up = True
                if needed.missing(known) is not None:  # it was deleted, and all owners have forgotten it
                    intent = intent._replace(needed=needed.without_forgotten(known))

    async def _catch_up(
        self, route: Route, intent: Intent, needed: Needed, deadline: Deadline
    ) -> VersionVector:
        """Merge in what other owners hold, until it covers what is `needed` and what they have not forgotten
        as deleted.  Returns what it covers.

        Raises QuorumNotReached when nobody holds it: this attempt has written nothing.
        """
        sometimes("a coordinator catches up with the session of a write")
        return await self._observe(route, level_for(needed, 1, route), intent, deadline, needed)

    async def _write_here(self, route: Route, intent: Intent, deadline: Deadline) -> Written:
        """Apply the write to this node's copy, unless the owners have changed since its route was found: a
        new one may have been told by now what was here before (rule M2).

        A failure in here leaves nothing behind, because nothing is awaited after applying; but an earlier
        attempt of the same write may have left something.
        """
        outcome = "unknown" if intent.is_retry else "failed"

        def admit(growth: Growth) -> None:
            self._routes.check_same(route)
            _admit(deadline, _limit_of(intent, route), outcome, growth)

        try:
            async with asyncio.timeout(deadline.left_s):
                written = await self._objects.write(route.place, intent, admit)
            if written.is_repeat:
                outcome = "unknown"
                self._routes.check_same(route)
            return written
        except (DiskFull, StorageFailed, CorruptData, NotFound, UnresolvedSiblings, WrongEpoch) as error:
            raise error.with_outcome(outcome) from error
        except DeadlineExceeded:
            raise  # it says itself why; what is left is the TimeoutError of asyncio.timeout
        except TimeoutError as error:
            raise _out_of_time(deadline, outcome) from error

    def _write_into(
        self, request: WriteRequest, changes: ObjectBatch, on_done: OnWriteDone
    ) -> WriteInFlight | None:
        """Write by a batch of the engine.  Returns None when the write has to wait for something before it is
        applied: then nothing was done.

        Raises what `write` raises before anything happened.
        """
        durability, deadline = self._checked(request)
        if self._must_wait(request, changes):
            return None
        route = self._routes.by_name_now(request.keyspace, request.key, request.epoch)
        if route is None or self._routes.node not in route.row.whole:
            return None
        update = update_of(request, route.keyspace)
        if request.options.ttl_ms or route.keyspace.ttl_ms or (update is not None and update.observes):
            return None
        prepared = self._prepare(request, route, durability, update)
        admit = partial(_admit, deadline, _limit_of(prepared.intent, route), "failed")
        try:
            written = self._objects.write_into(changes, route.place, prepared.intent, admit)
        except DeadlineExceeded:
            raise  # an OSError by its class, and not one of the disk
        except (NotCached, CorruptData, StorageFailed, OSError, NotCaughtUp):
            return None
        return self._in_flight(request, route, prepared, written, deadline, on_done)

    def _must_wait(self, request: WriteRequest, changes: ObjectBatch) -> bool:
        """Whether something has to be asked or awaited before a write can be applied, whatever its route.

        Other owners are asked what a session has seen and forgotten, what came of an earlier attempt and what
        a touch keeps.  A job's record may be for a keyspace that was replaced.  A full batch, an engine that
        takes no writes and a jump of the clock are waited for.
        """
        seen = request.options.seen
        return bool(
            (seen is not None and seen.forgotten)
            or request.attempt
            or request.is_touch
            or request.wanted
            or changes.is_full
            or not self._objects.takes_batches
            or self._hybrid.jumped_ms
        )

    def _intent(self, request: WriteRequest, route: Route, update: Update | None) -> Intent:
        assert request.operation is not None, "an operation is named before it is coordinated"
        context: ContextToken | None = None
        if request.options.is_blind and route.keyspace.policy != "lww":
            context = BLIND
        elif request.options.context:
            context = self._seal.open(request.options.context, route.keyspace.id, request.key)
        keyspace = route.keyspace
        ttl_ms = request.options.ttl_ms or (0 if request.is_touch else keyspace.ttl_ms)
        if context is None:
            needed = need_of(request.options.seen, route, self._seal)
        else:
            needed = Needed(context, context.vector) if may_be_cut(context) else None
        touched_value = self._touched_value_of(route) if request.is_touch else None
        is_retry = request.attempt > 0
        return Intent(
            request.value, request.operation, context, ttl_ms, is_retry, needed, update, touched_value
        )

    def _touched_value_of(self, route: Route) -> TouchedValue:
        """Finds the value that a touch keeps.  Raises WrongEpoch at a former owner, which has dropped its
        copy and knows nothing of the value."""

        def find(present: StoredObject, wall_ms: int) -> bytes:
            self._routes.check_same(route)
            return kept_value(route.keyspace.policy, present, wall_ms)

        return find


class _Prepared(NamedTuple):
    """A write that has its route and was not applied yet."""

    durability: Durability
    w: int
    intent: Intent


class WriteBatch:
    """Writes that came together: those that can be are applied at once, by one batch of the engine."""

    def __init__(
        self,
        write_into: Callable[[WriteRequest, ObjectBatch, OnWriteDone], WriteInFlight | None],
        *,
        objects: ObjectStore,
        dispatcher: WriteDispatcher,
        clock: Clock,
    ) -> None:
        """`write_into` adds a write to the changes, or returns None for one that has to wait first."""
        self._write_into = write_into
        self._objects = objects
        self._dispatcher = dispatcher
        self._clock = clock
        self._changes = ObjectBatch()
        self._writes: list[WriteInFlight] = []

    def add(self, request: WriteRequest, on_done: OnWriteDone) -> bool:
        """Take a write in; `on_done` is called with its outcome.  Returns False when it has to wait for
        something before it is applied: then nothing was done, and it is for `Writer.write`.

        Raises what `Writer.write` raises before anything happened.
        """
        write = self._write_into(request, self._changes, on_done)
        if write is None:
            return False
        self._writes.append(write)
        return True

    def commit(self) -> Sequence[int]:
        """Apply what was taken in, and send it to its owners.

        Returns the numbers of the writes that were not applied and are for `Writer.write` after all, counted
        from 0 in the order of `add`: those that still have time when another one has none left.
        """
        writes = self._writes
        if len(writes) > 1:
            sometimes("writes of one frame are applied together")
        now = self._clock.boottime()
        if any(write.deadline.ends_at <= now for write in writes):  # passed since it was taken in (D3)
            return _without_late(writes, now)
        try:
            self._objects.commit(self._changes)
        except RingmillError as error:
            for write in writes:
                write.answer(error.with_outcome("unknown" if write.written.is_repeat else "failed"))
            return ()
        self._dispatcher.send(writes)
        return ()


def _check_wanted(request: WriteRequest, route: Route) -> None:
    """Check that a job's record is for this keyspace: whoever forwarded it may know another one of that name
    (rule J18).  Raises NotFound."""
    if request.wanted is not None and route.keyspace.id != request.wanted:
        raise NotFound(
            f"keyspace {route.keyspace.name!r} was dropped, and another one has its name", outcome="failed"
        )


def _without_late(writes: Sequence[WriteInFlight], now: float) -> list[int]:
    """Give a batch up of which some writes are out of time, as they cannot be taken out of it.

    The late writes are answered.  Returns the numbers of the others.
    """
    others = list[int]()
    for number, write in enumerate(writes):
        if write.deadline.ends_at > now:
            others.append(number)
        else:
            write.answer(_out_of_time(write.deadline, "unknown" if write.written.is_repeat else "failed"))
    return others


def _admit(deadline: Deadline, limit: GrowthLimit, outcome: str, growth: Growth) -> None:
    """The last look before the write is in the log (rule D3): this process may have been stopped.

    Raises InvalidArgument; DeadlineExceeded with this outcome.
    """
    if growth.becomes > growth.was or growth.size_bytes > MAX_OBJECT_BYTES:
        admit_growth(growth, limit)
    if deadline.left_s <= 0:
        raise _out_of_time(deadline, outcome)


def _limit_of(intent: Intent, route: Route) -> GrowthLimit:
    """The limit of the object after the write: none for a removal, which lowers the number of values."""
    is_removal = intent.update is not None and intent.value is None
    return UNLIMITED if is_removal else growth_limit(route.keyspace.policy)


def _out_of_time(deadline: Deadline, outcome: str) -> DeadlineExceeded:
    sometimes("a write runs out of time before it is applied")
    return DeadlineExceeded(
        f"{deadline.allowed_s:.2f} s were over before the write was applied anywhere",
        hint="the node is busy or its disk is slow; try again",
        outcome=outcome,
    )
