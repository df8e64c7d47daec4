"""Makes sure that an owner answers now, before a write goes there that cannot be sent twice.

The same rule as a client's (client/routing/directory.py): who answered within the last second has shown it,
anybody else is asked a small question first.  Rule W5: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TimeKeeper
from ringmill.node.node_options import RequestOptions
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline

__all__ = ["Proofs"]

_AGE_S: Final = 1.0
_QUESTION_S: Final = 2.0
_SHARE: Final = 0.25  # of the whole time, for an owner that nobody answered before


class Proofs:
    def __init__(
        self, *, timekeeper: TimeKeeper, background: Background, clock: Clock, options: RequestOptions
    ) -> None:
        self._timekeeper = timekeeper
        self._background = background
        self._clock = clock
        self._options = options
        self._answered_at: dict[NodeId, float] = {}
        self._questions: dict[NodeId, asyncio.Task[None]] = {}

    def patience(self, deadline: Deadline) -> tuple[float, float]:
        """How long to wait for each owner: little at first, and longer once all of them were silent."""
        longer_s = deadline.allowed_s * _SHARE
        return min(self._options.proof_patience_s, longer_s), longer_s

    async def answers(self, node: NodeId, patience_s: float) -> bool:
        """Whether the node answered within the last second, or does so within `patience_s`.

        The question goes on when patience ends, so that a late answer still counts.
        """
        if self._has_answered(node):
            return True
        question = self._questions.get(node)
        if question is None or question.done():
            question = self._questions[node] = self._background.start(self._ask(node))
        await asyncio.wait({question}, timeout=patience_s)
        if not self._has_answered(node):
            sometimes("a write is not forwarded to a silent owner")
        return self._has_answered(node)

    def note(self, node: NodeId) -> None:
        """The node has answered something."""
        self._answered_at[node] = self._clock.monotonic()

    def _has_answered(self, node: NodeId) -> bool:
        answered_at = self._answered_at.get(node)
        return answered_at is not None and self._clock.monotonic() - answered_at < _AGE_S

    async def _ask(self, node: NodeId) -> None:
        if await self._timekeeper.hears(node, _QUESTION_S):
            self.note(node)
