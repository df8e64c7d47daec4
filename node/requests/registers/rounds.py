"""One round trip to all owners of a register: a majority prepares, accepts or is read.

All owners are asked at once, and those that are slow are not waited for once a majority has agreed; what was
sent to them stands.  cluster/consensus/round_tally.py counts.  Rules R1 and R3: docs/protocol/registers.md;
M1, for a register whose partition moves: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import RingmillError, Unavailable, WrongEpoch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.node.replica.registers.register_messages import RegisterAnswer, RegisterRequest
from ringmill.node.replica.routes import Route
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline

__all__ = ["Rounds"]

_AGAIN_S: Final = 0.25
"""Between two attempts to reach an owner that is down."""


class Rounds:
    def __init__(self, *, transport: Transport, background: Background, stall_s: float) -> None:
        self._transport = transport
        self._background = background
        self._stall_s = stall_s

    async def ask(
        self,
        method: str,
        route: Route,
        deadline: Deadline,
        *,
        ballot: Ballot = NO_BALLOT,
        value: bytes = b"",
        is_read: bool = False,
    ) -> RoundTally:
        """The tally of a round, once a majority agrees, none can, or the deadline has come.  Raises nothing.

        An owner that is silent is waited for a moment only once another one has refused, as the next round
        will not need it; so it is in a read whose majority does not tell the same.
        """
        asked = _RoundWatch(RoundTally(route.owners, route.row.majority), is_read)
        request = RegisterRequest(route.epoch, route.keyspace.id, route.key, ballot, value).encode()
        for node in route.owners:
            self._background.start(self._ask_until_answered(asked, method, node, request, route, deadline))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline.left_s):
                    await asked.in_doubt.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(deadline.left_s, self._stall_s)):
                    await asked.over.wait()
        finally:
            asked.over.set()  # what comes later must not change the outcome
        return asked.tally

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

    def __init__(self, tally: RoundTally, is_read: bool) -> None:
        self.tally = tally
        self.in_doubt = asyncio.Event()
        """The rest is waited for a moment at most; set also when it is over."""
        self.over = asyncio.Event()
        self._is_read = is_read

    def record_answer(self, node: NodeId, answer: RegisterAnswer) -> None:
        if self.over.is_set():
            return  # the round is over, and its outcome must not change any more
        if answer.refused_counter:
            self.tally.refuse(node, answer.refused_counter)
        else:
            self.tally.agree(node, answer.accepted, answer.value, answer.remains)
        self._check_progress()

    def record_failure(self, node: NodeId, error: RingmillError) -> None:
        if not self.over.is_set():
            self.tally.fail(node, f"{error.code}: {error.message}")
            self.tally.newer_epoch = max(self.tally.newer_epoch, WrongEpoch.epoch_of(error))
            self._check_progress()

    def _check_progress(self) -> None:
        tally = self.tally
        is_enough = tally.is_met and (not self._is_read or tally.is_chosen)
        if is_enough or tally.is_lost or tally.all_answered:
            self.over.set()
        if self.over.is_set() or tally.is_met or tally.is_preempted:
            self.in_doubt.set()
