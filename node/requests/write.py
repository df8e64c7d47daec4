"""Coordinating a write: apply here, send to every owner in the same tick, answer at `w` acks.

The coordinator is an owner that can read its own copy; another node forwards once.  Owners that do not ack
get a hint, kept here.  Once a write is in the log nothing is taken back, so whatever goes wrong after that
is `outcome: unknown` (rules W1, W2 and W3).  An owner that cannot read its own copy hands the write to
another one (rule H9).  In a joint old owners alone coordinate, and a level is reached in both sets of owners
(rule M1).  What a request does not say, its keyspace does; one of `lww` takes no blind siblings
(rule V3).  An update of a counter, set or map may first ask others what it replaces (rule V10), and a touch
asks them what it keeps (rule V11).

`write` is the whole story, and may wait before the write is applied.  Most writes need not: those of one
frame are applied together by a `WriteBatch`, which takes what can be applied at once and leaves the others to
`write`.  From the moment it is in the log a write is a flight either way (node/requests/flights.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import partial

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
from ringmill.node.replica.object_batch import Kept, ObjectBatch
from ringmill.node.replica.object_store import Intent, NotCaughtUp, ObjectStore, Written
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.flight import Flight, WriteEnded
from ringmill.node.requests.flights import Flights
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.operations.write_retries import WriteRetries
from ringmill.node.requests.owners.observed import Observer
from ringmill.node.requests.owners.session_needs import level_for, need_of
from ringmill.node.requests.request_limits import (
    admit_growth,
    check_birth,
    check_key,
    check_ttl,
    check_value,
    most_values,
    time_allowed,
)
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.requests.touching import kept_value
from ringmill.node.requests.updates import update_of
from ringmill.node.storage.storage_errors import NotCached, StorageFailed

__all__ = ["WriteBatch", "Writer"]


class Writer:
    def __init__(
        self,
        *,
        routes: Routes,
        objects: ObjectStore,
        flights: Flights,
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
        self._flights = flights
        self._forwarder = forwarder
        self._attempts = attempts
        self._observer = observer
        self._hybrid = hybrid
        self._timekeeper = timekeeper
        self._clock = clock
        self._seal = seal

    async def write(self, request: WriteRequest) -> QuorumReceipt:
        """Put, delete or touch.

        Of a touch also NotFound and UnresolvedSiblings.
        Raises InvalidArgument, WrongEpoch, Unavailable and Overloaded before anything happened;
        QuorumNotReached (outcome unknown), which names the owners that acked and those that did not.
        """
        options = request.options
        durability, deadline = self._checked(request)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch, deadline.left_s)
        _check_wanted(request, route)
        request = self._attempts.named(request)
        if self._routes.node not in route.row.whole:
            sometimes("a write is forwarded to an owner")
            return await self._forwarder.forward(request, route, deadline)
        durability = _asked_or_default(durability, request, route)
        update = update_of(request, route.keyspace)
        w = route.row.writers_for(parse_level(options.level, route.row.size, route.keyspace.w))
        if options.ttl_ms or route.keyspace.ttl_ms or request.is_touch:
            await self._timekeeper.wait_compared(deadline.left_s / 2)
        intent = self._intent(request, route, update)
        await self._timekeeper.wait_judged(deadline.left_s)
        await self._attempts.check_retry(request, route, deadline)

        needed = intent.needed
        try:
            if request.is_touch or (update is not None and update.observes):
                r = level_for(needed, route.row.readers_for(route.row.level(route.keyspace.r)), route)
                await self._observe(route, r, intent, deadline, needed)  # what it replaces (V10, V11 and S2)
            written = await self._write_caught_up(route, intent, deadline)
        except CorruptData as error:
            if request.is_forwarded or error.outcome != "failed":
                raise
            sometimes("an owner that cannot read its copy lets another coordinate")
            return await self._forwarder.forward(request, route, deadline, instead_of=self._routes.node)
        receipt: asyncio.Future[QuorumReceipt] = asyncio.get_running_loop().create_future()
        flight = Flight(
            self._flights,
            route,
            written,
            w=w,
            durability=durability,
            deadline=deadline,
            verb=request.verb,
            ended=partial(_settle, receipt),
        )
        self._flights.launch([flight])  # no await since the write: owners hear of it in the same tick
        return await receipt

    async def _observe(
        self, route: Route, r: int, intent: Intent, deadline: Deadline, needed: Needed | None = None
    ) -> VersionVector:
        """Merge what `r` owners hold, and all that is `needed`, into this node's copy.  Returns what they
        know.

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

    def batch(self) -> WriteBatch:
        """For writes that came together.  No await between this and its `launch`."""
        return WriteBatch(self)

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

        def admit(*sizes: int) -> None:
            self._routes.check_same(route)
            _admit(deadline, _most(intent, route), *sizes)

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
            raise  # applied by another attempt, and replaced
        except TimeoutError as error:
            raise _out_of_time(deadline, outcome) from error

    def _add(
        self, request: WriteRequest, changes: ObjectBatch, flights: list[Flight], ended: WriteEnded
    ) -> bool:
        """As WriteBatch.add."""
        durability, deadline = self._checked(request)
        seen = request.options.seen
        if seen is not None and seen.forgotten:
            return False  # other owners are asked before
        if (
            request.attempt
            or request.is_touch
            or request.wanted
            or changes.is_full
            or not self._objects.takes_batches
            or self._hybrid.jumped_ms
        ):
            return False
        route = self._routes.by_name_now(request.keyspace, request.key, request.epoch)
        if route is None or self._routes.node not in route.row.whole:
            return False
        options, keyspace = request.options, route.keyspace
        update = update_of(request, keyspace)
        if options.ttl_ms or keyspace.ttl_ms or (update is not None and update.observes):
            return False
        durability = _asked_or_default(durability, request, route)
        w = route.row.writers_for(parse_level(options.level, route.row.size, keyspace.w))
        request = self._attempts.named(request)
        intent = self._intent(request, route, update)
        admit = partial(_admit, deadline, _most(intent, route))
        try:
            written = self._objects.write_into(changes, route.place, intent, admit)
        except DeadlineExceeded:
            raise  # applied by another attempt, and replaced
        except TimeoutError as error:
            raise _out_of_time(deadline, "failed") from error
        except (NotCached, CorruptData, StorageFailed, OSError, NotCaughtUp):
            return False
        flights.append(
            Flight(
                self._flights,
                route,
                written,
                w=w,
                durability=durability,
                deadline=deadline,
                verb=request.verb,
                ended=ended,
            )
        )
        return True

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
        kept = self._kept(route) if request.is_touch else None
        is_retry = request.attempt > 0
        return Intent(request.value, request.operation, context, ttl_ms, is_retry, needed, update, kept)

    def _kept(self, route: Route) -> Kept:
        """What a touch finds: a former owner has dropped its copy, and knows nothing of the value."""

        def kept(present: StoredObject, wall_ms: int) -> bytes:
            self._routes.check_same(route)
            return kept_value(route.keyspace.policy, present, wall_ms)

        return kept


class WriteBatch:
    """Writes that came together: those that can be are applied at once, by one batch of the engine."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._changes = ObjectBatch()
        self._flights: list[Flight] = []

    def add(self, request: WriteRequest, ended: WriteEnded) -> bool:
        """Take a write in; `ended` is told how it ends.  False when it has to wait for something before it is
        applied: then nothing was done, and it is `Writer.write`'s.

        Raises what `Writer.write` raises before anything happened.
        """
        return self._writer._add(request, self._changes, self._flights, ended)

    def launch(self) -> Sequence[int]:
        """Apply what was taken in, and tell its owners.

        Returns which of them, counted from 0 in the order of taking in, were not applied and are
        `Writer.write`'s after all: those that still have time when another one has none left.
        """
        writer, flights = self._writer, self._flights
        if len(flights) > 1:
            sometimes("writes of one frame are applied together")
        now = writer._clock.boottime()
        if any(flight.deadline.ends_at <= now for flight in flights):  # passed since it was taken in (D3)
            return _without_late(flights, now)
        try:
            writer._objects.commit(self._changes)
        except RingmillError as error:
            for flight in flights:
                flight.end(error.with_outcome("unknown" if flight.written.is_repeat else "failed"))
            return ()
        writer._flights.launch(flights)
        return ()


def _asked_or_default(asked: Durability, request: WriteRequest, route: Route) -> Durability:
    """What the request says, else what its keyspace does."""
    return asked if request.options.durability else parse_durability(route.keyspace.durability)


def _check_wanted(request: WriteRequest, route: Route) -> None:
    """Whoever forwarded a job's record may know another keyspace of that name (rule J18)."""
    if request.wanted is not None and route.keyspace.id != request.wanted:
        raise NotFound(
            f"keyspace {route.keyspace.name!r} was dropped, and another one has its name", outcome="failed"
        )


def _without_late(flights: Sequence[Flight], now: float) -> list[int]:
    """Some of a batch are out of time, and they cannot be taken out of it: nothing of it is applied.

    The late ones are told so.  Returns the numbers of the others.
    """
    others = list[int]()
    for number, flight in enumerate(flights):
        if flight.deadline.ends_at > now:
            others.append(number)
        else:
            flight.end(_out_of_time(flight.deadline, "unknown" if flight.written.is_repeat else "failed"))
    return others


def _admit(deadline: Deadline, most: int, was: int, becomes: int, own_bytes: int, size_bytes: int) -> None:
    """The last look before the write is in the log (rule D3): this process may have been stopped."""
    if becomes > was or size_bytes > MAX_OBJECT_BYTES:
        admit_growth(was, becomes, own_bytes, size_bytes, most)
    if deadline.left_s <= 0:
        raise TimeoutError


def _most(intent: Intent, route: Route) -> int:
    """Values that the object may have after the write: a removal lowers their number, whatever it leaves."""
    is_removal = intent.update is not None and intent.value is None
    return sys.maxsize if is_removal else most_values(route.keyspace.policy)


def _out_of_time(deadline: Deadline, outcome: str) -> DeadlineExceeded:
    sometimes("a write runs out of time before it is applied")
    return DeadlineExceeded(
        f"{deadline.allowed_s:.2f} s were over before the write was applied anywhere",
        hint="the node is busy or its disk is slow; try again",
        outcome=outcome,
    )


def _settle(waiting: asyncio.Future[QuorumReceipt], told: QuorumReceipt | RingmillError) -> None:
    if waiting.done():
        return
    if isinstance(told, RingmillError):
        waiting.set_exception(told)
    else:
        waiting.set_result(told)
