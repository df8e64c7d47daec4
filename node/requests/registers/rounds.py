"""One round trip to all owners of a register: a majority prepares, accepts or is read.

All owners are asked at once, and those that are slow are not waited for once a majority has agreed; what was
sent to them stands.  One that cannot be reached is asked again: a round without a majority goes on for as
long as those that are missing are not seen down.  cluster/consensus/round_tally.py counts.  Rules R1 and R3:
docs/protocol/registers.md; M1, for a register whose partition moves: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import RingmillError, Unavailable, WrongEpoch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.sometimes import sometimes
from ringmill.node.replica.registers.register_messages import RegisterAnswer, RegisterRequest
from ringmill.node.replica.routes import Route
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.registers.round_trace import QuestionTrace, RegisterTrace

__all__ = ["Rounds"]

_AGAIN_S: Final = 0.25
"""Between two attempts to reach an owner that is down."""


class Rounds:
    def __init__(
        self,
        *,
        transport: Transport,
        background: Background,
        stall_s: float,
        may_be_back: Callable[[NodeId], bool],
    ) -> None:
        """`may_be_back`: whether an owner that could not be reached may be reached in a moment, as it is not
        seen down."""
        self._transport = transport
        self._background = background
        self._stall_s = stall_s
        self._may_be_back = may_be_back

    async def ask(
        self,
        method: str,
        route: Route,
        deadline: Deadline,
        *,
        ballot: Ballot = NO_BALLOT,
        value: bytes = b"",
        is_read: bool = False,
        trace: RegisterTrace | None = None,
    ) -> RoundTally:
        """The tally of a round, once a majority agrees, none can, or the deadline has come.  Raises nothing.

        None can once too few owners are left that have not refused and are not seen down.  An owner that is
        silent is waited for a moment only once another one has refused, as the next round will not need it;
        so it is in a read whose majority does not tell the same.  `trace` notes what they say.
        """
        tally = RoundTally(route.owners, route.row.majority)
        asked: _RoundWatch
        if trace is None:
            asked = _RoundWatch(tally, is_read, self._may_be_back)
        else:
            traced = _TracedWatch(tally, is_read, self._may_be_back)
            traced.question, asked = trace.begin(method, ballot, route, tally), traced
        request = RegisterRequest(route.epoch, route.keyspace.id, route.key, ballot, value).encode()
        for node in route.owners:
            self._background.start(self._ask_until_answered(asked, method, node, request, route, deadline))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline.left_s):
                    await self._until_in_doubt(asked)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(deadline.left_s, self._stall_s)):
                    await asked.over.wait()
        finally:
            asked.end()  # what comes later must not change the outcome
        return asked.tally

    @staticmethod
    async def _until_in_doubt(asked: _RoundWatch) -> None:
        """An owner that is asked again may be seen down while that question hangs, so look at times."""
        while not asked.in_doubt.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await asked.in_doubt.wait()
            asked.look_again()

    async def _ask_until_answered(
        self, asked: _RoundWatch, method: str, node: NodeId, request: bytes, route: Route, deadline: Deadline
    ) -> None:
        """Ask an owner again until it answers or the round is over: one that is down may be back while others
        are silent.

        One that has done it already refuses a second prepare, and takes a second accept.
        """
        while not await self._ask_once(asked, method, node, request, route, deadline):
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await asked.over.wait()
            if asked.over.is_set() or deadline.left_s <= 0:
                return

    async def _ask_once(
        self, asked: _RoundWatch, method: str, node: NodeId, request: bytes, route: Route, deadline: Deadline
    ) -> bool:
        """Ask an owner.  Returns False when it could not be reached."""
        try:
            body = await self._transport.call(
                node, method, request, timeout_s=max(0.001, deadline.left_s), priority=Priority.WRITE
            )
            answer = RegisterAnswer.decode(body)
            if answer.row_epoch != route.row.row_epoch:
                raise WrongEpoch(f"{node} answered under row epoch {answer.row_epoch}")
        except RingmillError as error:
            asked.record_failure(node, error)
            return not isinstance(error, Unavailable)
        asked.record_answer(node, answer)
        return True


class _RoundWatch:
    """Counts the answers to one question to the owners, and tells when enough have come."""

    def __init__(self, tally: RoundTally, is_read: bool, may_be_back: Callable[[NodeId], bool]) -> None:
        self.tally = tally
        self.in_doubt = asyncio.Event()
        """The rest is waited for a moment at most; set also when it is over."""
        self.over = asyncio.Event()
        self._is_read = is_read
        self._may_be_back = may_be_back
        self._unreached: dict[NodeId, None] = {}  # each is asked again

    def record_answer(self, node: NodeId, answer: RegisterAnswer) -> None:
        if self.over.is_set():
            return  # the round is over, and its outcome must not change any more
        self._unreached.pop(node, None)
        if answer.refused_counter:
            self.tally.refuse(node, answer.refused_counter)
        else:
            self.tally.agree(node, answer.accepted, answer.value, answer.remains)
        self._check_progress()

    def record_failure(self, node: NodeId, error: RingmillError) -> None:
        if not self.over.is_set():
            self.tally.fail(node, f"{error.code}: {error.message}")
            self.tally.newer_epoch = max(self.tally.newer_epoch, WrongEpoch.epoch_of(error))
            self._unreached.pop(node, None)
            if isinstance(error, Unavailable) and not error.was_told:
                self._unreached[node] = None
            self._check_progress()

    def end(self) -> None:
        self.over.set()

    def look_again(self) -> None:
        """Owners may have been seen down since the last answer."""
        if not self.over.is_set():
            self._check_progress()

    def _check_progress(self) -> None:
        tally = self.tally
        is_enough = tally.is_met and (not self._is_read or tally.is_chosen)
        if is_enough or ((tally.is_lost or tally.all_answered) and not self._may_be_met):
            self.over.set()
        if self.over.is_set() or tally.is_met or tally.is_preempted:
            self.in_doubt.set()

    @property
    def _may_be_met(self) -> bool:
        """Whether a majority may come about yet, by owners that could not be reached a moment ago (rule T7).

        Not in a round after which there will be another one: that asks them all.
        """
        tally = self.tally
        if tally.is_met or tally.is_preempted or tally.newer_epoch:
            return False
        back = [node for node in self._unreached if self._may_be_back(node)]
        may_be = bool(back) and tally.may_agree(back) >= tally.majority
        if may_be:
            sometimes("a round of a register goes on without a majority while owners are not seen down")
        return may_be


class _TracedWatch(_RoundWatch):
    question: QuestionTrace

    def record_answer(self, node: NodeId, answer: RegisterAnswer) -> None:
        if not self.over.is_set():
            self.question.note_answer(node, answer)
        super().record_answer(node, answer)

    def record_failure(self, node: NodeId, error: RingmillError) -> None:
        if not self.over.is_set():
            self.question.note_failure(node, error)
        super().record_failure(node, error)

    def end(self) -> None:
        super().end()
        self.question.end()
