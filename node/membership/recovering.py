"""Takes this node over into the cluster that goes on without lost members, by the operator's word.

The word is given to one member that is left.  It makes sure that those that were named are silent and all
others are not, takes their newest document first, and holds the new one durably before it answers.  The
others take it up as they take up any document that is newer than theirs (node/membership/offering.py).

Rule T9: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.ring.recovery import check_recoverable, is_recovered, recovered
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Topology
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPTED, EpochAnswer
from ringmill.node.membership.epoch_voter import EpochVoter
from ringmill.node.membership.liveness import Liveness
from ringmill.node.membership.topology_agent import PULL, TopologyAgent

__all__ = ["Recovering"]

_ASK_TIMEOUT_S: Final = 1.5
_LOOK_S: Final = 1.5
_AGAIN_TIMEOUT_S: Final = 1.0
"""With the two above less than the 5 s that a command waits by default."""
_BACK_S: Final = 1.0
"""The longest that a link waits before it dials anew (cluster/adapters/network/frame_link.py)."""
_log = logging.getLogger(__name__)


class Recovering:
    def __init__(
        self,
        node: NodeId,
        *,
        topology: TopologyAgent,
        voter: EpochVoter,
        liveness: Liveness,
        transport: Transport,
    ) -> None:
        self._node = node
        self._topology = topology
        self._voter = voter
        self._liveness = liveness
        self._transport = transport

    async def go_on_without(self, lost: Collection[NodeId]) -> tuple[Topology, bool]:
        """The document that this node holds then, and whether this call has made it.

        Raises InvalidArgument when these are not the members to do without: one of them answers, another one
        does not, or the others can still decide; Unavailable when this node has no place in its cluster, or
        another one that is left has not gone over yet from the former one; what the store raises.

        So it does when the word was given before: who asks again learns whether it has reached all.
        """
        if self._topology.current is None or self._topology.is_displaced:
            raise Unavailable(f"{self._node} has no place in a cluster, so it goes on with none")
        if is_recovered(self._topology.current, lost):
            await self._check_gone_over(self._topology.current)
            return self._topology.current, False
        check_recoverable(self._topology.current, lost)
        if self._node in lost:
            raise InvalidArgument(f"{self._node} is not lost: it was asked")
        asked_by, current = None, self._topology.current
        newest = current
        while current is not asked_by:  # a newer one may have other members, and other disks
            asked_by = current
            await self._check_silent(current, lost)
            newest = await self._with_accepted(current, lost)
            current = self._topology.current
            if is_recovered(current, lost):
                await self._check_gone_over(current)
                return current, False
        following = recovered(newest, lost)
        _log.warning(
            "cluster %s goes on as %s without %s: their loss was accepted",
            current.cluster,
            following.cluster,
            ", ".join(sorted(lost)),
        )
        await self._topology.adopt(following)
        return following, True

    async def _with_accepted(self, current: Topology, lost: Collection[NodeId]) -> Topology:
        """The newest document that may have been decided: one that a voter that is left has accepted may have
        been answered, by voters that are lost (T3)."""
        left = [node for node in current.standing if node not in lost]
        others = await gather_all(self._ask_accepted(node) for node in left if node != self._node)
        for vote in sorted([self._voter.accepted, *others], key=lambda each: each.accepted, reverse=True):
            try:
                accepted = Topology.decode(vote.document)
                check_next(current, accepted)
                check_recoverable(accepted, lost)
            except RingmillError as error:  # none, or one that is decided long since
                _log.debug("no document that may be next: %s", error)
            else:
                return accepted
        return current

    async def _ask_accepted(self, node: NodeId) -> EpochAnswer:
        """Nothing when it is of an earlier release.

        Raises what the call raises: whose vote cannot be read may have accepted a document all the same.
        """
        try:
            answer = await self._transport.call(
                node, EPOCH_ACCEPTED, b"", timeout_s=_AGAIN_TIMEOUT_S, priority=Priority.CONTROL
            )
            return EpochAnswer.decode(answer)
        except ProtocolMismatch as error:
            if not error.was_told:
                raise
            _log.warning("what topology epoch %s has accepted is not known: %s", node, error)
            return EpochAnswer()

    async def _check_gone_over(self, made: Topology) -> None:
        """Raises Unavailable unless all members that are left say that they are of this cluster."""
        left = [node for node in made.standing if node != self._node]
        have = await gather_all(self._has_gone_over(node, made) for node in left)
        if others := sorted(node for node, has in zip(left, have, strict=True) if not has):
            raise Unavailable(
                f"the cluster goes on without the lost members already, and {', '.join(others)} has not gone "
                "over yet",
                hint="it is given the new topology as soon as it answers: start it if it does not run, and "
                "ask again",
                outcome="failed",
            )

    async def _has_gone_over(self, node: NodeId, made: Topology) -> bool:
        try:
            document = await self._pull(node)
            return bool(document) and Topology.decode(document).cluster == made.cluster
        except RingmillError:
            return False

    async def _pull(self, node: NodeId, timeout_s: float = _ASK_TIMEOUT_S) -> bytes:
        body = Epoch(0).to_bytes(8, "big")
        return await self._transport.call(node, PULL, body, timeout_s=timeout_s, priority=Priority.CONTROL)

    async def _check_silent(self, topology: Topology, lost: Collection[NodeId]) -> None:
        """Raises InvalidArgument unless exactly `lost` are silent, and what `_answers` raises.

        A member that was given up before may be either: a process on its old disk is not a member.
        """
        others = [node for node in topology.standing if node != self._node]
        answered = await gather_all(self._answers_at_last(node, is_lost=node in lost) for node in others)
        answering = {node for node, answers in zip(others, answered, strict=True) if answers}
        if alive := sorted(answering & {*lost}):
            raise InvalidArgument(
                f"{', '.join(alive)} answers: it is not lost",
                hint="end its process first, if its disk is to be given up",
            )
        if silent := sorted({*others} - answering - {*lost}):
            raise InvalidArgument(
                f"{', '.join(silent)} does not answer and was not named as lost",
                hint="start it again, or name it, too",
            )

    async def _answers_at_last(self, node: NodeId, *, is_lost: bool) -> bool:
        """`_answers`; one that is silent and not seen down, or was not named as lost, is asked again: it may
        have been for a moment, or this node may still hold off from dialling it after a failure."""
        if await self._answers(node, is_lost=is_lost):
            return True
        if is_lost and not (self._topology.serving and self._liveness.is_up(node)):
            return False
        if is_lost:
            await self._liveness.is_down_within(node, _LOOK_S)
        else:
            await asyncio.sleep(_BACK_S)
        return await self._answers(node, is_lost=is_lost, timeout_s=_AGAIN_TIMEOUT_S)

    async def _answers(self, node: NodeId, *, is_lost: bool, timeout_s: float = _ASK_TIMEOUT_S) -> bool:
        """Whether a process answers for the member; its newer document is then held here.

        Raises Unavailable for one that is left and in the former cluster: a third one would leave it there.
        """
        try:
            document = await self._pull(node, timeout_s)
        except RingmillError as error:
            return error.was_told
        try:
            if document:
                await self._topology.be_given(document)
        except InvalidArgument as error:
            if not is_lost:
                raise Unavailable(
                    f"{node} has not gone over to the cluster of {self._node} yet",
                    hint="ask again in a moment",
                    outcome="failed",
                ) from error
        return True
