"""The node's copy of the topology: stored on its disk, checked against each request, fetched when it is old.

It decides nothing: documents come from `cluster form`, from peers, or from a change that the voters have
decided (node/membership/epoch_proposer.py), and it adopts only a newer one of the same cluster.  A document
is durable before this node acts on it.

Rules (docs/protocol/): T1 (the document), T2 (a later one was decided by the voters of the one before it),
T4 (forming can be repeated, another cluster is refused), T5 (requests carry an epoch, checked against the
row's), I2 (a node on another disk than the named one serves nothing).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from ringmill.cluster.errors import (
    CorruptData,
    DiskFull,
    InvalidArgument,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.os_errors import error_text, is_full
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.replacement import is_newly_seated
from ringmill.cluster.ring.succession import check_follows
from ringmill.cluster.ring.topology import Member, Owner, Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import ControlState
from ringmill.node.membership.forming import Forming
from ringmill.node.membership.newest_document import KNOW, NewestDocument

__all__ = ["PULL", "TopologyAgent"]

PULL: Final = "topology.pull"
"""Peer method: 8 bytes of the known epoch, big-endian; answers the newest document, or nothing when there is
no newer one.  Exempt from epoch checks."""

_STORED_AS: Final = "topology"
_PULL_TIMEOUT_S: Final = 1.0
_log = logging.getLogger(__name__)


class TopologyAgent:
    """Holds the newest known document.  `start` first, then `run` for as long as the node lives."""

    def __init__(
        self,
        node: NodeId,
        *,
        disk: DiskId,
        store: ControlState,
        transport: Transport,
        awaits_confirmation: bool = False,
        fence: Callable[[], Awaitable[None]] | None = None,
        remember: Callable[[Topology], None] | None = None,
    ) -> None:
        """`awaits_confirmation`: nothing is served before `confirm_start`.

        `fence` makes all copies of this node unreadable, durably, until they are filled from other owners.
        `remember` is told of each document before it is stored.
        """
        self._seat = Owner(node, disk)
        self._store = store
        self._transport = transport
        self._fence = fence
        self._remember = remember
        self._current: Topology | None = None
        self._listeners: list[Callable[[Topology], None]] = []
        self._adopting = asyncio.Lock()
        self._heard: tuple[Epoch, NodeId] = (Epoch(0), node)
        self._heard_newer = asyncio.Event()
        self._is_confirmed = asyncio.Event()
        self._is_displaced = False
        self._given_up_by: Topology | None = None  # what this node was offered while it served
        self._proven: Topology | None = None  # the document by which this node is known to serve
        if not awaits_confirmation:
            self._is_confirmed.set()
        self.newest_document = NewestDocument(self._seat, topology=self, store=store, transport=transport)
        self._forming = Forming(
            self._seat, store=store, fetch=lambda peer: self._ask_for_newer(peer, Epoch(0))
        )

    def handlers(self) -> Mapping[str, Handler]:
        return {PULL: self._answer_pull, KNOW: self.newest_document.answer}

    # What is known.

    @property
    def current(self) -> Topology | None:
        return self._current

    @property
    def epoch(self) -> Epoch:
        """The epoch of the known topology; 0 when there is none."""
        return self._current.epoch if self._current else Epoch(0)

    @property
    def serving(self) -> bool:
        """Whether this node, with its disk, is a member of a formed cluster."""
        return self._refusal() is None

    @property
    def is_displaced(self) -> bool:
        """Whether the topology has no node of this id with this disk (I2)."""
        return self._is_displaced

    @property
    def may_speak(self) -> bool:
        """Whether this node may share what it knows: it is a member, and its start is confirmed."""
        return not self.is_displaced and self._is_confirmed.is_set()

    @property
    def reasons(self) -> Sequence[str]:
        """That this node serves a cluster that others have left behind, without its disk (T9), or waits for
        one that cannot be formed any more (T4)."""
        now, after = self._current, self._given_up_by
        if after is None or now is None or not self.serving or after.cluster == now.cluster:
            return self._forming.reasons
        return (
            f"serves cluster {now.cluster}, and others go on as {after.cluster}, which has given up this "
            "disk: what is written here is merged with nothing; end this process",
        )

    def serving_topology(self) -> Topology:
        """The current document.  Raises Unavailable (nothing happened) when this node may not serve."""
        current = self._current
        if current is None or current is not self._proven:
            if (refusal := self._refusal()) is not None:
                raise refusal
            assert current is not None
            self._proven = current  # asked several times a request, and true until the document changes
        return current

    def check_row(self, partition: PartitionId, epoch: Epoch) -> Row:
        """The row for a request that was made under `epoch` (T5).

        Raises WrongEpoch when the row changed after `epoch`, or when `epoch` is newer than this node's (await
        `know` first); Unavailable when this node serves nothing.
        """
        topology = self.serving_topology()
        row = topology.row(partition)
        if epoch < row.row_epoch:
            raise WrongEpoch(
                f"request of epoch {epoch}, but the owners of partition {partition} changed in epoch "
                f"{row.row_epoch}",
                detail={"epoch": topology.epoch, "partition": partition},
                hint="fetch the topology again",
            )
        if epoch > topology.epoch:
            raise WrongEpoch(
                f"request of epoch {epoch}, but {self._seat.node} knows epoch {topology.epoch} only",
                detail={"epoch": topology.epoch, "partition": partition},
                hint="try again in a moment",
            )
        return row

    def owns(self, partition: PartitionId) -> bool:
        """This node on this disk is an owner of the partition."""
        return self._current is not None and self._seat in self._current.row(partition).owners

    def on_change(self, listener: Callable[[Topology], None]) -> None:
        """Call `listener` with each newly adopted document, and now if there is one."""
        self._listeners.append(listener)
        if self._current is not None:
            listener(self._current)

    # How it changes.

    async def start(self) -> None:
        """Load the stored document, then fetch the newest from the members; if nobody answers, use our own.

        All of them are waited for: one that has missed an epoch too answers that it has nothing newer.
        Raises CorruptData when the stored document cannot be read.
        """
        stored = self._store.get(_STORED_AS)
        if stored is None:
            return
        try:
            topology = Topology.decode(stored)
        except InvalidArgument as error:
            raise CorruptData(
                f"the stored topology of {self._seat.node} is damaged: {error.message}",
                hint="give the node its newest folder, or reset it and `ringmill cluster replace` its disk",
            ) from error
        if self._remember is not None:
            self._remember(topology)
        self._take(topology)
        await self._pull_from_all(self._others())

    async def take_first(self, document: bytes) -> Topology:
        """Adopt the first document of a cluster durably; the same document again changes nothing (T4).

        Returns the current document.  Raises InvalidArgument for a document that is not valid, not of epoch
        1, does not name this node with this disk, or belongs to another cluster.
        """
        offered = Topology.decode(document)
        if offered.epoch != 1:
            raise InvalidArgument(f"a cluster begins with epoch 1, this document has epoch {offered.epoch}")
        if not offered.has_seat(self._seat):
            raise InvalidArgument(
                f"the document does not name {self._seat.node} with disk {self._seat.disk}",
                hint="ask each node for its id and disk (Topology.Identify) and make the document anew",
            )
        async with self._adopting:
            if self._current is None:
                await self._adopt(offered)
            assert self._current is not None
            if self._current.cluster != offered.cluster:
                raise _other_cluster(self._current, offered)
            return self._current

    async def know(self, epoch: Epoch, *, ask: NodeId | None = None) -> None:
        """Fetch the topology until its epoch is at least `epoch`; asks node `ask` first.

        Raises Unavailable (nothing happened) when no member that answers has it.
        """
        if epoch > self.epoch and ask is not None:
            await self._pull_from_all([ask], enough=epoch)
        if epoch > self.epoch:
            await self._pull_from_all([node for node in self._others() if node != ask], enough=epoch)
        if epoch > self.epoch:
            raise Unavailable(f"no member answered with topology epoch {epoch}; known is {self.epoch}")

    async def newest(self, within_s: float) -> Topology:
        """The newest document that was acknowledged to anybody (node/membership/newest_document.py)."""
        return await self.newest_document.confirm(within_s)

    async def adopt(self, topology: Topology) -> None:
        """Hold a document that was decided, durably, unless a newer one is held already.

        Raises InvalidArgument for one that cannot have come from the present one; what the store raises.
        """
        async with self._adopting:
            if self._current is not None and not self._may_go_over(self._current, topology):
                self._note_given_up(self._current, topology)
                raise _other_cluster(self._current, topology)
            if topology.epoch > self.epoch:
                if self._current is not None:
                    check_follows(self._current, topology)
                await self._adopt(topology)

    async def be_given(self, document: bytes) -> None:
        """Adopt a document that a member hands to a node that it names, and that may not know its members.

        Raises InvalidArgument as `adopt` and `take_first` do; what the store raises.
        """
        given = Topology.decode(document)
        if self._current is None and not given.has_seat(self._seat):
            raise InvalidArgument(f"the document does not name {self._seat.node} with disk {self._seat.disk}")
        await self.adopt(given)

    async def ask_members(self, named: Topology) -> None:
        """Fetch the topology, while there is none, from the members that `named` names.

        `named` may be what clients are told.  That lacks the tokens of clients (F8), so it is not adopted.
        """
        if self._current is None:
            addresses = named.addresses()
            addresses.pop(self._seat.node, None)
            self._transport.set_peers(addresses)
            await self._pull_from_all(addresses)

    def heard_of(self, epoch: Epoch, node: NodeId) -> None:
        """Note from gossip that `node` knows `epoch`; `run` fetches it if it is newer."""
        if epoch > max(self.epoch, self._heard[0]):
            self._heard = (epoch, node)
            self._heard_newer.set()

    async def wait_formed(self) -> None:
        """Returns once the first document is known to count (T4) and enough members know of this start.

        `serving` then tells the rest.
        """
        await self._forming.wait()
        await self._is_confirmed.wait()

    def confirm_start(self) -> None:
        """Allow this node to serve: enough members have recorded its start (I3)."""
        if not self._is_confirmed.is_set():
            self._is_confirmed.set()
            if self._current is not None:
                for listener in self._listeners:
                    listener(self._current)

    async def run(self) -> None:
        """Wait for the cluster to be formed, and fetch documents that gossip mentions, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forming.run())
            tasks.create_task(self._pull_what_is_heard_of())

    def withdraw_start(self) -> None:
        """Stop serving: enough members know a newer start on this disk."""
        self._is_confirmed.clear()
        self._proven = None

    # Inside.

    def _may_go_over(self, current: Topology, newer: Topology) -> bool:
        """To another cluster only if that one was made of this one, by an operator, once or repeatedly (T9).

        A node that it does not name goes on where it is while it serves there: then it is not lost, and holds
        what is acknowledged there.  At its start it is on a disk that was given up.
        """
        if newer.cluster == current.cluster:
            return True
        is_named = newer.has_seat(self._seat)
        return current.cluster in newer.formers and (is_named or not self.serving)

    def _note_given_up(self, current: Topology, newer: Topology) -> None:
        if current.cluster in newer.formers and newer.epoch > current.epoch:
            if self._given_up_by is None:
                _log.warning("cluster %s goes on as %s without this disk", current.cluster, newer.cluster)
            self._given_up_by = newer

    async def _pull_what_is_heard_of(self) -> None:
        while True:
            await self._heard_newer.wait()
            self._heard_newer.clear()
            epoch, node = self._heard
            try:
                await self.know(epoch, ask=node)
            except Unavailable as error:
                self._heard = (self.epoch, node)  # the next gossip says it again
                _log.warning("topology epoch %d heard of, not yet had: %s", epoch, error)

    def _refusal(self) -> Unavailable | None:
        """Why this node serves nothing; None when it serves (I2)."""
        node, disk = self._seat
        if self._current is None:
            return Unavailable(f"{node} belongs to no cluster yet", hint="run `ringmill cluster form`")
        if not self._current.has_member(node):
            return Unavailable(f"{node} is not a member of cluster {self._current.name}: it serves nothing")
        if (member := self._current.member(node)).disk != disk:
            return _other_disk(member, disk)
        if not self._is_confirmed.is_set():
            sometimes("a start waits for its confirmation")
            return Unavailable(
                f"{node} has started, and half of the other members have yet to confirm that its data is not "
                "an old copy",
                hint="it serves as soon as they can be reached; another owner may answer now",
            )
        if not self._forming.is_done:
            return Unavailable(
                f"cluster {self._current.name} is not formed yet: {node} does not know a majority of its "
                f"{len(self._current.voters)} voters to hold the first document",
                hint="repeat `ringmill cluster form` with all nodes running",
            )
        return None

    def _others(self) -> list[NodeId]:
        members = self._current.members if self._current else ()
        return [member.id for member in members if member.id != self._seat.node]

    async def _pull_from_all(self, nodes: Iterable[NodeId], *, enough: Epoch | None = None) -> None:
        """Ask all at once; those that have not answered yet no longer once `enough` is known."""
        asked: set[asyncio.Task[None]] = set()

        async def ask(node: NodeId) -> None:
            this = asyncio.current_task()
            assert this is not None
            await self._pull(node, answered=lambda: asked.discard(this))
            if enough is not None and self.epoch >= enough:
                for pull in asked - {this}:
                    pull.cancel()

        async with asyncio.TaskGroup() as tasks:
            asked |= {tasks.create_task(ask(node)) for node in nodes}

    async def _pull(self, node: NodeId, *, answered: Callable[[], None]) -> None:
        """Adopt what `node` answers if it is newer; `answered` is called before that."""
        try:
            answer = await self._ask_for_newer(node, self.epoch)
            answered()
            if answer:
                await self.be_given(answer)
        except RingmillError as error:
            known = self._current is not None and self._current.has_member(node)
            _log.log(logging.INFO if known else logging.DEBUG, "no topology from %s: %s", node, error)

    async def _ask_for_newer(self, node: NodeId, known: Epoch) -> bytes:
        body = known.to_bytes(8, "big")
        return await self._transport.call(
            node, PULL, body, timeout_s=_PULL_TIMEOUT_S, priority=Priority.CONTROL
        )

    async def _adopt(self, topology: Topology) -> None:
        """A disk that takes the place of a lost one has nothing of what that one held (T8).

        Raises what the store raises; of an OSError it makes Unavailable or DiskFull.
        """
        if self._fence is not None and is_newly_seated(self._current, topology, self._seat):
            sometimes("a new disk takes the place of a lost one")
            try:
                await self._fence()
            except OSError as error:  # as when the disk is full: who asked asks again
                kind = DiskFull if is_full(error) else Unavailable
                raise kind(
                    f"the copies of {self._seat.node} cannot be fenced: {error_text(error)}"
                ) from error
        if self._remember is not None:
            self._remember(topology)
        await self._store.put_synced(_STORED_AS, topology.encode())
        self._take(topology)

    def _take(self, topology: Topology) -> None:
        self._current = topology
        self._is_displaced = not topology.has_seat(self._seat)
        self._forming.consider(topology)
        self._transport.set_peers(
            {node: at for node, at in topology.addresses().items() if node != self._seat.node}
        )
        for listener in self._listeners:
            listener(topology)

    def _answer_pull(self, incoming: Incoming) -> bytes:
        if len(incoming.body) != 8:
            raise ProtocolMismatch(f"{PULL} of {len(incoming.body)} bytes, need the 8 of an epoch")
        known = int.from_bytes(incoming.body, "big")
        return self._current.encode() if self._current and self._current.epoch > known else b""


def _other_disk(member: Member, disk: DiskId) -> Unavailable:
    if member.is_given_up:
        return Unavailable(
            f"the disk of {member.id} was given up, as the cluster goes on without it: it serves nothing",
            hint=f"`ringmill node reset DIR`, start it again, and `ringmill cluster replace {member.id}`",
        )
    return Unavailable(
        f"{member.id} has disk {disk}, but the topology names {member.disk}: it may have forgotten "
        "acknowledged writes, so it serves nothing",
        hint=f"give {member.id} its own data folder back, or `ringmill cluster replace {member.id}`",
    )


def _other_cluster(mine: Topology, other: Topology) -> InvalidArgument:
    return InvalidArgument(
        f"this node belongs to cluster {mine.name} ({mine.cluster}), not to {other.name} ({other.cluster})",
        hint="a node keeps its cluster for life; use a new data folder for another one",
    )
