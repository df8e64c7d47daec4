"""Changes the topology: proposes the document of the next epoch to the voters of the present one.

What is wanted is a function of the newest document.  If another node's document wins an epoch, the function
is applied to that one and the next epoch is tried.  A change is answered once a majority of the voters holds
its document.  Any member may propose; two that do so at once are safe, and one of them pauses.

Rules T2 and T3: docs/protocol/topology.md.  cluster/consensus/round_tally.py counts the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.preemption import MOST_PREEMPTED, PreemptionPause
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import DeadlineExceeded, QuorumNotReached, RingmillError, Unavailable
from ringmill.cluster.ids import Epoch, NodeId, Start
from ringmill.cluster.ports import Clock, Entropy, Priority, Transport
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPT, EPOCH_PREPARE, EpochAnswer, EpochRequest
from ringmill.node.membership.newest_document import voters_missing
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["TopologyChanged", "EpochProposer", "TopologyChange"]

_PAUSE: Final = PreemptionPause(first_s=0.02, longest_s=0.5, longest_questions=8)
_GRACE_S: Final = 0.1  # for who has a document accepted to tell of it, before another one finishes it
_AGAIN_S: Final = 0.25  # between two attempts to reach a voter
_STALL_S: Final = 0.25  # for silent voters, once another one has refused: the next round will not need them
_CALL_TIMEOUT_S: Final = 2.0  # a voter syncs before it answers
_FINISH_S: Final = 5.0
_VERB: Final = "a change of the topology"

TopologyChange = Callable[[Topology, bool], Topology | None]
"""The next document, or None when the present one is as wanted.  The flag says whether this change may have
been made already.  Raises InvalidArgument and Conflict when the present document does not allow it,
WrongEpoch when the change comes too late for it (rule T12)."""


def _as_it_is(topology: Topology, may_be_made: bool) -> Topology | None:
    return None


class TopologyChanged(NamedTuple):
    """The document in which the change is; `was_made` is whether this very call put it there."""

    topology: Topology
    was_made: bool


class EpochProposer:
    """The changes of one node take turns, so that they do not preempt each other."""

    def __init__(
        self,
        node: NodeId,
        start: Start,
        *,
        topology: TopologyAgent,
        transport: Transport,
        clock: Clock,
        entropy: Entropy,
        tidied: Callable[[Topology], Topology],
    ) -> None:
        """`tidied` takes out of each document that is proposed what need not be remembered any more."""
        self._node = node
        self._start = start
        self._topology = topology
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self.tidied = tidied
        self._counter = 0
        self._turn = asyncio.Lock()
        self._next = asyncio.Event()  # another one for each document
        topology.on_change(self._take)
        topology.newest_document.finish_by(self.finish)

    async def finish(self, current: Topology) -> bool:
        """Adopt what was decided after `current`, or may have been and is now; false when nothing was.

        Who proposed it is given a moment: a ballot of this node's would undo what that one has achieved.
        Raises QuorumNotReached, DeadlineExceeded; Unavailable when this node does not serve.
        """
        if await self.wait_next(current, _GRACE_S):
            return True
        attempt = _Attempt(self, _as_it_is, self._clock.boottime() + _FINISH_S)
        decided = await attempt.decide(current, None)
        if decided is None:
            return False
        sometimes("who asks for the newest document finishes its decision")
        await self._topology.adopt(decided)
        return True

    async def change(self, change: TopologyChange, within_s: float) -> TopologyChanged:
        """Make a change, whatever other changes are made meanwhile.

        Raises what `change` raises; QuorumNotReached, which names the voters that did not answer;
        DeadlineExceeded; Unavailable when this node does not serve.  Their outcome is "unknown" if the change
        may have been made, or may still be.
        """
        attempt = _Attempt(self, change, self._clock.boottime() + within_s)
        try:
            async with asyncio.timeout(within_s):
                await self._turn.acquire()
            try:
                return await attempt.go_on()
            finally:
                self._turn.release()
        except RingmillError as error:
            if attempt.may_be_made:
                raise error.with_outcome("unknown") from error
            raise
        except TimeoutError:
            raise DeadlineExceeded(f"{_VERB} had no turn within {within_s:.2g} s", outcome="failed") from None

    async def wait_next(self, current: Topology, within_s: float) -> bool:
        """Whether this node holds a later document, by then at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._topology.epoch <= current.epoch:
                    await self._next.wait()
        return self._topology.epoch > current.epoch

    def _take(self, topology: Topology) -> None:
        self._next.set()
        self._next = asyncio.Event()

    def next_ballot(self, lost: int) -> Ballot:
        """Above all that were met; who has lost rounds goes above others that begin at the same time, so that
        each has its turn, whatever its name is."""
        self._counter += 1 + lost
        return Ballot(self._counter, self._node, self._start.number, self._start.boot)

    def see(self, tally: RoundTally) -> None:
        self._counter = max(self._counter, tally.highest_counter)


class _Round(NamedTuple):
    """What the voters answered; `newest` is a document that makes the question an old one."""

    tally: RoundTally
    newest: Topology | None


class _Attempt:
    def __init__(self, proposer: EpochProposer, change: TopologyChange, until: float) -> None:
        self._proposer = proposer
        self._topology = proposer._topology
        self._change = change
        self._until = until
        self.may_be_made = False
        self._question_s = 0.0  # that the last question took
        self._lost = 0  # rounds, to others

    @property
    def _left_s(self) -> float:
        return self._until - self._proposer._clock.boottime()  # it goes on while the machine sleeps (rule D1)

    async def go_on(self) -> TopologyChanged:
        while True:
            current = await self._newest()
            wanted = self._change(current, self.may_be_made)
            if wanted is None:
                return TopologyChanged(current, was_made=False)
            wanted = self._proposer.tidied(wanted)
            decided = await self.decide(current, wanted)
            assert decided is not None
            await self._topology.adopt(decided)
            if decided == wanted:
                await self._topology.newest_document.spread()
                if self._topology.serving:  # who has left asks nobody
                    await self._newest()
                return TopologyChanged(decided, was_made=True)
            sometimes("another change of the topology came first")

    async def _newest(self) -> Topology:
        """The newest document, held by a majority of its voters; these may be silent for a while."""
        while True:
            try:
                return await self._topology.newest(self._checked_left_s())
            except QuorumNotReached:
                if self._left_s <= _AGAIN_S:
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def decide(self, current: Topology, wanted: Topology | None) -> Topology | None:
        """The document of the next epoch, `wanted` or another one, or that of a later epoch.

        None when nothing is wanted and a majority of the voters has accepted nothing.
        """
        proposer, mine, preempted = self._proposer, wanted.encode() if wanted else b"", 0
        while True:
            self._checked_left_s()
            ballot = proposer.next_ballot(self._lost)
            tally, newest = await self._ask(EPOCH_PREPARE, current, ballot, b"")
            proposer.see(tally)
            if newest is None and tally.is_met:
                document = tally.value or mine
                if tally.value:
                    sometimes("a change of the topology is finished for another node")
                if not document:
                    return None
                self.may_be_made |= document == mine
                tally, newest = await self._ask(EPOCH_ACCEPT, current, ballot, document)
                proposer.see(tally)
                if newest is None and tally.is_met:
                    return Topology.decode(document)
            if newest is not None:
                return newest
            preempted = await self._pause_or_give_up(current, tally, preempted)
            if (held := self._topology.current) is not None and held.epoch > current.epoch:
                return held

    async def _pause_or_give_up(self, current: Topology, tally: RoundTally, preempted: int) -> int:
        """Leave the one that came first the time of its rounds, or until this node hears of its document.

        Returns how many rounds were preempted in a row.  Raises QuorumNotReached when there can be no other
        round.
        """
        if not tally.is_preempted:
            raise voters_missing(
                _VERB, current, tally.agreed, tally.reasons("no answer in time"), outcome="failed"
            )
        sometimes("two nodes propose an epoch at once")
        self._lost += 1
        most_s = min(_PAUSE.most_s(self._question_s, preempted + 1), max(0.0, self._left_s))
        share = 0.5 + 0.5 * self._proposer._entropy.uniform("epoch.pause")
        await self._proposer.wait_next(current, most_s * share)
        return min(preempted + 1, MOST_PREEMPTED)

    def _checked_left_s(self) -> float:
        """Raises DeadlineExceeded."""
        if self._left_s <= 0:
            raise DeadlineExceeded(f"{_VERB} did not come to its end before the deadline", outcome="failed")
        return self._left_s

    async def _ask(self, method: str, current: Topology, ballot: Ballot, document: bytes) -> _Round:
        """Ask all voters, until a majority agrees, none can any more, or the deadline has passed."""
        began = self._proposer._clock.monotonic()
        tally = RoundTally(current.voter_nodes)
        asked = _RoundWatch(tally)
        request = EpochRequest(current.cluster, Epoch(current.epoch + 1), ballot, document).encode()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._ask_one(asked, method, voter.node, request))
                for voter in current.voters
            ]
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._left_s)):
                    await asked.in_doubt.wait()
                    async with asyncio.timeout(_STALL_S):
                        await asked.over.wait()
            asked.over.set()  # what comes later must not change the outcome
            for task in tasks:
                task.cancel()
        self._question_s = self._proposer._clock.monotonic() - began
        return _Round(tally, asked.newest)

    async def _ask_one(self, asked: _RoundWatch, method: str, node: NodeId, request: bytes) -> None:
        """Until it answers: a voter that is down may be back while others are silent."""
        transport = self._proposer._transport
        while not asked.over.is_set():
            timeout_s = max(0.001, min(_CALL_TIMEOUT_S, self._left_s))
            try:
                body = await transport.call(
                    node, method, request, timeout_s=timeout_s, priority=Priority.CONTROL
                )
                asked.heard(node, EpochAnswer.decode(body))
            except RingmillError as error:
                may_come = isinstance(error, Unavailable | DeadlineExceeded)
                asked.failed(node, error, may_come=may_come)
                if not may_come:
                    return
            else:
                return
            await asyncio.sleep(_AGAIN_S)


class _RoundWatch:
    """Counts the answers to one question to the voters, and tells when enough have come."""

    def __init__(self, tally: RoundTally) -> None:
        self.tally = tally
        self.newest: Topology | None = None
        self.in_doubt = asyncio.Event()
        """The rest is waited for a moment at most; set also when it is over."""
        self.over = asyncio.Event()
        self._voted_not: set[NodeId] = set()  # and will not

    def heard(self, node: NodeId, answer: EpochAnswer) -> None:
        """Raises what Topology.decode raises."""
        if self.over.is_set():
            return
        if answer.newest:
            self.newest = Topology.decode(answer.newest)
        elif answer.refused_counter:
            self.tally.refuse(node, answer.refused_counter)
            self._voted_not.add(node)
        else:
            self.tally.agree(node, answer.accepted, answer.document)
        self._look()

    def failed(self, node: NodeId, error: RingmillError, *, may_come: bool) -> None:
        if not self.over.is_set():
            self.tally.fail(node, f"{error.code}: {error.message}")
            if not may_come:
                self._voted_not.add(node)
            self._look()

    def _look(self) -> None:
        tally = self.tally
        open_ones = tally.size - len(self._voted_not)
        if self.newest is not None or tally.is_met or open_ones < tally.majority:
            self.over.set()
        if self.over.is_set() or tally.is_preempted:
            self.in_doubt.set()
