"""Sends writes to their owners, in the tick of the log, and keeps hints for owners that do not ack.

An owner that acks costs no task: its answer is counted as it comes.  Everything else that may happen to a
write in flight is dealt with here: an owner that fails, one that is seen down, a level that is lost, a node
that stops (rules W1 to W3, W6, H1 and H7).  In a sloppy keyspace another member may stand in for an owner
(rule W7).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from ringmill.cluster.callbacks import call_guarded, report_failed
from ringmill.cluster.deadline_wheel import DeadlineWheel
from ringmill.cluster.errors import (
    DiskFull,
    Overloaded,
    ProtocolMismatch,
    RingmillError,
    WrongEpoch,
    reason_of,
)
from ringmill.cluster.hot.key_heat import KeyHeat, Work
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.message_batcher import MessageBatcher
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.traces.spans import Span, Tracer, carried_trace
from ringmill.cluster.versions.context_token import ContextSeal
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_batch import on_durable, wait_durable
from ringmill.node.replica.replica_messages import MOST_TOGETHER, ApplyMany
from ringmill.node.requests.background import Background
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.write_in_flight import WriteInFlight
from ringmill.node.storage.engine import Commit
from ringmill.node.storage.storage_errors import CorruptBlock, CorruptRange

__all__ = ["WriteDispatcher"]

SMALL_BYTES: Final = 1024
"""A larger object is sent alone: a message beside it saves nothing that counts."""

_log = logging.getLogger(__name__)


class WriteDispatcher:
    """The handler of all writes in flight of a node."""

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
        self._one_by_one: dict[NodeId, None] = {}
        """Owners of an earlier release, which do not know APPLY_MANY; a dict keeps their order."""

    def send(self, writes: Sequence[WriteInFlight]) -> None:
        """Send writes that are in this node's log to their owners.  There is no await between applying and
        this, so that owners hear of a write in the same tick."""
        if self._background.is_over:
            self._hints.note_lost()  # nobody is left to keep a hint: the stop is not a clean one (rule W6)
        waiting: dict[tuple[Commit | None, Durability], list[WriteInFlight]] = {}
        batcher: _WriteBatcher = MessageBatcher(MOST_TOGETHER, self._send_many_to)
        for write in writes:
            self._background.keep(write)
            write.expire_on(self._wheel)
            self._send_one(write, batcher)
            if self._heat.passes():
                route, size_bytes = write.route, len(write.written.applied.encoded)
                self._heat.note(Work.WRITE, route.keyspace.id, route.key, route.partition, size_bytes)
            commit = write.written.applied.commit
            waiting.setdefault((commit, write.durability), []).append(write)
        batcher.flush()
        for (commit, durability), same in waiting.items():
            on_durable(commit, durability, partial(self._record_own_acks, same, durability, self._own_span()))

    def answer_due(self, write: WriteInFlight) -> None:
        if write.is_met:
            write.answer(write.receipt(self._seal, default_w=write.route.keyspace.w))
        elif not self._background.is_over:
            self._background.start(self._fail(write))

    def done(self, write: WriteInFlight) -> None:
        self._background.forget(write)

    async def abandon(self, write: WriteInFlight) -> None:
        for node in write.outstanding:
            if node != self._node and write.hint_of(node) is None and not write.has_stand_in(node):
                await self._leave_hint(write, node)

    def _send_one(self, write: WriteInFlight, batcher: _WriteBatcher) -> None:
        route, owners = write.route, write.route.owners
        write.deferred = self._deferred(owners, write.w, is_sloppy=write.search is not None)
        is_small = len(write.written.applied.encoded) <= SMALL_BYTES
        keyspace, allowed_s = route.keyspace.id, round(write.deadline.allowed_s, 1)
        for node in owners:
            if node == self._node:
                continue
            if node in write.deferred:
                self._background.start(self._defer(write, node))
            elif is_small and node not in self._one_by_one:
                batcher.add((node, keyspace, route.epoch, write.durability, allowed_s), write)
            else:
                self._send_to(write, node)
        if write.search is not None:
            patience_s = min(self._options.deferred_patience_s, write.deadline.left_s)
            self._wheel.add(_Patience(self, write), patience_s)

    def replace_silent(self, write: WriteInFlight) -> None:
        """Look for stand-ins: the owners of a sloppy quorum have had their time to ack."""
        if self._background.is_over:
            return
        for node in write.outstanding:
            if node != self._node and node not in write.deferred:
                self._background.start(self._find_stand_in(write, node))

    def _deferred(self, owners: Sequence[NodeId], w: int, *, is_sloppy: bool) -> tuple[NodeId, ...]:
        """Owners seen down are not asked at first, unless the level cannot be met without them (rule T7);
        in a sloppy quorum somebody stands in for them."""
        down = [node for node in owners if node != self._node and not self._liveness.is_up(node)]
        return tuple(down) if is_sloppy or len(owners) - len(down) >= w else ()

    def _own_span(self) -> Span | None:
        """The span of this node's own copy: from the tick in which the others hear of the write until it has
        acked."""
        if self._tracer is None or not (parent := carried_trace()):
            return None
        notes = {"db.operation.name": "apply"}
        return self._tracer.begin("ringmill.replica.apply", kind="internal", parent=parent, notes=notes)

    def _record_own_acks(
        self,
        writes: Sequence[WriteInFlight],
        durability: Durability,
        span: Span | None,
        failure: RingmillError | None,
    ) -> None:
        """Record this node's acks of writes that became durable together, or why they did not."""
        if span is not None:
            span.end(failure)
        for write in writes:
            if failure is None:
                write.record_ack(self._node, durability, write.route.row.row_epoch)
            else:
                write.record_failure(self._node, reason_of(failure))

    def _send_to(self, write: WriteInFlight, node: NodeId) -> None:
        """Send a write to one other owner, in a message of its own."""
        body = self._owners.apply_message(write.route, write.written.applied.encoded, write.durability)
        self._owners.send_apply(node, body, write.deadline.left_s, partial(self._on_answer, write, node))

    def _send_many_to(self, shared: _Shared, writes: Sequence[WriteInFlight]) -> None:
        """Send writes that began together and end at about the same time to one other owner."""
        node, keyspace, epoch, durability, _ = shared
        if len(writes) < self._options.together_least:
            for write in writes:
                self._send_to(write, node)
            return
        sometimes("writes go to an owner in one message")
        keys = [write.route.key for write in writes]
        objects = [write.written.applied.encoded for write in writes]
        message = ApplyMany(epoch, keyspace, durability, keys, objects)
        left_s = writes[-1].deadline.left_s
        self._owners.send_apply_many(node, message, left_s, partial(self._on_answer_to_many, writes, node))

    def _on_answer_to_many(
        self, writes: Sequence[WriteInFlight], node: NodeId, answer: bytes | RingmillError
    ) -> None:
        """Record what an owner says of writes that were sent in one message.  What it did not take at once is
        sent again, alone."""
        if isinstance(answer, bytes):
            try:
                durability, row_epochs = self._owners.applied_many(answer, len(writes))
            except RingmillError as error:
                answer = error
            else:
                for write, row_epoch in zip(writes, row_epochs, strict=True):
                    if row_epoch:
                        try:
                            self._on_ack(write, node, durability, row_epoch)
                        except Exception as error:  # noqa: BLE001 - that of one ends nobody else's wait
                            report_failed(self._on_ack, error)
                    else:
                        self._send_to(write, node)
                return
        if isinstance(answer, ProtocolMismatch):
            self._one_by_one[node] = None
        for write in writes:
            if isinstance(answer, ProtocolMismatch):
                self._send_to(write, node)
            else:
                call_guarded(self._on_failure, write, node, answer)

    def _on_answer(self, write: WriteInFlight, node: NodeId, answer: bytes | RingmillError) -> None:
        if isinstance(answer, RingmillError):
            self._on_failure(write, node, answer)
            return
        try:
            durability, row_epoch = self._owners.applied(answer)
        except RingmillError as error:
            self._on_failure(write, node, error)
            return
        self._on_ack(write, node, durability, row_epoch)

    def _on_ack(self, write: WriteInFlight, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        write.record_ack(node, durability, row_epoch)
        if not write.has_acked(node) and not self._background.is_over:
            self._background.start(self._keep_and_sync_hint(write, node))

    def _on_failure(self, write: WriteInFlight, node: NodeId, error: RingmillError) -> None:
        write.note_epoch(WrongEpoch.epoch_of(error))
        if not self._background.is_over:  # else its hint was left when the node stopped
            self._background.start(self._record_miss(write, node, reason_of(error)))

    async def _defer(self, write: WriteInFlight, node: NodeId) -> None:
        """Give an owner seen down its hint at once, and ask it only if others fail or are silent."""
        sometimes("an owner seen down is not asked")
        if await self._find_stand_in(write, node):
            write.record_failure(node, "seen down, so not asked; a fallback stands in for it")
            return
        why = await self._keep_hint(write, node)
        self._background.start(self._sync_hint(write, node))
        if await write.needs_deferred(self._options.deferred_patience_s):
            sometimes("an owner seen down is asked after all")
            self._send_to(write, node)
        else:
            write.record_failure(node, "seen down, so not asked" + why)

    async def _fail(self, write: WriteInFlight) -> None:
        """Answer that the level was not met: time is up, or no owner is left to answer.  Hints for the silent
        come first, as the client is told who acked."""
        for node in write.outstanding:
            if node != self._node and not write.has_stand_in(node):
                await self._keep_hint(write, node)
                self._background.start(self._sync_hint(write, node))
        sometimes("a write loses its quorum after sending")
        write.answer(write.lost(write.verb))

    async def _record_miss(self, write: WriteInFlight, node: NodeId, why: str) -> None:
        """Record that an owner did not get the write: the hint first, then the tally, so that an error finds
        it kept."""
        if await self._find_stand_in(write, node):
            write.record_failure(node, why)
            return
        write.record_failure(node, why + await self._keep_hint(write, node))
        await self._sync_hint(write, node)

    async def _find_stand_in(self, write: WriteInFlight, owner: NodeId) -> bool:
        """Have another member hold the write for an owner.  Returns whether one does (rule W7)."""
        if write.search is None:
            return False
        encoded, deadline = write.written.applied.encoded, write.deadline
        try:
            found = await self._fallbacks.find(write.search, write.route, owner, encoded, deadline)
        except asyncio.CancelledError:
            await self._leave_hint(write, owner)
            raise
        if found is not None and not write.has_stand_in(owner):
            write.record_stand_in(owner, found)
        return found is not None

    async def _keep_and_sync_hint(self, write: WriteInFlight, node: NodeId) -> None:
        await self._keep_hint(write, node)
        await self._sync_hint(write, node)

    async def _keep_hint(self, write: WriteInFlight, node: NodeId) -> str:
        """Keep the write for an owner.  Returns what to add to its failure when that fails too (rule H7)."""
        if write.hint_of(node) is not None:
            return ""
        try:
            if not await self._keep(write, node):
                return ", and its hint was dropped, as too many wait for it: it is compared when it is back"
        except asyncio.CancelledError:
            await self._leave_hint(write, node)
            raise
        except (DiskFull, Overloaded, CorruptBlock, CorruptRange) as error:
            sometimes("a hint waits in memory for the disk")
            return f", and its hint waits in memory until the disk takes it: {reason_of(error)}"
        except RingmillError as error:
            return f", and no hint could be kept: {reason_of(error)}"
        return ""

    async def _keep(self, write: WriteInFlight, node: NodeId) -> bool:
        """Keep a hint.  Returns False when it was dropped, and the partition owed to its owner (rule H2)."""
        commit = await self._hints.keep(write.route.hint_key, [node], write.written.applied.stored)
        if commit is None:
            return False
        write.record_hint(node, commit)
        sometimes("an owner that missed a write gets a hint")
        return True

    async def _sync_hint(self, write: WriteInFlight, node: NodeId) -> None:
        """Wait until a hint is on the disk: one that is only in memory would not outlive a crash."""
        try:
            await wait_durable(write.hint_of(node), Durability.SYNCED)
        except RingmillError as error:
            _log.warning("the hint for %s may not outlive a crash: %s", node, reason_of(error))

    async def _leave_hint(self, write: WriteInFlight, node: NodeId) -> None:
        """Keep a hint if a moment is enough: the node stops, and the owner has not acked (rule W6)."""
        sometimes("a stopping node leaves hints behind")
        try:
            async with asyncio.timeout(self._options.last_moment_s):
                await self._keep(write, node)
        except (TimeoutError, RingmillError) as error:
            self._hints.note_lost()
            _log.warning(
                "stopping with a write not acked by %s and no hint for it: %s", node, reason_of(error)
            )


_Shared: TypeAlias = tuple[NodeId, KeyspaceId, Epoch, Durability, float]
"""What writes that travel in one message have in common: owner, keyspace, epoch, durability, and the seconds
that they are allowed, to a tenth."""

_WriteBatcher: TypeAlias = MessageBatcher[_Shared, WriteInFlight]


class _Patience:
    """How long the silent owners of one write have to ack; a wheel expires it."""

    __slots__ = ("_dispatcher", "_write")

    def __init__(self, dispatcher: WriteDispatcher, write: WriteInFlight) -> None:
        self._dispatcher = dispatcher
        self._write = write

    def expire(self) -> None:
        self._dispatcher.replace_silent(self._write)
