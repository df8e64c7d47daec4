"""Makes sure that an owner answers now, before a write goes there that cannot be sent twice.

The same rule as a client's (client/routing/directory.py): who answered within the last second has shown it,
anybody else is asked a small question first.  So is an owner that has a write and says nothing
(cluster/silence.py).  Rules W4 and W5: docs/protocol/writes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TimeKeeper
from ringmill.node.node_options import RequestOptions
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline

__all__ = ["Proofs"]

_AGE_S: Final = 1.0
_QUESTION_S: Final = 2.0
_SHARE: Final = 0.25  # of the time allowed: the longest wait for one owner while others are left


class Proofs:
    def __init__(self, *, timekeeper: TimeKeeper, background: Background, options: RequestOptions) -> None:
        self._timekeeper = timekeeper
        self._background = background
        self._options = options
        self._answered_at: dict[NodeId, float] = {}
        self._silent: set[NodeId] = set()  # their last question ended with its time, not with a refusal
        self._questions: dict[NodeId, asyncio.Task[None]] = {}

    async def answers(self, node: NodeId, deadline: Deadline) -> bool:
        """Whether the node answered within the last second, or does so soon, as there are others to ask.

        The question goes on when patience ends, so that a late answer still counts.
        """
        if self._has_answered(node):
            return True
        patience_s = min(self._options.proof_patience_s, deadline.allowed_s * _SHARE, deadline.left_s)
        question = self.inquire(node)
        if question is not None:
            await asyncio.wait({question}, timeout=patience_s)
        if not self._has_answered(node):
            sometimes("a write is not forwarded to a silent owner")
        return self._has_answered(node)

    async def first_to_answer(self, nodes: Sequence[NodeId], deadline: Deadline) -> NodeId | None:
        """The first of these to answer in all of the time left, or None.

        All are asked side by side; who is silent for the time of a question is asked again, who refuses is
        not.
        """
        asked = {node: question for node in nodes if (question := self.inquire(node)) is not None}
        while True:
            for node in nodes:
                if self._has_answered(node):
                    return node
            for node in [node for node, question in asked.items() if question.done()]:
                again = self.inquire(node) if node in self._silent else None
                if again is None:
                    del asked[node]
                else:
                    asked[node] = again
            if not asked or deadline.left_s <= 0:
                return None
            await asyncio.wait(asked.values(), timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)

    def note(self, node: NodeId) -> None:
        """The node has answered something."""
        self._answered_at[node] = asyncio.get_running_loop().time()

    def forget(self, node: NodeId) -> None:
        """The node has failed a call: it has to show again that it answers."""
        self._answered_at.pop(node, None)

    @property
    def is_over(self) -> bool:
        """This node stops."""
        return self._background.is_over

    def answered_at(self, node: str) -> float:
        """When the node answered last, on the loop's clock; 0 when it never did, or has failed since."""
        return self._answered_at.get(NodeId(node), 0.0)

    def fell_silent(self, node: str) -> None:
        """It has writes, and nothing comes."""
        sometimes("an owner falls silent with forwarded writes under way")
        self.forget(NodeId(node))

    def inquire(self, name: str) -> asyncio.Task[None] | None:
        """The question that is under way to a node, or a new one; None when this node stops."""
        node = NodeId(name)
        question = self._questions.get(node)
        if question is None or question.done():
            try:
                question = self._questions[node] = self._background.start(self._ask(node))
            except Unavailable:
                return None
        return question

    def _has_answered(self, node: NodeId) -> bool:
        answered_at = self._answered_at.get(node)
        return answered_at is not None and asyncio.get_running_loop().time() - answered_at < _AGE_S

    async def _ask(self, node: NodeId) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._silent.discard(node)
        if await self._timekeeper.hears(node, _QUESTION_S):
            self.note(node)
        elif loop.time() - began > _QUESTION_S / 2:
            self._silent.add(node)
