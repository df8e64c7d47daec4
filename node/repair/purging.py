"""Proves watermarks, so that deletes can be forgotten.

Of the owners of a partition the one whose name comes first leads.  Every round it takes the partitions in
which something is dead, and tries to prove a watermark for them: all owners note the attempt; they are
compared, each with the leader and those before the last one twice, as the leader may get from one what
another lacks; all that have accepted nothing older from elsewhere keep it; then it is proven.  A round that
fails at any step leaves the former watermark in force.

Every owner settles the attempts that it has kept, should the leader be gone (node/repair/kept_attempts.py).

Rule P2: docs/protocol/deletes.md; M3, by which nothing is proven in a joint: docs/protocol/moves.md; O8, by
which rounds give way: docs/protocol/overload.md.  Who may forget what: node/repair/forgetting.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ringmill.cluster.errors import Overloaded, RingmillError, reason_of
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId, PartitionId, Start
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.quorum.watermark import Fate
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime, hybrid_time
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair.exchange import Exchange
from ringmill.node.repair.forgetting import Forgetting
from ringmill.node.repair.kept_attempts import PARTITIONS_AT_ONCE, KeptAttempts
from ringmill.node.repair.pairwise import compare_with
from ringmill.node.repair.register_removal import RegisterRemoval
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.purge_messages import (
    KEEP,
    NOTE,
    SETTLE,
    VOUCH,
    AskKeep,
    AskNote,
    KeepAnswer,
    NoteAnswer,
    Settle,
)
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import Copy

__all__ = ["Purging"]

CALL_TIMEOUT_S: Final = 5.0
LONGEST: Final = 10.0
"""A pause between two rounds is stretched this much at most, as the node may be idle long before its end."""

_log = logging.getLogger(__name__)


class Purging:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        node: NodeId,
        start: Start,
        *,
        exchange: Exchange,
        objects: ObjectStore,
        watermarks: Watermarks,
        forgetting: Forgetting,
        kept_attempts: KeptAttempts,
        removal: RegisterRemoval,
        topology: TopologyView,
        liveness: LivenessView,
        transport: Transport,
        hybrid: HybridClock,
        options: PurgeOptions,
        gate: Gate,
    ) -> None:
        self._node = node
        self._start = start
        self._exchange = exchange
        self._objects = objects
        self._watermarks = watermarks
        self._forgetting = forgetting
        self._kept_attempts = kept_attempts
        self._removal = removal
        self._topology = topology
        self._liveness = liveness
        self._transport = transport
        self._hybrid = hybrid
        self._options = options
        self._gate = gate
        self._attempts = 0
        self._woken = asyncio.Event()
        self._is_asked = False
        self._proven: dict[tuple[NodeId, ...], HybridTime] = {}  # the last for all that was due, by owners
        self.held_back: dict[PartitionId, str] = {}
        """Why the watermark of a partition that this node leads did not move at the last try."""

    def purge_now(self) -> None:
        """Begin a round, as somebody asks for it, and merge tables after it."""
        self._forgetting.merge_soon()
        self._is_asked = True
        self._woken.set()

    def why_kept(self, partition: PartitionId) -> str:
        """Why deletes of a partition are not forgotten now; "" when nothing is known to hold them back."""
        return self.held_back.get(partition) or self._forgetting.held_back.get(partition, "")

    @property
    def story(self) -> str:
        """Why deletes are not forgotten now, in one line for people; "" when nothing is known to hold them
        back."""
        if not self._options.after_s:
            return "the node runs with --purge-after off"
        held_back = self._forgetting.held_back | self.held_back
        if not held_back:
            return self._removal.story
        reasons = sorted({*held_back.values()})
        more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
        number = len(held_back)
        subject = (
            "1 partition keeps its deletes" if number == 1 else f"{number} partitions keep their deletes"
        )
        return f"{subject}: {reasons[0]}{more}"

    async def run(self) -> None:
        """Until cancelled."""
        await self._topology.wait_formed()
        if not self._options.after_s and not self._watermarks.known():
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kept_attempts.run())
            while True:
                self._woken.clear()
                try:
                    await self.round()
                except (RingmillError, OSError) as error:
                    _log.debug("deletes are forgotten later: %s", error)
                try:
                    async with asyncio.timeout(self._options.every_s * min(LONGEST, self._gate.stretch)):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    async def round(self) -> None:
        """Settle what is open, prove what can be proven, and forget what is dead."""
        document = self._topology.current
        if document is None or not self._topology.serving:
            return
        try:
            await self._kept_attempts.round(document)
        except (RingmillError, OSError) as error:  # its partitions are held back, and no others
            _log.debug("what came of earlier attempts is found out later: %s", error)
        if self._options.after_s and not self._hybrid.jumped_ms:
            mark = hybrid_time(max(0, self._hybrid.wall_ms() - round(self._options.after_s * 1000)))
            due = self._due(document, mark)
            for owners, partitions in due.items():
                for first in range(0, len(partitions), PARTITIONS_AT_ONCE):
                    await self._prove(document, owners, partitions[first : first + PARTITIONS_AT_ONCE], mark)
                if not self.held_back.keys() & partitions:
                    self._proven[owners] = mark
            await self._removal.round(document)
        await self._forgetting.round()

    def _due(self, document: Topology, mark: HybridTime) -> dict[tuple[NodeId, ...], list[PartitionId]]:
        """The partitions that this node leads and where something would be forgotten, by their owners.

        One attempt is for many of them, so those of the same owners wait until the last one is a step behind.
        """
        is_asked, self._is_asked = self._is_asked, False
        step = 0 if is_asked else hybrid_time(round(self._options.after_s * 1000 * self._options.step))
        due: dict[tuple[NodeId, ...], list[PartitionId]] = {}
        self.held_back = {}
        for number, row in enumerate(document.rows):
            partition = PartitionId(number)
            if row.is_joint or self._node != min(row.nodes) or not self._may_hold_dead(partition, row, mark):
                continue
            if self._watermarks.of(partition).kept.attempt:
                self.held_back[partition] = "an earlier attempt is not settled yet"
                continue
            due.setdefault(tuple(sorted(row.nodes)), []).append(partition)
        return {each: due[each] for each in due if mark - self._proven.get(each, 0) >= step}

    def _may_hold_dead(self, partition: PartitionId, row: Row, mark: HybridTime) -> bool:
        return self._objects.dead.may_hold_dead(Copy(partition, row.copy_epoch_of(self._node)), mark >> 16)

    async def _prove(
        self,
        document: Topology,
        owners: Sequence[NodeId],
        partitions: Sequence[PartitionId],
        mark: HybridTime,
    ) -> None:
        """One attempt, for partitions of the same owners."""
        away = [node for node in owners if node != self._node and not self._seems_up(node)]
        if away:
            sometimes("an owner that is away holds back a watermark")
            self.held_back.update(dict.fromkeys(partitions, f"{', '.join(away)} is away"))
            return
        self._attempts += 1
        attempt = f"{self._node}.{self._start.number}.{self._start.boot}.{self._attempts}"
        rows = {partition: document.rows[partition] for partition in partitions}
        try:
            tokens = await self._note(attempt, owners, rows, mark, document)
            tokens = await self._ask_vouched(attempt, owners, rows, tokens, mark, document)
            others = [node for node in owners if node != self._node]
            for peer in (*others, *others[:-1]):
                tokens = await self._compare(attempt, peer, rows, tokens)
            await self._keep(attempt, owners, tokens, document)
        except (RingmillError, OSError) as error:
            self.held_back.update(dict.fromkeys(partitions, reason_of(error)))

    def _seems_up(self, node: NodeId) -> bool:
        return self._liveness.state(node) is MemberState.UP

    async def _note(
        self,
        attempt: str,
        owners: Sequence[NodeId],
        rows: Mapping[PartitionId, Row],
        mark: HybridTime,
        document: Topology,
    ) -> dict[PartitionId, dict[NodeId, str]]:
        """The tokens of the notes, of the partitions that all owners have noted."""
        pairs = tuple((partition, row.row_epoch) for partition, row in rows.items())
        request = AskNote(document.epoch, attempt, mark, pairs).encode()
        bodies = await gather_all(self._ask(node, NOTE, request) for node in owners)
        tokens: dict[PartitionId, dict[NodeId, str]] = {partition: {} for partition in rows}
        for node, body in zip(owners, bodies, strict=True):
            for partition, (token, why) in zip(rows, NoteAnswer.decode(body, len(rows)).each, strict=True):
                if why:
                    self.held_back[partition] = f"{node}: {why}"
                    tokens.pop(partition, None)
                elif partition in tokens:
                    tokens[partition][node] = token
        return tokens

    async def _ask_vouched(
        self,
        attempt: str,
        owners: Sequence[NodeId],
        rows: Mapping[PartitionId, Row],
        tokens: dict[PartitionId, dict[NodeId, str]],
        mark: HybridTime,
        document: Topology,
    ) -> dict[PartitionId, dict[NodeId, str]]:
        """The tokens of the partitions for which no member but the owners has anything that others may lack.

        Each of them says that no hint waits there, nor a former copy that is owed (rule M6).

        They are asked after all owners have noted the attempt: what an owner sends to a fallback from then on
        it has made after its note, so above the watermark, or holds itself when the owners are compared.
        """
        members = [member.id for member in document.members if member.id not in owners]
        if not tokens or not members:
            return tokens
        away = [node for node in members if not self._seems_up(node)]
        if away:
            why = f"{', '.join(away)} is away, and may hold writes that an owner lacks"
            self.held_back.update(dict.fromkeys(tokens, why))
            return {}
        pairs = tuple((partition, rows[partition].row_epoch) for partition in tokens)
        request = AskNote(document.epoch, attempt, mark, pairs).encode()
        bodies = await gather_all(self._ask(node, VOUCH, request) for node in members)
        left = dict(tokens)
        for node, body in zip(members, bodies, strict=True):
            for partition, why in zip(tokens, KeepAnswer.decode(body, len(tokens)).refusals, strict=True):
                if why:
                    self._hold(left, partition, f"{node}: {why}")
        return left

    async def _compare(
        self,
        attempt: str,
        peer: NodeId,
        rows: Mapping[PartitionId, Row],
        tokens: Mapping[PartitionId, dict[NodeId, str]],
    ) -> dict[PartitionId, dict[NodeId, str]]:
        """Make this node and another owner equal.  Returns the tokens of the partitions where that worked."""
        left = dict(tokens)

        async def mend(partition: PartitionId, row: Row) -> None:
            await self._mend(attempt, partition, row, peer)

        await compare_with(
            peer,
            {partition: rows[partition] for partition in tokens},
            exchange=self._exchange,
            at_once=self._options.at_once,
            mend=mend,
            equal=lambda _: None,
            unequal=lambda partition, why: self._hold(left, partition, f"compared with {peer}: {why}"),
        )
        return left

    def _hold(self, left: dict[PartitionId, dict[NodeId, str]], partition: PartitionId, why: str) -> None:
        self.held_back[partition] = why
        left.pop(partition, None)

    async def _mend(self, attempt: str, partition: PartitionId, row: Row, peer: NodeId) -> None:
        for left in range(self._options.tries - 1, -1, -1):
            try:
                await self._exchange.mend(partition, row, peer, attempt)
            except Overloaded:
                if not left:
                    raise
                await asyncio.sleep(self._options.wait_s)
            else:
                return

    async def _keep(
        self,
        attempt: str,
        owners: Sequence[NodeId],
        tokens: Mapping[PartitionId, dict[NodeId, str]],
        document: Topology,
    ) -> None:
        """Have all owners keep the attempt, and tell them what came of it where that is certain."""
        if not tokens:
            return
        partitions = list(tokens)

        async def keep(node: NodeId) -> Sequence[str] | None:
            pairs = tuple((partition, tokens[partition][node]) for partition in partitions)
            try:
                body = await self._ask(node, KEEP, AskKeep(document.epoch, attempt, pairs).encode())
            except (RingmillError, OSError) as error:
                _log.debug("%s may or may not have kept %s: %s", node, attempt, error)
                return None
            return KeepAnswer.decode(body, len(partitions)).refusals

        answers = dict(zip(owners, await gather_all(keep(node) for node in owners), strict=True))
        fates: dict[Fate, list[PartitionId]] = {Fate.PROVEN: [], Fate.DEAD: []}
        for at, partition in enumerate(partitions):
            refusals = {node: each[at] for node, each in answers.items() if each is not None and each[at]}
            if refusals:
                node, why = min(refusals.items())
                self.held_back[partition] = f"{node}: {why}"
                fates[Fate.DEAD].append(partition)
            elif None in answers.values():
                self.held_back[partition] = "an owner did not say whether it keeps the watermark"
                sometimes("it is open whether a watermark was kept by all")
            else:
                sometimes("a watermark is proven")
                fates[Fate.PROVEN].append(partition)
        for fate, settled in fates.items():
            if settled:
                await self._tell(owners, Settle(attempt, fate, tuple(settled)))

    async def _tell(self, owners: Sequence[NodeId], message: Settle) -> None:
        """Who does not hear it asks for it (node/repair/kept_attempts.py)."""

        async def tell(node: NodeId) -> None:
            try:
                await self._ask(node, SETTLE, message.encode())
            except (RingmillError, OSError) as error:
                _log.debug("%s is not told what came of %s: %s", node, message.attempt, error)

        await gather_all(tell(node) for node in owners)

    async def _ask(self, node: NodeId, method: str, request: bytes) -> bytes:
        return await self._transport.call(
            node, method, request, timeout_s=CALL_TIMEOUT_S, priority=Priority.REPAIR
        )
