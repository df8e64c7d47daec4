"""Makes sure that this node holds the newest document that was acknowledged to anybody.

A change of the topology is acknowledged once it is decided and a majority of the voters holds its document.
So a node asks a majority of them.  If none holds a newer document or has accepted one, the node knows as much
as any client can.  One that is accepted may have been decided, even by voters that it replaced: the node then
finishes that decision, as a read of a register does.  Who is asked and knows less than the asker catches up
before it answers, so that asking spreads a document, too.

Rules T2, T3 and T5: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.consensus.epoch_vote import STORED_AS, decode_vote
from ringmill.cluster.errors import DeadlineExceeded, ProtocolMismatch, QuorumNotReached, RingmillError
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Incoming, Priority, Transport
from ringmill.cluster.ring.topology import Owner, Topology
from ringmill.node.contracts import ControlState, TopologyView

__all__ = ["KNOW", "Finish", "NewestDocument", "voters_missing"]

KNOW: Final = "topology.know"
"""Peer method: 8 bytes of an epoch, big-endian.  The node catches up with it first, and answers the epoch
that it knows then, in the same form, and one byte more: whether it has accepted a document of the epoch after
that one.  Exempt from epoch checks."""

Finish = Callable[[Topology], Awaitable[bool]]
"""Finish the decision on the epoch after this document and adopt what it is; false when there was none.
Raises QuorumNotReached, DeadlineExceeded."""

_ASK_TIMEOUT_S: Final = 2.0  # a node that is behind fetches and syncs a document before it answers
_LINGER_S: Final = 0.25  # for members that a change need not wait for


@dataclass(frozen=True, slots=True)
class _Heard:
    """What each node knows, who has accepted a document of the next epoch, and why others do not tell."""

    epochs: dict[NodeId, Epoch] = field(default_factory=dict)
    undecided: set[NodeId] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)


class NewestDocument:
    """One round of questions at a time; who waits for one joins it only if it begins later."""

    def __init__(
        self, seat: Owner, *, topology: TopologyView, store: ControlState, transport: Transport
    ) -> None:
        self._seat = seat
        self._topology = topology
        self._store = store
        self._finish: Finish | None = None
        self._transport = transport
        self._round = asyncio.Lock()
        self._begun = 0
        self._last_confirmed = 0
        self._heard = _Heard()  # in the round that began last

    def finish_by(self, finish: Finish) -> None:
        """Who can finish a decision that others have begun."""
        self._finish = finish

    async def confirm(self, within_s: float) -> Topology:
        """Get and return the newest document of which a client can know, held by a majority of its voters.

        Raises Unavailable when this node does not serve, QuorumNotReached when no majority of the voters
        answers in time.
        """
        before = self._begun
        try:
            async with asyncio.timeout(within_s), self._round:
                while self._last_confirmed <= before:
                    self._begun += 1
                    number = self._begun
                    if await self._confirm():
                        self._last_confirmed = number
        except TimeoutError:
            raise _unconfirmed(self._topology.serving_topology(), self._heard, within_s) from None
        return self._topology.serving_topology()

    async def spread(self) -> None:
        """Tell all members of the present document, and give those that answer soon the time to fetch it.

        A node that this document takes out tells it, too: nobody else may know of it.
        """
        topology = self._topology.current
        assert topology is not None, "there is nothing to tell"
        await self._ask([member.id for member in topology.members], topology, _Heard(), is_all=True)

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises Unavailable when this node, on its disk, is not a member that serves, or cannot catch up."""
        if len(incoming.body) != 8:
            raise ProtocolMismatch(f"{KNOW} of {len(incoming.body)} bytes, need the 8 of an epoch")
        epoch = Epoch(int.from_bytes(incoming.body, "big"))
        if epoch > self._topology.serving_topology().epoch:
            await self._topology.know(epoch, ask=incoming.sender)
        epoch = self._topology.serving_topology().epoch
        return epoch.to_bytes(8, "big") + bytes([self._has_accepted_after(epoch)])

    def _has_accepted_after(self, epoch: Epoch) -> bool:
        return decode_vote(self._store.get(STORED_AS)).has_accepted(Epoch(epoch + 1))

    async def _confirm(self) -> bool:
        """Ask a majority of the voters for what they know; adopt a newer document, or finish a decision.

        Returns whether a majority holds this node's document and none of them a newer one.
        Raises QuorumNotReached when too few voters answer.
        """
        topology = self._topology.serving_topology()
        heard = self._heard = _Heard()
        await self._ask(topology.voter_nodes, topology, heard)
        epochs = heard.epochs
        newer = [node for node, epoch in epochs.items() if epoch > topology.epoch]
        if newer:
            await self._topology.know(max(epochs[node] for node in newer), ask=newer[0])
            return False
        if self._topology.serving_topology().epoch > topology.epoch:
            return False
        if len(epochs) <= len(topology.voters) // 2:
            raise _unconfirmed(topology, heard, _ASK_TIMEOUT_S)
        if heard.undecided and self._finish is not None:
            try:
                return not await self._finish(topology)
            except DeadlineExceeded:  # others propose meanwhile
                raise _unconfirmed(topology, heard, _ASK_TIMEOUT_S) from None
        return True

    async def _ask(
        self, nodes: Iterable[NodeId], topology: Topology, heard: _Heard, *, is_all: bool = False
    ) -> None:
        """Note in `heard` what the nodes say, as it comes; without `is_all` a majority is enough."""
        epochs, failures = heard.epochs, heard.failures
        body = topology.epoch.to_bytes(8, "big")

        async def ask(node: NodeId) -> None:
            try:
                answer = await self._transport.call(
                    node, KNOW, body, timeout_s=_ASK_TIMEOUT_S, priority=Priority.CONTROL
                )
            except RingmillError as error:
                failures[node] = f"{error.code}: {error.message}"
            else:
                epochs[node] = Epoch(int.from_bytes(answer[:8], "big"))
                if any(answer[8:]):
                    heard.undecided.add(node)

        if self._seat.node in (asked := list(nodes)):
            epochs[self._seat.node] = topology.epoch
            if self._has_accepted_after(topology.epoch):
                heard.undecided.add(self._seat.node)
        async with asyncio.TaskGroup() as group:
            waiting = {group.create_task(ask(node)) for node in asked if node != self._seat.node}
            if is_all and waiting:
                _, waiting = await asyncio.wait(waiting, timeout=_LINGER_S)
            while waiting and not is_all and len(epochs) <= len(asked) // 2:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()


def voters_missing(
    verb: str, topology: Topology, acked: Iterable[str], failures: Mapping[str, str], *, outcome: str
) -> QuorumNotReached:
    """The error that names the voters of a document that did not answer."""
    agreed, need = sorted(acked), len(topology.voters) // 2 + 1
    missing = {node: failures.get(node, "no answer") for node in topology.voter_nodes if node not in agreed}
    why = "; ".join(f"{node}: {reason}" for node, reason in sorted(missing.items()))
    return QuorumNotReached(
        f"{verb} needs {need} of the {len(topology.voters)} voters of epoch {topology.epoch}, "
        f"{len(agreed)} answered ({', '.join(agreed) or 'none'}); {why}",
        detail={"need": need, "acked": agreed, "failed": missing},
        hint="see `ringmill cluster status`; the topology changes only with most of its voters",
        outcome=outcome,
    )


def _unconfirmed(topology: Topology, heard: _Heard, within_s: float) -> QuorumNotReached:
    verb = f"to know the newest topology within {within_s:.2g} s"
    return voters_missing(verb, topology, heard.epochs, heard.failures, outcome="failed")
