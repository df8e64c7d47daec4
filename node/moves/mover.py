"""Moves partitions to this node: fills the copies that join it, and has each move go on.

The plan stands in the topology, and so does how far each move is, so that any node may stop at any moment.
The seat that joins a partition drives its move: it opens it, fills its copy, says so, and takes its place
once enough old owners know.  One document carries all moves of a seat a step further.

Rules M1 to M6: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from ringmill.cluster.errors import RingmillError, WrongEpoch, reason_of
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.overload.giving_way import never
from ringmill.cluster.ports import Transport
from ringmill.cluster.ring.moves import advanced, left, may_leave, readers_barrier
from ringmill.cluster.ring.plans.moving_rate import Beside, MeasuredMoves, copies_at_once
from ringmill.cluster.ring.topology import Owner, Row, Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.moves.adopting import ask_adopted
from ringmill.node.moves.fill_steps import FillSteps
from ringmill.node.moves.filled_so_far import MoveProgress
from ringmill.node.moves.filling import Filling
from ringmill.node.moves.former_copies import FormerCopies
from ringmill.node.moves.taking_turns import joiners_of, take_turn
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import Copy

__all__ = ["Advance", "Mover"]

FILLED_AT_ONCE: Final = 2
CHANGE_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
MOST_FOR_JOBS_S: Final = 600.0
"""How long a leaving node waits for jobs that read what their maps have left on it.  Chosen: what is lost
then is made again."""
_log = logging.getLogger(__name__)

Advance = Callable[[Callable[[Topology, bool], Topology | None], float], Awaitable[object]]
"""Has the voters decide on a change of the topology (node/membership/epoch_proposer.py)."""


class Mover:
    """`run` for as long as the node lives.  At rest it has no timer."""

    def __init__(
        self,
        seat: Owner,
        *,
        topology: TopologyView,
        watermarks: Watermarks,
        progress: MoveProgress,
        steps: FillSteps,
        filling: Filling,
        former_copies: FormerCopies,
        transport: Transport,
        change: Advance,
        count_hints: Callable[[], int],
    ) -> None:
        """`count_hints`: of the writes that this node keeps for others, and delivers before it leaves."""
        self._count_hints = count_hints
        self._seat = seat
        self._topology = topology
        self._watermarks = watermarks
        self._progress = progress
        self._steps = steps
        self._filling = filling
        self._former_copies = former_copies
        self._transport = transport
        self._change = change
        self._filled: dict[PartitionId, Epoch] = {}
        self._begun: dict[Copy, None] = {}  # to be filled, since the start
        self._copy_s = 0.0  # how long it took to fill a copy the last time; 0: not known yet
        self._has_changed = asyncio.Event()
        self._waits_for_jobs_since: float | None = None
        self.is_needed: Callable[[], bool] = never
        """Whether open jobs read what their maps have left on this node, or have attempts on it."""
        self.held_back: dict[PartitionId, str] = {}
        """Why a move could not go on at the last try."""
        self.filled_copies = 0
        """Since the start; one that is filled again, as its row has changed, counts again."""
        self.pace = MeasuredMoves()
        """What the moves to this node have taken since its start."""

    def wake(self) -> None:
        """Look again at what there is to do."""
        self._has_changed.set()

    @property
    def owes_nothing(self) -> bool:
        """No former copy is kept, nor may one still be found that an earlier start has kept (rule M6)."""
        return self._former_copies.owed.is_settled

    @property
    def hints(self) -> int:
        """Writes that this node keeps for others."""
        return self._count_hints()

    def take(self, topology: Topology) -> None:
        """A document is held from now on: what joins here takes nothing but what its owners bring.

        A start may find that a copy has gone on since the document that it held.
        """
        joining = dict(self._joining(topology, JOINT_1))
        for copy in [each for each in self._begun if joining.get(each.partition) != each]:
            self._watermarks.end_filling(copy.partition)
            del self._begun[copy]
        for partition, copy in joining.items():
            if copy not in self._begun:
                self._watermarks.begin_filling(partition, is_new=not self._progress.is_begun(copy))
                self._begun[copy] = None
        self._has_changed.set()

    async def run(self) -> None:
        """Go on whenever the topology changes, and after a pause when something has to wait."""
        pause_s = FIRST_PAUSE_S
        while True:
            self._has_changed.clear()
            is_done = await self._round()
            pause_s = FIRST_PAUSE_S if is_done else min(2 * pause_s, LONGEST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if is_done else pause_s):
                    await self._has_changed.wait()

    async def _round(self) -> bool:
        """One step of all moves of this seat.  Returns whether nothing has to be tried again."""
        topology = self._topology.current
        if topology is None:
            return True
        leaves = may_leave(topology, self._seat)
        is_concerned = leaves or self._concerns(topology)
        if not leaves:
            self._waits_for_jobs_since = None
        if not is_concerned:
            self._filling.all_is_brought()
        if not self._topology.serving:
            return not is_concerned
        try:
            is_tidy = await self._tidy(topology)
            if not is_concerned:
                self.held_back.clear()
                return is_tidy
            if leaves:
                return await self._leave()
            return await self._advance(topology) and is_tidy
        except (RingmillError, OSError) as error:
            _log.info("moves wait: %s", error)
            return False

    async def _tidy(self, topology: Topology) -> bool:
        """Drop what former moves have left.  Returns False when it has to be tried again: no move waits for
        that, nor a node that may leave, as nobody ever sees such a copy (rule M3)."""
        try:
            await self._former_copies.sweep(topology)
            copies = {copy for _, copy in self._joining(topology, JOINT_1)}
            self._steps.keep_only(copies)
            await self._progress.keep_only(copies)
        except (RingmillError, OSError) as error:
            _log.info("former copies are dropped later: %s", error)
            return False
        return True

    async def _leave(self) -> bool:
        if self.hints:
            sometimes("a leaving node delivers its hints first")
            return False
        if not self.owes_nothing or self._waits_for_jobs():
            return False
        await self._change(lambda present, may_be_made: left(present, self._seat), CHANGE_S)
        return True

    def _waits_for_jobs(self) -> bool:
        """Whether a leaving node stays for what nobody else has, for a bounded time (rule J33)."""
        now = asyncio.get_running_loop().time()
        if not self.is_needed():
            self._waits_for_jobs_since = None
            return False
        if self._waits_for_jobs_since is None:
            self._waits_for_jobs_since = now
            _log.info("moves wait: %s", "open jobs read what their maps have left on this node")
        return now - self._waits_for_jobs_since < MOST_FOR_JOBS_S

    async def _advance(self, topology: Topology) -> bool:
        self.held_back.clear()
        loop = asyncio.get_running_loop()
        begun, before = loop.time(), self._filling.moved_bytes
        adopted = await self._ask_adopted(topology)
        fills_from = loop.time()
        turns = asyncio.Semaphore(FILLED_AT_ONCE)
        joining = [
            partition
            for partition, _ in self._joining(topology, JOINT_1)
            if self._filled.get(partition) != topology.row(partition).row_epoch
        ]
        startable = await self._begin(joining)
        self._filling.beside = self._beside(topology).on_host
        async with asyncio.TaskGroup() as group:
            for partition in startable:
                group.create_task(self._fill(partition, topology.row(partition), turns))

        fill_s = loop.time() - fills_from
        self._copy_s = fill_s / len(startable) if startable else self._copy_s
        most = copies_at_once(self._copy_s)

        def change(present: Topology, may_be_made: bool) -> Topology | None:
            return advanced(present, self._seat, filled=self._filled, adopted=adopted, most=most)

        await take_turn(self._seat.node, self._topology)
        await self._change(change, CHANGE_S)
        current = self._topology.serving_topology()
        if current.epoch > topology.epoch:
            size_bytes = self._filling.moved_bytes - before
            copies = sum(partition in self._filled for partition in startable)
            filled_s = fill_s if copies else 0.0
            took = MeasuredMoves(size_bytes, copies, filled_s, 1, loop.time() - begun - fill_s)
            self.pace = self.pace.plus(took.without(self._beside(topology)))
        self._filled = {
            partition: epoch
            for partition, epoch in self._filled.items()
            if current.row(partition).row_epoch == epoch
        }
        return current.epoch > topology.epoch or not self.held_back

    async def _begin(self, partitions: Sequence[PartitionId]) -> list[PartitionId]:
        """Returns those that can be filled."""
        refused: Mapping[PartitionId, Exception]
        try:
            refused = await self._filling.begin(partitions)
        except (RingmillError, OSError) as error:
            refused = dict.fromkeys(partitions, error)
        for partition, why in refused.items():
            self._hold_back(partition, why)
        return [partition for partition in partitions if partition not in refused]

    async def _fill(self, partition: PartitionId, row: Row, turns: asyncio.Semaphore) -> None:
        async with turns:
            try:
                await self._filling.fill(partition)
            except (RingmillError, OSError) as error:
                self._hold_back(partition, error)
            else:
                self._filled[partition] = row.row_epoch
                self.filled_copies += 1
                self._steps.done()

    def _hold_back(self, partition: PartitionId, error: Exception) -> None:
        if isinstance(error, WrongEpoch):
            self.held_back[partition] = "the topology has changed"
            return
        self.held_back[partition] = reason_of(error)
        _log.info("partition %d is not filled yet: %s", partition, error)

    async def _ask_adopted(self, topology: Topology) -> Mapping[PartitionId, Epoch]:
        """The partitions in joint-2 of which enough old owners hold this document (rule M2).

        One whose disk is gone, by the operator's word, answers no read by an earlier one.
        """
        rows = {partition: topology.row(partition) for partition, _ in self._joining(topology, JOINT_2)}
        asked = dict.fromkeys(node for row in rows.values() for node in row.whole)
        holding = {member.id for member in topology.members if member.state == "gone"}

        async def ask(node: NodeId) -> None:
            try:
                await ask_adopted(self._transport, node, topology.epoch, [])
                holding.add(node)
            except RingmillError as error:
                _log.info("%s does not know of topology epoch %d yet: %s", node, topology.epoch, error)

        async with asyncio.TaskGroup() as group:
            for node in asked:
                if node not in holding:
                    group.create_task(ask(node))
        known: dict[PartitionId, Epoch] = {}
        for partition, row in rows.items():
            if sum(node in holding for node in row.whole) >= readers_barrier(topology, row):
                known[partition] = row.row_epoch
            else:
                sometimes("a joiner waits until enough owners know of it")
                self.held_back[partition] = "too few old owners know that the copy is filled"
        return known

    def _joining(self, topology: Topology, phase: str) -> list[tuple[PartitionId, Copy]]:
        return [
            (PartitionId(number), Copy(PartitionId(number), row.copy_epoch_of(self._seat.node)))
            for number, row in enumerate(topology.rows)
            if row.joiner == self._seat and row.phase == phase
        ]

    def _beside(self, topology: Topology) -> Beside:
        """The nodes that partitions move to."""
        joiners = joiners_of(topology) | {self._seat.node}
        host = {member.id: member.host for member in topology.members}
        on_host = sum(host[joiner] == host[self._seat.node] for joiner in joiners)
        return Beside(on_host, len(joiners))

    def _concerns(self, topology: Topology) -> bool:
        """Whether a move to this node is under way, or may be opened."""
        return any(
            row.joiner == self._seat
            or (not topology.is_paused and self._seat in row.wanted and self._seat not in row.owners)
            for row in topology.rows
        )
