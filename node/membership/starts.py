"""Announces this start to the other members and remembers theirs, so that an old copy of a folder is noticed.

This start serves nothing until enough members have recorded it, but it answers the announcements of others,
because all nodes may start at the same time.  Later it keeps reporting how far its log is on the disk, and
announces itself to members that have not heard of it.  When enough members know a newer start, this node
ends: its folder was rolled back, or is a copy of one in use.  Before it serves one of them is enough; after
that it takes as many as could confirm a start.  A member writes a new start to its disk before it answers,
and log marks within seconds.

Rules I3 and I5: docs/protocol/identity.md, T13: docs/protocol/topology.md.  Decision:
docs/decisions/peers-remember-starts.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

import msgpack

from ringmill.cluster.beats import next_beat
from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.start_rules import (
    Announcement,
    FormerDisks,
    LogMark,
    Remembered,
    StartAnswer,
    StartVerdict,
    decode_remembered,
    encode_remembered,
    judge,
    noted,
    others_needed,
)
from ringmill.cluster.overload.late_calls import check_in_time
from ringmill.cluster.ports import Clock, Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.topology import Owner
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import ControlState
from ringmill.node.identity.identity import FolderRefused
from ringmill.node.membership.topology_agent import TopologyAgent

__all__ = ["START_KNOWN", "START_TELL", "START_WHO", "Starts"]

START_TELL: Final = "start.tell"
"""Peer method: an Announcement; answers a Reply."""

START_WHO: Final = "start.who"
"""Peer method: nothing; answers msgpack [start number, boot id] of the start that listens at the address."""

START_KNOWN: Final = "start.known"
"""Peer method: msgpack list of disks; answers those that are remembered, and not named any more."""

_STORED_AS: Final = "starts"
_FORMER_STORED_AS: Final = "starts-former"
_TELL_TIMEOUT_S: Final = 2.0  # a member syncs a start before it answers
_KNOWN_TIMEOUT_S: Final = 1.0
_MOST_DISKS: Final = 1024
_WHO_TIMEOUT_S: Final = 0.5  # answered from memory, and a start that is alive has its loop free
# A start serves only when half of the members have noted it (I3), so the first pause is short.
_PAUSE_S: Final = 0.02
_PAUSE_CAP_S: Final = 1.0
# An old copy is known by the end of the log that it lacks (I5), so one that lacks less than these times is
# not found out.  They are not shorter, as every mark that is kept is a synced write on every member.
_NEWS_EVERY_S: Final = 1.0
_KEEP_EVERY_S: Final = 2.0  # lost as well when the members crash, too
_AGAIN_EVERY: Final = 15  # times `_NEWS_EVERY_S`, without news
_log = logging.getLogger(__name__)


class Starts:
    """`run` for as long as the node lives.

    `mark` says how far the log is on the disk, `changes` counts writes of users' data, `refuse` notes on the
    disk that this folder is an old copy, and returns what to raise.
    """

    def __init__(
        self,
        announcement: Announcement,
        *,
        topology: TopologyAgent,
        store: ControlState,
        transport: Transport,
        mark: Callable[[], LogMark],
        changes: Callable[[], int],
        refuse: Callable[[Start], Awaitable[FolderRefused]],
        clock: Clock,
    ) -> None:
        self._announcement = announcement
        self._topology = topology
        self._store = store
        self._transport = transport
        self._mark = mark
        self._changes = changes
        self._refuse = refuse
        self._clock = clock
        self._durable = decode_remembered(store.get(_STORED_AS))
        self._remembered = dict(self._durable)
        self._former_disks = FormerDisks.decode(store.get(_FORMER_STORED_AS))
        self._has_news = asyncio.Event()
        self._is_over = False
        self._writing = asyncio.Lock()
        self._told: set[NodeId] = set()
        self._heard_by: set[NodeId] = set()
        self._refused_by: set[NodeId] = set()
        self._is_confirmed = self._is_refused = False
        self._has_members = asyncio.Event()
        topology.on_change(lambda _: self._has_members.set())

    def handlers(self) -> Mapping[str, Handler]:
        return {
            START_TELL: self._answer_tell,
            START_WHO: self._answer_who,
            START_KNOWN: self._answer_known,
        }

    def remembered(self, disk: DiskId) -> Remembered | None:
        """The newest start of a disk that this node durably knows, unless the disk left the cluster."""
        return self._durable.get(disk)

    def noted(self, disk: DiskId) -> Start | None:
        """The newest start of a disk that this node durably knows, if any (rule T13)."""
        known = self.remembered(disk)
        return known.start if known is not None else None

    def knows(self, disk: DiskId) -> bool:
        """Whether the disk is or was in the cluster, as far as this node durably knows."""
        return disk in self._durable or disk in self._former_disks

    async def former_disks(self, disks: Collection[DiskId], within_s: float) -> frozenset[DiskId]:
        """Those of `disks` that were in the cluster before, as far as the members that answer remember.

        One alone may have forgotten: it was cut off when they started, or is on a new disk itself.
        """
        asked = self._others() if disks else []
        remembered = await gather_all(self._ask_known(node, disks, within_s) for node in asked)
        return frozenset(self._former(disks)).union(*remembered) & {*disks}

    async def answers(self, seat: Owner) -> bool:
        """Whether the newest start of this disk that this node knows of answers it."""
        known = self._remembered.get(seat.disk)
        return known is not None and await self._is_alive(seat.node, known.start)

    def is_own(self, seat: Owner) -> bool:
        return seat.disk == self._announcement.disk

    # This node's own start.

    async def run(self) -> None:
        """Announce this start to all members, repeatedly.

        Raises FolderRefused when one of them, or once this node serves enough of them, know that this folder
        is an old copy, or a copy of a folder that is in use.
        """
        try:
            await self._tell_members()
        finally:
            self._is_over = True

    async def _tell_members(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_marks(), name="keep how far the logs of others are")
            while True:
                await self._has_members.wait()
                self._has_members.clear()
                self._confirm_if_enough()
                for node in self._others():
                    if node not in self._told:
                        self._told.add(node)
                        tasks.create_task(self._keep_telling(node), name=f"tell {node} of this start")

    async def _keep_telling(self, node: NodeId) -> None:
        """Announce to one member: with growing pauses until it answers, then every second with news.

        Ends when it is a member no more; one that comes again is told anew.
        """
        pause_s = _PAUSE_S
        told_changes: int | None = None
        while self._is_member(node):
            changes, mark = self._changes(), self._mark()
            try:
                await self._tell(node, mark)
            except FolderRefused:
                raise
            except RingmillError as error:
                _log.debug("%s has not noted this start: %s", node, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_CAP_S)
                continue
            pause_s = _PAUSE_S
            self._heard_by.add(node)
            self._confirm_if_enough()
            had_news, told_changes = changes != told_changes, changes
            for _ in range(_AGAIN_EVERY):
                await next_beat(_NEWS_EVERY_S)  # all members' tasks look in one waking of the process
                # The last of the changes may have been on its way to the disk when the mark was told.
                is_news = self._changes() != changes or (had_news and self._mark() != mark)
                if is_news or not self._is_member(node):
                    break
        for nodes in (self._told, self._heard_by, self._refused_by):
            nodes.discard(node)

    def _is_member(self, node: NodeId) -> bool:
        topology = self._topology.current
        return topology is not None and topology.has_member(node)

    async def _tell(self, node: NodeId, mark: LogMark) -> None:
        body = replace(self._announcement, mark=mark).encode()
        answer = await self._transport.call(
            node, START_TELL, body, timeout_s=_TELL_TIMEOUT_S, priority=Priority.CONTROL
        )
        reply = StartAnswer.decode(answer)
        if reply.verdict is StartVerdict.OLD_COPY:
            self._refused_by.add(node)
            if not self._is_superseded():
                sometimes("one member alone does not end a serving start")
                raise Unavailable(f"{node} has noted start {reply.known.number}, which nobody else confirms")
            sometimes("members refuse an old copy of a folder")
            self._is_refused = True
            self._topology.withdraw_start()
            raise await self._refuse(reply.known)
        if reply.verdict is StartVerdict.RUNS_ALREADY:
            sometimes("a copy beside the folder in use is refused")
            raise FolderRefused(
                f"{self._announcement.node} runs already on this data, as start {reply.known.number} of disk "
                f"{self._announcement.disk}: this folder is a copy of the one in use",
                hint="end this copy; `ringmill node reset DIR` makes its folder a new node's",
            )

    def _is_superseded(self) -> bool:
        """Whether a refusal ends this start.

        Before it serves, one refusal is enough.  Once it serves, a copy that only few members have recorded
        cannot serve, so this start continues until as many members refuse it as could confirm the copy.
        """
        topology = self._topology.current
        assert topology is not None, "members were told"
        enough = max(1, others_needed(len(topology.standing)))
        return not self._is_confirmed or len(self._refused_by) >= enough

    def _confirm_if_enough(self) -> None:
        topology = self._topology.current
        if topology is None or self._topology.is_displaced or self._is_refused:
            return
        heard = [node for node in self._others() if node in self._heard_by]
        if len(heard) >= others_needed(len(topology.standing)):
            self._is_confirmed = True
            self._topology.confirm_start()

    def _others(self) -> list[NodeId]:
        topology = self._topology.current
        if topology is None or self._topology.is_displaced:
            return []
        return [member.id for member in topology.members if member.id != self._announcement.node]

    # What others announce.

    async def _answer_tell(self, incoming: Incoming) -> bytes:
        """Answer an announcement.

        Raises PermissionDenied when it is of another node, Unavailable when this node cannot record it.
        """
        announced = own_announcement(incoming)
        self._check_membership(announced)
        known = self._remembered.get(announced.disk)
        is_other = known is not None and known.start != announced.start
        if known is not None and is_other and await self._is_alive(announced.node, known.start):
            return StartAnswer(StartVerdict.RUNS_ALREADY, known.start).encode()
        async with self._writing:
            check_in_time(incoming, self._clock)
            known = self._remembered.get(announced.disk)
            verdict = judge(known, announced)
            if verdict is not StartVerdict.NOTED:
                assert known is not None
                _log.warning(
                    "start %d of %s on an old copy of its data is refused",
                    announced.start.number,
                    announced.node,
                )
                return StartAnswer(verdict, known.start).encode()
            news = noted(known, announced)
            if known is None or known.start != announced.start:
                await self._remember({**self._remembered, announced.disk: news})
            elif news != known:
                self._remembered[announced.disk] = news
                self._has_news.set()
        return StartAnswer(StartVerdict.NOTED, announced.start).encode()

    async def _keep_marks(self) -> None:
        """Write new log marks to the disk, those of all members together and not too often."""
        while True:
            await self._has_news.wait()
            await asyncio.sleep(_KEEP_EVERY_S)
            async with self._writing:
                self._has_news.clear()
                try:
                    await self._remember(self._remembered)
                except RingmillError as error:
                    _log.debug("how far the logs of others are is not on the disk: %s", error)
                    self._has_news.set()

    async def _remember(self, starts: Mapping[DiskId, Remembered]) -> None:
        """Record it durably.  The caller holds `_writing`.  Raises Unavailable when this node stops."""
        if self._is_over:
            raise Unavailable(f"{self._announcement.node} is stopping, so it remembers no more starts")
        after = dict(starts)
        left = self._left_of(after)
        if left:  # of these no mark will be told: they are not written again with the marks of the others
            former = self._former_disks.with_these(left)
            await self._store.put_synced(_FORMER_STORED_AS, former.encode())
            self._former_disks = former
            after = {disk: each for disk, each in after.items() if disk not in left}
        await self._store.put_synced(_STORED_AS, encode_remembered(after))
        self._durable = after
        self._remembered = dict(after)

    def _left_of(self, disks: Iterable[DiskId]) -> set[DiskId]:
        """The disks that belong to no member any more."""
        topology = self._topology.current
        if topology is None or self._topology.is_displaced:
            return set()
        named = {member.disk for member in topology.members}
        return {disk for disk in disks if disk not in named}

    def _check_membership(self, announced: Announcement) -> None:
        topology = self._topology.current
        if topology is None or self._topology.is_displaced:
            raise Unavailable(
                f"{self._announcement.node} is not a member of a cluster, so it remembers no starts"
            )
        if not topology.has_seat(Owner(announced.node, announced.disk)):
            raise Unavailable(
                f"{announced.node} with disk {announced.disk} is not a member of cluster {topology.name}"
            )

    async def _is_alive(self, node: NodeId, start: Start) -> bool:
        """Whether this very start still answers at the node's address."""
        try:
            answer = await self._transport.call(
                node, START_WHO, b"", timeout_s=_WHO_TIMEOUT_S, priority=Priority.CONTROL
            )
            number, boot = msgpack.unpackb(answer)
        except (RingmillError, ValueError, msgpack.UnpackException):
            return False
        return (number, boot) == start

    def _former(self, disks: Collection[DiskId]) -> list[DiskId]:
        topology = self._topology.current
        named = {member.disk for member in topology.members} if topology is not None else set()
        return [disk for disk in disks if self.knows(disk) and disk not in named]

    async def _ask_known(self, node: NodeId, disks: Collection[DiskId], within_s: float) -> frozenset[DiskId]:
        within_s = min(within_s, _KNOWN_TIMEOUT_S)
        try:
            answer = await self._transport.call(
                node, START_KNOWN, _packed(disks), timeout_s=within_s, priority=Priority.CONTROL
            )
            return frozenset(_disks(answer))
        except RingmillError as error:
            _log.debug("%s does not say which disks it remembers: %s", node, error)
            return frozenset()

    def _answer_known(self, incoming: Incoming) -> bytes:
        return _packed(self._former(_disks(incoming.body)))

    def _answer_who(self, incoming: Incoming) -> bytes:
        packed: bytes = msgpack.packb(self._announcement.start)
        return packed


def own_announcement(incoming: Incoming) -> Announcement:
    """What a node says of its own start (rule T13): all else that is believed of it rests on that."""
    announced = Announcement.decode(incoming.body)
    if announced.node != incoming.sender:
        raise PermissionDenied(f"{incoming.sender} announces a start of {announced.node}, not its own")
    return announced


def _packed(disks: Collection[DiskId]) -> bytes:
    packed: bytes = msgpack.packb(list(disks))
    return packed


def _disks(packed: bytes) -> list[DiskId]:
    """Raises ProtocolMismatch."""
    try:
        disks = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolMismatch(f"{len(packed)} bytes name no disks: {error}") from error
    if (
        not isinstance(disks, list)
        or len(disks) > _MOST_DISKS
        or any(type(each) is not str for each in disks)
    ):
        raise ProtocolMismatch(f"disks are a list of up to {_MOST_DISKS} texts")
    return [DiskId(each) for each in disks]
