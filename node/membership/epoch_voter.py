"""The voter's side of a new epoch: an acceptor for the epoch after the document that this node holds.

What it agrees to is on the disk before it answers.  It votes only if the document names it with its disk, and
only once its start is confirmed: a voter that may have forgotten a promise must not make another one.  Asked
about an epoch that is decided already, it answers with its newest document.

Rule T2: docs/protocol/topology.md.  cluster/consensus/acceptor.py has the steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.epoch_vote import STORED_AS, EpochVote, decode_vote, encode_vote
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import Epoch
from ringmill.cluster.overload.late_calls import check_in_time
from ringmill.cluster.ports import Clock, Handler, Incoming
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import ControlState
from ringmill.node.membership.epoch_messages import (
    EPOCH_ACCEPT,
    EPOCH_ACCEPTED,
    EPOCH_PREPARE,
    EpochAnswer,
    EpochRequest,
)
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["EpochVoter"]

_FARTHEST: Final = 1 << 40
"""Counters above the promised one that are believed; a message with a wild one would use up all of them."""

Step = Callable[[AcceptorState], AcceptorState | None]


class EpochVoter:
    def __init__(self, seat: Owner, *, topology: TopologyAgent, store: ControlState, clock: Clock) -> None:
        self._seat = seat
        self._topology = topology
        self._store = store
        self._clock = clock
        self._voting = asyncio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        return {
            EPOCH_PREPARE: self._prepare,
            EPOCH_ACCEPT: self._accept,
            EPOCH_ACCEPTED: self._tell_accepted,
        }

    @property
    def accepted(self) -> EpochAnswer:
        """What this node has accepted last, and does not know to be decided; also while it does not serve."""
        state = decode_vote(self._store.get(STORED_AS)).state
        return EpochAnswer(accepted=state.accepted, document=state.value)

    async def _tell_accepted(self, incoming: Incoming) -> bytes:
        return self.accepted.encode()

    async def _prepare(self, incoming: Incoming) -> bytes:
        request = EpochRequest.decode(incoming.body)
        return await self._vote(request, incoming, lambda state: prepare(state, request.ballot))

    async def _accept(self, incoming: Incoming) -> bytes:
        request = EpochRequest.decode(incoming.body)
        if not request.document:
            raise ProtocolMismatch("an accept without a document")
        return await self._vote(
            request, incoming, lambda state: accept(state, request.ballot, request.document)
        )

    async def _vote(self, request: EpochRequest, incoming: Incoming, step: Step) -> bytes:
        """Raises Unavailable when this node does not vote on it, InvalidArgument for a document that cannot
        be next."""
        if request.epoch > self._topology.epoch + 1:
            await self._topology.know(Epoch(request.epoch - 1), ask=incoming.sender)
        async with self._voting:
            check_in_time(incoming, self._clock)
            current = self._topology.serving_topology()
            if current.cluster != request.cluster:
                raise InvalidArgument(f"{self._seat.node} is of cluster {current.cluster}")
            if current.epoch >= request.epoch:
                sometimes("a voter answers with a newer document")
                return EpochAnswer(newest=current.encode()).encode()
            self._check_may_vote(current)
            if request.document:
                check_next(current, Topology.decode(request.document))
            return (await self._step(request, step)).encode()

    async def _step(self, request: EpochRequest, step: Step) -> EpochAnswer:
        present = decode_vote(self._store.get(STORED_AS)).of(request.epoch)
        if request.ballot.counter > present.promised.counter + _FARTHEST:
            raise ProtocolMismatch(f"a ballot counts to {request.ballot.counter}, far above all that was met")
        following = step(present)
        if following is None:
            return EpochAnswer(refused_counter=max(1, present.promised.counter))
        await self._keep(EpochVote(request.epoch, following))
        self._topology.serving_topology()  # a start that is withdrawn meanwhile does not answer
        document = b"" if request.document else following.value
        return EpochAnswer(accepted=following.accepted, document=document)

    async def _keep(self, vote: EpochVote) -> None:
        """Durable on return."""
        await self._store.put_synced(STORED_AS, encode_vote(vote))

    def _check_may_vote(self, current: Topology) -> None:
        if self._seat not in current.voters:
            raise Unavailable(
                f"{self._seat.node} with disk {self._seat.disk} is not a voter of epoch {current.epoch}"
            )
