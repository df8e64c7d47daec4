"""One write on its way to its owners.

It outlives the request: the client is answered when the level is met, and the write goes on until every
owner has acked or has a hint.  It is never undone (rule W1), and an outcome that is not certainly "failed" is
"unknown" (rule W3).

It counts answers and never waits.  Its handler acts: it answers the client when that is due, and keeps hints
for owners that missed the write (node/requests/write_dispatcher.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from ringmill.cluster.deadline_wheel import Bucket, DeadlineWheel
from ringmill.cluster.errors import QuorumNotReached, RingmillError
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.quorum.tally import SloppyTally, WriteTally
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.node.replica.object_store import Written
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.fallbacks.fallbacks import Search
from ringmill.node.storage.engine import Commit

__all__ = ["OnWriteDone", "WriteHandler", "WriteInFlight"]

OnWriteDone: TypeAlias = Callable[[QuorumReceipt | RingmillError], None]
"""Called once, with what the client of a write is answered."""


class WriteHandler(Protocol):
    """Acts for a write in flight (node/requests/write_dispatcher.py)."""

    def answer_due(self, write: WriteInFlight) -> None:
        """Answer the client: the level is met, or nobody is left who could answer, or time is up."""
        ...

    def done(self, write: WriteInFlight) -> None:
        """Forget the write: every owner has acked or failed."""
        ...

    def abandon(self, write: WriteInFlight) -> Coroutine[Any, Any, None]:
        """Leave hints for the owners that have not answered, as the node stops."""
        ...


class WriteInFlight:
    __slots__ = (
        "_bucket", "_first_round_over", "_handler", "_hints", "_on_done", "_tally", "deadline", "deferred",
        "durability", "route", "search", "verb", "written",
    )  # fmt: skip

    def __init__(
        self,
        handler: WriteHandler,
        route: Route,
        written: Written,
        *,
        w: int,
        durability: Durability,
        deadline: Deadline,
        verb: str,
        on_done: OnWriteDone,
    ) -> None:
        self.route = route
        self.written = written
        self.durability = durability
        self.deadline = deadline
        self.verb = verb
        self.deferred: tuple[NodeId, ...] = ()  # owners to be asked only if the level cannot be met without
        self._handler = handler
        self._on_done: OnWriteDone | None = on_done
        self._bucket: Bucket | None = None
        is_sloppy = route.keyspace.is_sloppy
        self.search = Search() if is_sloppy else None
        self._tally = (SloppyTally if is_sloppy else WriteTally)(w, route.owners, route.row.row_epoch)
        self._hints: dict[NodeId, Commit] = {}
        self._first_round_over: asyncio.Event | None = None  # made when somebody waits for it

    def expire_on(self, wheel: DeadlineWheel) -> None:
        """Have the client answered at the deadline, whoever has acked by then."""
        if self._on_done is not None:
            self._bucket = wheel.add(self, self.deadline.left_s)

    def record_ack(self, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        self._tally.record_ack(node, durability, row_epoch)
        self._check_progress()

    def record_failure(self, node: NodeId, why: str) -> None:
        self._tally.record_failure(node, why)
        self._check_progress()

    def note_epoch(self, epoch: int) -> None:
        """An owner has refused by a newer topology, of this epoch; 0: it has not."""
        self._tally.newer_epoch = max(self._tally.newer_epoch, epoch)

    def record_stand_in(self, owner: NodeId, fallback: NodeId) -> None:
        """Another member holds the write for an owner, on its disk (rule W7)."""
        assert isinstance(self._tally, SloppyTally), "only owners count in a strict keyspace"
        self._tally.record_stand_in(owner, fallback)
        self._check_progress()

    def has_stand_in(self, owner: NodeId) -> bool:
        return owner in self._tally.stand_ins

    def record_hint(self, node: NodeId, commit: Commit) -> None:
        self._hints[node] = commit

    def hint_of(self, node: NodeId) -> Commit | None:
        """The commit of the hint that was kept for an owner, if one was."""
        return self._hints.get(node)

    @property
    def outstanding(self) -> tuple[NodeId, ...]:
        """Owners that have neither acked nor failed."""
        return self._tally.outstanding

    @property
    def w(self) -> int:
        """How many acks the level needs."""
        return self._tally.w

    @property
    def is_met(self) -> bool:
        """At least `w` owners have acked."""
        return self._tally.is_met

    def has_acked(self, node: NodeId) -> bool:
        """Whether this owner's ack was counted."""
        return node in self._tally.acks

    async def needs_deferred(self, patience_s: float) -> bool:
        """Wait until the level is met, or the owners asked so far cannot meet it, or have been silent for
        `patience_s`.  Returns whether it is not met.  Rule T7."""
        if not self._is_first_round_over():
            self._first_round_over = self._first_round_over or asyncio.Event()
            try:
                async with asyncio.timeout(min(patience_s, self.deadline.allowed_s / 4)):
                    await self._first_round_over.wait()
            except TimeoutError:
                sometimes("a write does not wait for a silent owner alone")
        return not self._tally.is_met

    def expire(self) -> None:
        """The deadline has passed.  A lost level does not end the wait before: the error is to name all who
        acked."""
        self._bucket = None
        self._request_answer()

    def answer(self, outcome: QuorumReceipt | RingmillError) -> None:
        """Answer the client; a second answer is dropped."""
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(outcome)

    def abandon(self) -> Coroutine[Any, Any, None]:
        return self._handler.abandon(self)

    def receipt(self, seal: ContextSeal, *, default_w: int) -> QuorumReceipt:
        """The receipt: which nodes hold the write now, and how durably (rule W2).

        Call it once the level is met.  It has no context if the value has siblings (rule V7).
        """
        assert self._tally.is_met, "a receipt before the level is met"
        route, stored, sibling = self.route, self.written.applied.stored, self.written.sibling
        is_alone, seen = stored.siblings == (sibling,), ContextToken(stored.context, sibling.time)
        if not is_alone:
            sometimes("a receipt has no context beside siblings")
        acks, stand_ins = self._tally.acks, self._tally.stand_ins
        replicas = [QuorumAck(node, Role.OWNER, acks[node]) for node in self.route.owners if node in acks]
        replicas += [
            QuorumAck(node, Role.HINTED, Durability.SYNCED if commit.is_synced else Durability.MEMORY)
            for node, commit in sorted(self._hints.items())
            if node not in acks and node not in stand_ins
        ]
        needed = self.route.row.writers_for(self.route.row.level(default_w))
        is_weak = self._tally.w < needed
        if stand_ins:
            replicas += [
                QuorumAck(fallback, Role.FALLBACK, Durability.SYNCED, owner)
                for owner, fallback in sorted(stand_ins.items())
                if owner not in acks
            ]
            is_weak = is_weak or len(acks) < needed
        return QuorumReceipt(
            sibling.dot,
            seal.token(seen, route.keyspace.id, route.key, (sibling,), route.owners) if is_alone else b"",
            sibling.time,
            self.route.epoch,
            self._tally.w,
            tuple(replicas),
            is_weak=is_weak,
        )

    def lost(self, verb: str) -> QuorumNotReached:
        """The error when the level was not met.

        Some owners may hold the write, so the outcome is unknown.
        """
        silent = f"no ack within {self.deadline.allowed_s:.2f} s"
        failed = self._tally.reasons(silent)
        acked = [node for node in self.route.owners if self.has_acked(node)]
        acked += [node for owner, node in sorted(self._tally.stand_ins.items()) if owner not in acked]
        tally = self._tally
        return QuorumNotReached.of(
            verb, tally.w, acked, failed, outcome="unknown", newer_epoch=tally.newer_epoch
        )

    def _check_progress(self) -> None:
        tally = self._tally
        is_over = tally.is_over
        if self._first_round_over is not None and self._is_first_round_over():
            self._first_round_over.set()
        if is_over or tally.is_met:
            self._request_answer()
        if is_over:
            self._handler.done(self)

    def _is_first_round_over(self) -> bool:
        hoped_for = [node for node in self.outstanding if node not in self.deferred]
        return self._tally.is_met or len(self._tally.acks) + len(hoped_for) < self._tally.w

    def _request_answer(self) -> None:
        if self._bucket is not None:
            self._bucket.pop(self, None)
            self._bucket = None
        if self._on_done is not None:
            self._handler.answer_due(self)
