"""Coordinates one write: applies it here, sends it to every owner in the same tick, answers at `w` acks.

The coordinator is an owner that can read its own copy; any other node forwards once.  This node keeps a hint
for each owner that does not ack.  A write in the log is never undone, so every later failure has outcome
"unknown" (rules W1, W2 and W3).  An owner that cannot read its own copy forwards the write to another owner
(rule H9).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ringmill.cluster.errors import CorruptData, DeadlineExceeded, DiskFull, Overloaded, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import parse_level
from ringmill.cluster.quorum.receipt import Durability, QuorumReceipt, parse_durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import BLIND, ContextToken, decode_context
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.contracts import LivenessView, TimeKeeper
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_store import Intent, ObjectStore, Written, hold
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.flight import Flight
from ringmill.node.requests.forward import Forwarder
from ringmill.node.requests.replicas import Replicas
from ringmill.node.requests.request_limits import (
    admit_growth,
    check_key,
    check_ttl,
    check_value,
    time_allowed,
)
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.requests.write_retries import WriteRetries
from ringmill.node.storage.storage_errors import CorruptBlock, CorruptRange, StorageFailed

__all__ = ["Writer"]

_log = logging.getLogger(__name__)


class Writer:
    def __init__(
        self,
        *,
        routes: Routes,
        objects: ObjectStore,
        replicas: Replicas,
        hints: HintStore,
        liveness: LivenessView,
        forwarder: Forwarder,
        attempts: WriteRetries,
        background: Background,
        hybrid: HybridClock,
        timekeeper: TimeKeeper,
        clock: Clock,
        options: RequestOptions,
    ) -> None:
        self._routes = routes
        self._objects = objects
        self._replicas = replicas
        self._hints = hints
        self._liveness = liveness
        self._forwarder = forwarder
        self._attempts = attempts
        self._background = background
        self._hybrid = hybrid
        self._timekeeper = timekeeper
        self._clock = clock
        self._options = options

    async def write(self, request: WriteRequest) -> QuorumReceipt:
        """Put or delete.

        Raises InvalidArgument, WrongEpoch, Unavailable and Overloaded before anything happened;
        QuorumNotReached (outcome unknown), which names the owners that acked and those that did not.
        """
        options = request.options
        check_key(request.key)
        check_value(request.value)
        check_ttl(options.ttl_ms)
        durability = parse_durability(options.durability)
        deadline = Deadline.after(time_allowed(options.timeout_s, request.left_s), self._clock)
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch)
        request = self._attempts.named(request)
        if self._routes.node not in route.owners:
            sometimes("a write is forwarded to an owner")
            return await self._forwarder.forward(request, route, deadline)
        w = parse_level(options.level, len(route.owners), route.keyspace.w)
        if options.ttl_ms or route.keyspace.ttl_ms:
            await self._timekeeper.wait_compared(deadline.left_s / 2)
        intent = self._intent(request, route)
        await self._attempts.check_retry(request, route, deadline)
        await self._timekeeper.wait_judged(deadline.left_s)

        try:
            written = await self._write_here(route, intent, deadline)
        except CorruptData as error:
            if request.is_forwarded or error.outcome != "failed":
                raise
            sometimes("an owner that cannot read its copy lets another coordinate")
            return await self._forwarder.forward(request, route, deadline, instead_of=self._routes.node)
        flight = Flight(route, written, w, durability, deadline)
        self._send(flight, w)  # no await since the write: owners hear of it in the same tick
        if await flight.wait_for_level():
            return flight.receipt(default_w=route.keyspace.w)
        for node in flight.outstanding:
            if node != self._routes.node:
                await self._keep_hint(flight, node)
                self._background.start(self._sync_hint(flight, node))
        sometimes("a write loses its quorum after sending")
        raise flight.lost(request.verb)

    async def _write_here(self, route: Route, intent: Intent, deadline: Deadline) -> Written:
        """Apply the write to this node's copy.

        A failure in here leaves nothing behind, because nothing is awaited after applying; but an earlier
        attempt of the same write may have left something.
        """
        outcome = "unknown" if intent.is_retry else "failed"

        def admit(before: StoredObject, after: StoredObject, size_bytes: int) -> None:
            """The last check before the write is in the log (rule D3): this process may have been stopped."""
            admit_growth(before, after, size_bytes)
            if deadline.left_s <= 0:
                raise TimeoutError

        try:
            async with asyncio.timeout(deadline.left_s):
                return await self._objects.write(route.place, intent, admit)
        except (DiskFull, StorageFailed, CorruptData) as error:
            raise error.with_outcome(outcome) from error
        except TimeoutError as error:
            sometimes("a write runs out of time before it is applied")
            raise DeadlineExceeded(
                f"{deadline.allowed_s:.2f} s were over before the write was applied anywhere",
                hint="the node is busy or its disk is slow; try again",
                outcome=outcome,
            ) from error

    def _intent(self, request: WriteRequest, route: Route) -> Intent:
        assert request.operation is not None, "an operation is named before it is coordinated"
        context: ContextToken | None = None
        if request.options.is_blind:
            context = BLIND
        elif request.options.context:
            context = decode_context(request.options.context, route.keyspace.id, request.key)
        # From here on the clocks of others are not consulted (rule G3).
        ttl_ms = request.options.ttl_ms or route.keyspace.ttl_ms
        expires_at_ms = self._hybrid.expiry_ms() + ttl_ms if ttl_ms and request.value is not None else 0
        return Intent(request.value, request.operation, context, expires_at_ms, request.attempt > 0)

    def _send(self, flight: Flight, w: int) -> None:
        flight.deferred = self._deferred(flight.route.owners, w)
        for node in flight.route.owners:
            if node == self._routes.node:
                self._background.start(self._hold(flight))
            elif node in flight.deferred:
                self._background.start(self._defer(flight, node))
            else:
                self._background.start(self._reach(flight, node))

    def _deferred(self, owners: Sequence[NodeId], w: int) -> tuple[NodeId, ...]:
        """Owners seen down are not asked at first, unless the level cannot be met without them (rule T7)."""
        down = [node for node in owners if node != self._routes.node and not self._liveness.is_up(node)]
        return tuple(down) if len(owners) - len(down) >= w else ()

    async def _hold(self, flight: Flight) -> None:
        """This node's own ack."""
        try:
            await hold(flight.written.applied.commit, flight.durability)
        except RingmillError as error:
            flight.failed(self._routes.node, _why(error))
        else:
            flight.acked(self._routes.node, flight.durability, flight.route.row.row_epoch)

    async def _defer(self, flight: Flight, node: NodeId) -> None:
        """Give an owner seen down its hint at once, and ask it only if others fail or are silent."""
        sometimes("an owner seen down is not asked")
        why = await self._keep_hint(flight, node)
        self._background.start(self._sync_hint(flight, node))
        if await flight.needs_deferred(self._options.deferred_patience_s):
            sometimes("an owner seen down is asked after all")
            await self._reach(flight, node)
        else:
            flight.failed(node, "seen down, so not asked" + why)

    async def _reach(self, flight: Flight, node: NodeId) -> None:
        """Bring a write to one other owner, or keep a hint for it."""
        encoded, durability = flight.written.applied.encoded, flight.durability
        try:
            held, row_epoch = await self._replicas.apply(
                node, flight.route, encoded, durability, flight.deadline.left_s
            )
        except asyncio.CancelledError:
            await self._leave_hint(flight, node)
            raise
        except RingmillError as error:
            await self._miss(flight, node, _why(error))
            return
        flight.acked(node, held, row_epoch)
        if not flight.counts(node):
            await self._keep_hint(flight, node)
            await self._sync_hint(flight, node)

    async def _miss(self, flight: Flight, node: NodeId, why: str) -> None:
        """Note that an owner missed the write: keep the hint first, then count, so that an error finds the
        hint kept."""
        flight.failed(node, why + await self._keep_hint(flight, node))
        await self._sync_hint(flight, node)

    async def _keep_hint(self, flight: Flight, node: NodeId) -> str:
        """Keep a hint for an owner.  Returns what to add to its failure when that fails, too (rule H7)."""
        if flight.hint_of(node) is not None:
            return ""
        try:
            await self._keep(flight, node)
        except asyncio.CancelledError:
            await self._leave_hint(flight, node)
            raise
        except (DiskFull, Overloaded, CorruptBlock, CorruptRange) as error:
            sometimes("a hint waits in memory for the disk")
            return f", and its hint waits in memory until the disk takes it: {_why(error)}"
        except RingmillError as error:
            return f", and no hint could be kept: {_why(error)}"
        return ""

    async def _keep(self, flight: Flight, node: NodeId) -> None:
        stored = flight.written.applied.stored
        flight.hinted(node, await self._hints.keep(flight.route.hint_key, [node], stored))
        sometimes("an owner that missed a write gets a hint")

    async def _sync_hint(self, flight: Flight, node: NodeId) -> None:
        """Sync a hint in the background: nobody waits for it, but a hint in memory would not survive a
        crash."""
        try:
            await hold(flight.hint_of(node), Durability.SYNCED)
        except RingmillError as error:
            _log.warning("the hint for %s may not outlive a crash: %s", node, _why(error))

    async def _leave_hint(self, flight: Flight, node: NodeId) -> None:
        """Keep a hint quickly if the node stops before the owner has acked (rule W6)."""
        sometimes("a stopping node leaves hints behind")
        try:
            async with asyncio.timeout(self._options.last_moment_s):
                await self._keep(flight, node)
        except (TimeoutError, RingmillError) as error:
            self._hints.note_lost()
            _log.warning("stopping with a write not acked by %s and no hint for it: %s", node, _why(error))


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
