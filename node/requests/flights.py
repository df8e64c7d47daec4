"""Writes under way: every owner hears of a write in the tick of its log, and who does not ack gets a hint.

An owner that acks costs no task: its answer is counted as it comes.  Whatever else happens is told here as it
happens, step by step: an owner that fails, one that is seen down, a level that is lost, a node that stops
(rules W1 to W3, W6, H1 and H7).  In a sloppy keyspace another member may stand in for an owner (rule W7).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from ringmill.cluster.callbacks import call_guarded, report_failed
from ringmill.cluster.deadline_wheel import DeadlineWheel
from ringmill.cluster.errors import DiskFull, Overloaded, ProtocolMismatch, RingmillError, WrongEpoch
from ringmill.cluster.hot.key_heat import KeyHeat, Work
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.together import Together
from ringmill.cluster.traces.spans import Span, Tracer, carried_trace
from ringmill.cluster.versions.context_token import ContextSeal
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_batch import hold, tell_held
from ringmill.node.replica.replica_messages import MOST_TOGETHER, ApplyMany
from ringmill.node.requests.background import Background
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks
from ringmill.node.requests.flight import Flight
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.storage.engine import Commit
from ringmill.node.storage.storage_errors import CorruptBlock, CorruptRange

__all__ = ["Flights"]

SMALL_BYTES: Final = 1024
"""A larger object is sent alone: a message beside it saves nothing that counts."""

_log = logging.getLogger(__name__)


class Flights:
    """The crew of all flights of a node."""

    def __init__(
        self,
        *,
        owner_calls: OwnerCalls,
        hints: HintStore,
        fallbacks: Fallbacks,
        liveness: LivenessView,
        background: Background,
        options: RequestOptions,
        heat: KeyHeat,
        seal: ContextSeal,
        tracer: Tracer | None = None,
    ) -> None:
        self._node = owner_calls.node
        self._owners = owner_calls
        self._hints = hints
        self._fallbacks = fallbacks
        self._liveness = liveness
        self._background = background
        self._options = options
        self._heat = heat
        self._seal = seal
        self._tracer = tracer
        self._wheel = DeadlineWheel()
        self._one_by_one: dict[NodeId, None] = {}  # of an earlier release, as far as this start knows

    def launch(self, flights: Sequence[Flight]) -> None:
        """Tell the owners of writes that are in this node's log.  No await since they were applied: owners
        hear of it in the same tick."""
        if self._background.is_over:
            self._hints.note_lost()  # nobody is left to keep a hint: the stop is not a clean one (rule W6)
        waiting: dict[tuple[Commit | None, Durability], list[Flight]] = {}
        sent: _SentTogether = Together(MOST_TOGETHER, self._reach_together)
        for flight in flights:
            self._background.keep(flight)
            flight.expire_on(self._wheel)
            self._send(flight, sent)
            if self._heat.passes():
                route, size_bytes = flight.route, len(flight.written.applied.encoded)
                self._heat.note(Work.WRITE, route.keyspace.id, route.key, route.partition, size_bytes)
            commit = flight.written.applied.commit
            waiting.setdefault((commit, flight.durability), []).append(flight)
        sent.launch()
        for (commit, durability), together in waiting.items():
            tell_held(commit, durability, partial(self._held, together, durability, self._own_span()))

    def answer_due(self, flight: Flight) -> None:
        if flight.is_met:
            flight.end(flight.receipt(self._seal, default_w=flight.route.keyspace.w))
        elif not self._background.is_over:
            self._background.start(self._lose(flight))

    def landed(self, flight: Flight) -> None:
        self._background.forget(flight)

    async def abandon(self, flight: Flight) -> None:
        for node in flight.outstanding:
            if node != self._node and flight.hint_of(node) is None and not flight.has_stand_in(node):
                await self._leave_hint(flight, node)

    def _send(self, flight: Flight, together: _SentTogether) -> None:
        route, owners = flight.route, flight.route.owners
        flight.deferred = self._deferred(owners, flight.w, is_sloppy=flight.search is not None)
        is_small = len(flight.written.applied.encoded) <= SMALL_BYTES
        keyspace, allowed_s = route.keyspace.id, round(flight.deadline.allowed_s, 1)
        for node in owners:
            if node == self._node:
                continue
            if node in flight.deferred:
                self._background.start(self._defer(flight, node))
            elif is_small and node not in self._one_by_one:
                together.add((node, keyspace, route.epoch, flight.durability, allowed_s), flight)
            else:
                self._reach(flight, node)
        if flight.search is not None:
            patience_s = min(self._options.deferred_patience_s, flight.deadline.left_s)
            self._wheel.add(_Patience(self, flight), patience_s)

    def silent(self, flight: Flight) -> None:
        """The owners of a sloppy quorum have had their time to ack."""
        if self._background.is_over:
            return
        for node in flight.outstanding:
            if node != self._node and node not in flight.deferred:
                self._background.start(self._replace_silent(flight, node))

    def _deferred(self, owners: Sequence[NodeId], w: int, *, is_sloppy: bool) -> tuple[NodeId, ...]:
        """Owners seen down are not asked at first, unless the level cannot be met without them (rule T7);
        in a sloppy quorum somebody stands in for them."""
        down = [node for node in owners if node != self._node and not self._liveness.is_up(node)]
        return tuple(down) if is_sloppy or len(owners) - len(down) >= w else ()

    def _own_span(self) -> Span | None:
        """Of this node's own copy, from the tick in which the others hear of the write until it has acked."""
        if self._tracer is None or not (parent := carried_trace()):
            return None
        notes = {"db.operation.name": "apply"}
        return self._tracer.begin("ringmill.replica.apply", kind="internal", parent=parent, notes=notes)

    def _held(
        self,
        flights: Sequence[Flight],
        durability: Durability,
        span: Span | None,
        failure: RingmillError | None,
    ) -> None:
        """This node's own acks, of writes that became durable together."""
        if span is not None:
            span.end(failure)
        for flight in flights:
            if failure is None:
                flight.acked(self._node, durability, flight.route.row.row_epoch)
            else:
                flight.failed(self._node, _why(failure))

    def _reach(self, flight: Flight, node: NodeId) -> None:
        """Bring a write to one other owner."""
        body = self._owners.apply_message(flight.route, flight.written.applied.encoded, flight.durability)
        self._owners.send_apply(node, body, flight.deadline.left_s, partial(self._heard, flight, node))

    def _reach_together(self, sent: _Sent, flights: Sequence[Flight]) -> None:
        """Bring writes to one other owner that have begun together and end at about the same time."""
        node, keyspace, epoch, durability, _ = sent
        if len(flights) < self._options.together_least:
            for flight in flights:
                self._reach(flight, node)
            return
        sometimes("writes go to an owner in one message")
        keys = [flight.route.key for flight in flights]
        objects = [flight.written.applied.encoded for flight in flights]
        message = ApplyMany(epoch, keyspace, durability, keys, objects)
        left_s = flights[-1].deadline.left_s
        told = partial(self._heard_together, flights, node)
        self._owners.send_apply_many(node, message, left_s, told)

    def _heard_together(self, flights: Sequence[Flight], node: NodeId, told: bytes | RingmillError) -> None:
        """As `_heard`; an owner is sent alone what it did not take at once."""
        if isinstance(told, bytes):
            try:
                durability, row_epochs = self._owners.applied_many(told, len(flights))
            except RingmillError as error:
                told = error
            else:
                for flight, row_epoch in zip(flights, row_epochs, strict=True):
                    if row_epoch:
                        try:
                            self._acked(flight, node, durability, row_epoch)
                        except Exception as error:  # noqa: BLE001 - that of one ends nobody else's wait
                            report_failed(self._acked, error)
                    else:
                        self._reach(flight, node)
                return
        if isinstance(told, ProtocolMismatch):  # one of an earlier release
            self._one_by_one[node] = None
        for flight in flights:
            if isinstance(told, ProtocolMismatch):
                self._reach(flight, node)
            else:
                call_guarded(self._missed, flight, node, told)

    def _heard(self, flight: Flight, node: NodeId, told: bytes | RingmillError) -> None:
        if isinstance(told, RingmillError):
            self._missed(flight, node, told)
            return
        try:
            durability, row_epoch = self._owners.applied(told)
        except RingmillError as error:
            self._missed(flight, node, error)
            return
        self._acked(flight, node, durability, row_epoch)

    def _acked(self, flight: Flight, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        flight.acked(node, durability, row_epoch)
        if not flight.counts(node) and not self._background.is_over:
            self._background.start(self._hint(flight, node))

    def _missed(self, flight: Flight, node: NodeId, error: RingmillError) -> None:
        flight.note_epoch(WrongEpoch.epoch_of(error))
        if not self._background.is_over:  # else its hint was left when the node stopped
            self._background.start(self._miss(flight, node, _why(error)))

    async def _defer(self, flight: Flight, node: NodeId) -> None:
        """Give an owner seen down its hint at once, and ask it only if others fail or are silent."""
        sometimes("an owner seen down is not asked")
        if await self._is_stood_in(flight, node):
            flight.failed(node, "seen down, so not asked; a fallback stands in for it")
            return
        why = await self._keep_hint(flight, node)
        self._background.start(self._sync_hint(flight, node))
        if await flight.needs_deferred(self._options.deferred_patience_s):
            sometimes("an owner seen down is asked after all")
            self._reach(flight, node)
        else:
            flight.failed(node, "seen down, so not asked" + why)

    async def _lose(self, flight: Flight) -> None:
        """The level was not met: time is up, or no owner is left to answer.  Hints for the silent come first,
        as the client is told who acked."""
        for node in flight.outstanding:
            if node != self._node and not flight.has_stand_in(node):
                await self._keep_hint(flight, node)
                self._background.start(self._sync_hint(flight, node))
        sometimes("a write loses its quorum after sending")
        flight.end(flight.lost(flight.verb))

    async def _miss(self, flight: Flight, node: NodeId, why: str) -> None:
        """An owner did not get the write: the hint first, then the tally, so that an error finds it kept."""
        if await self._is_stood_in(flight, node):
            flight.failed(node, why)
            return
        flight.failed(node, why + await self._keep_hint(flight, node))
        await self._sync_hint(flight, node)

    async def _replace_silent(self, flight: Flight, owner: NodeId) -> None:
        await self._is_stood_in(flight, owner)

    async def _is_stood_in(self, flight: Flight, owner: NodeId) -> bool:
        """Whether another member holds the write for an owner, found now if need be (rule W7)."""
        if flight.search is None:
            return False
        encoded, deadline = flight.written.applied.encoded, flight.deadline
        try:
            found = await self._fallbacks.find(flight.search, flight.route, owner, encoded, deadline)
        except asyncio.CancelledError:
            await self._leave_hint(flight, owner)
            raise
        if found is not None and not flight.has_stand_in(owner):
            flight.stood_in(owner, found)
        return found is not None

    async def _hint(self, flight: Flight, node: NodeId) -> None:
        await self._keep_hint(flight, node)
        await self._sync_hint(flight, node)

    async def _keep_hint(self, flight: Flight, node: NodeId) -> str:
        """Keep the write for an owner; what to add to its failure when that fails too (rule H7)."""
        if flight.hint_of(node) is not None:
            return ""
        try:
            if not await self._keep(flight, node):
                return ", and its hint was dropped, as too many wait for it: it is compared when it is back"
        except asyncio.CancelledError:
            await self._leave_hint(flight, node)
            raise
        except (DiskFull, Overloaded, CorruptBlock, CorruptRange) as error:
            sometimes("a hint waits in memory for the disk")
            return f", and its hint waits in memory until the disk takes it: {_why(error)}"
        except RingmillError as error:
            return f", and no hint could be kept: {_why(error)}"
        return ""

    async def _keep(self, flight: Flight, node: NodeId) -> bool:
        """False when the hint was dropped, and the partition owed to its owner (rule H2)."""
        commit = await self._hints.keep(flight.route.hint_key, [node], flight.written.applied.stored)
        if commit is None:
            return False
        flight.hinted(node, commit)
        sometimes("an owner that missed a write gets a hint")
        return True

    async def _sync_hint(self, flight: Flight, node: NodeId) -> None:
        """Nobody waits for it, but a hint that is only in memory would not outlive a crash."""
        try:
            await hold(flight.hint_of(node), Durability.SYNCED)
        except RingmillError as error:
            _log.warning("the hint for %s may not outlive a crash: %s", node, _why(error))

    async def _leave_hint(self, flight: Flight, node: NodeId) -> None:
        """The node stops while the owner has not acked: what can be kept in a moment is kept (rule W6)."""
        sometimes("a stopping node leaves hints behind")
        try:
            async with asyncio.timeout(self._options.last_moment_s):
                await self._keep(flight, node)
        except (TimeoutError, RingmillError) as error:
            self._hints.note_lost()
            _log.warning("stopping with a write not acked by %s and no hint for it: %s", node, _why(error))


_Sent: TypeAlias = tuple[NodeId, KeyspaceId, Epoch, Durability, float]
"""What writes that travel in one message have in common: owner, keyspace, epoch, durability, and the seconds
that they are allowed, to a tenth."""

_SentTogether: TypeAlias = Together[_Sent, Flight]


class _Patience:
    """With the silent owners of one write; what a wheel expires."""

    __slots__ = ("_flight", "_flights")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight

    def expire(self) -> None:
        self._flights.silent(self._flight)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
