"""One write on its way to its owners.

It outlives the request: the client is answered when the level is met, and the flight continues until every
owner has acked or has a hint.  It is never undone (rule W1), and an outcome that is not certainly "failed" is
"unknown" (rule W3).
"""

from __future__ import annotations

import asyncio

from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.quorum.tally import WriteTally
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextToken, encode_context
from ringmill.node.replica.object_store import Written
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.storage.engine import Commit

__all__ = ["Flight"]


class Flight:
    def __init__(
        self, route: Route, written: Written, w: int, durability: Durability, deadline: Deadline
    ) -> None:
        self.route = route
        self.written = written
        self.durability = durability
        self.deadline = deadline
        self.deferred: tuple[NodeId, ...] = ()  # owners to be asked only if the level cannot be met without
        self._tally = WriteTally(w, route.owners, route.row.row_epoch)
        self._hints: dict[NodeId, Commit] = {}
        self._answerable = asyncio.Event()
        self._first_round_over = asyncio.Event()

    def acked(self, node: NodeId, durability: Durability, row_epoch: Epoch) -> None:
        self._tally.record_ack(node, durability, row_epoch)
        self._look()

    def failed(self, node: NodeId, why: str) -> None:
        self._tally.record_failure(node, why)
        self._look()

    def hinted(self, node: NodeId, commit: Commit) -> None:
        self._hints[node] = commit

    def hint_of(self, node: NodeId) -> Commit | None:
        """The commit of the hint that was kept for an owner, if one was."""
        return self._hints.get(node)

    @property
    def outstanding(self) -> tuple[NodeId, ...]:
        """Owners that have neither acked nor failed."""
        return self._tally.outstanding

    def counts(self, node: NodeId) -> bool:
        """Whether this owner's ack was counted."""
        return node in self._tally.acks

    async def needs_deferred(self, patience_s: float) -> bool:
        """Wait until the level is met, or the owners asked so far cannot meet it, or have been silent for
        `patience_s`.  Returns whether it is not met.  Rule T7."""
        try:
            async with asyncio.timeout(min(patience_s, self.deadline.allowed_s / 4)):
                await self._first_round_over.wait()
        except TimeoutError:
            sometimes("a write does not wait for a silent owner alone")
        return not self._tally.is_met

    async def wait_for_level(self) -> bool:
        """Wait until the level is met, no owner is left to answer, or time is up.  Returns whether it is met.

        A level that can no longer be met does not end the wait, because the error names all owners that
        acked.
        """
        try:
            async with asyncio.timeout(self.deadline.left_s):
                await self._answerable.wait()
        except TimeoutError:
            pass
        return self._tally.is_met

    def receipt(self, *, default_w: int) -> QuorumReceipt:
        """The receipt: which nodes hold the write now, and how durably (rule W2).

        Call it once the level is met.

        It has no context if the value has siblings (rule V7).
        """
        assert self._tally.is_met, "a receipt before the level is met"
        stored, sibling = self.written.applied.stored, self.written.sibling
        is_alone = stored.siblings == (sibling,)
        if not is_alone:
            sometimes("a receipt has no context beside siblings")
        owners = [
            QuorumAck(node, Role.OWNER, self._tally.acks[node])
            for node in self.route.owners
            if self.counts(node)
        ]
        hints = [
            QuorumAck(node, Role.HINTED, Durability.SYNCED if commit.is_synced else Durability.MEMORY)
            for node, commit in sorted(self._hints.items())
            if not self.counts(node)
        ]
        return QuorumReceipt(
            sibling.dot,
            self._token(ContextToken(stored.context, sibling.time)) if is_alone else b"",
            sibling.time,
            self.route.epoch,
            self._tally.w,
            (*owners, *hints),
            is_weak=self._tally.w < min(default_w, len(self.route.owners)),
        )

    def lost(self, verb: str) -> QuorumNotReached:
        """The error when the level was not met.

        Some owners may hold the write, so the outcome is unknown.
        """
        silent = f"no ack within {self.deadline.allowed_s:.2f} s"
        failed = self._tally.reasons(silent)
        acked = [node for node in self.route.owners if self.counts(node)]
        return QuorumNotReached.of(verb, self._tally.w, acked, failed, outcome="unknown")

    def _token(self, context: ContextToken) -> bytes:
        return encode_context(context, self.route.keyspace.id, self.route.key)

    def _look(self) -> None:
        if self._tally.is_met or self._tally.is_over:
            self._answerable.set()
        hoped_for = [node for node in self.outstanding if node not in self.deferred]
        if self._tally.is_met or len(self._tally.acks) + len(hoped_for) < self._tally.w:
            self._first_round_over.set()
