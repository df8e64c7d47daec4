"""Anti-entropy: owners compare their copies every minute, and sooner when one of them may lack something.

- Every round each pair of owners compares the roots of all partitions that both own; the owner whose name
  comes first asks.  The same when a member is seen up again.  Equal copies cost 20 bytes a partition and no
  read.
- A partition is *owed* to another owner when that one may lack a write that no hint brings it: after a stop
  that was not clean, after damage of hints (rule H8), and when a hint was dropped (rule H2).  A partition
  stays owed until a comparison that began later has ended well.  While something is owed a stop is not noted
  as a clean one, so a start finds everything owed again: that is what keeps it over a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ringmill.cluster.errors import Overloaded, RingmillError, reason_of
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.ports import Clock
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.node_options import CompareOptions
from ringmill.node.repair.exchange import Exchange
from ringmill.node.repair.owed import Owed
from ringmill.node.repair.pairwise import compare_with
from ringmill.node.replica.comparing.comparisons import Comparisons
from ringmill.node.replica.hints import HintStore

__all__ = ["AntiEntropy"]

FIRST_PAUSE_S: Final = 1.0  # short, as after a restart of all nodes the others are up soon
LONGEST_PAUSE_S: Final = 15.0  # an owner that is away may be so for hours
PATIENCE: Final = 20  # rounds in which hints for an owner may go first; what they bring differs no more
ROOTS_AT_ONCE: Final = 512
LONG_S: Final = 30.0
"""A pair that takes longer to be made equal goes on beside the rounds: a large copy takes an hour, and all
others wait for a round (rule H10)."""

_log = logging.getLogger(__name__)


class AntiEntropy:
    """`run` it as long as the node runs."""

    def __init__(
        self,
        node: NodeId,
        *,
        exchange: Exchange,
        comparisons: Comparisons,
        hints: HintStore,
        topology: TopologyView,
        liveness: LivenessView,
        clock: Clock,
        options: CompareOptions,
    ) -> None:
        self._node = node
        self._exchange = exchange
        self._comparisons = comparisons
        self._hints = hints
        self._topology = topology
        self._liveness = liveness
        self._clock = clock
        self._options = options
        self.every_s = options.every_s
        self._owed = Owed()
        self._is_all_owed = False
        self._asked: dict[tuple[PartitionId, NodeId], None] = {}  # owed only as somebody asked for it
        self._returned: dict[NodeId, None] = {}
        self._waited: dict[NodeId, int] = {}  # rounds in which hints went first
        self._woken = asyncio.Event()
        self._walks: asyncio.TaskGroup | None = None  # while `run` does
        self._beside: dict[tuple[PartitionId, NodeId], None] = {}  # pairs that go on beside the rounds
        self.held_back: dict[tuple[PartitionId, NodeId], str] = {}
        """Why a pair could not be compared at the last try."""
        self.passed_at: float | None = None
        """Since when all has been compared that this node compares by itself, monotonic: when the pair that
        waits longest was last found equal, or when this node began.  None before, and at a node that compares
        only what somebody may lack."""
        liveness.on_change(self._note_state)

    def want(self) -> None:
        """Compare everything that this node owns, from the beginning, because hints may be missing."""
        self._is_all_owed = True
        self._asked.clear()
        self._woken.set()

    def owe(self, partition: PartitionId, node: NodeId) -> bool:
        """An owner may lack something of a partition (rule H2).  False when this node does not own it, and
        so cannot bring it."""
        if self._node not in self._document().rows[partition].whole:
            return False
        if not self._owed:
            self._woken.set()
        self._owed.owe(partition, node)
        self._asked.pop((partition, node), None)
        return True

    def owes(self, partition: PartitionId) -> bool:
        """Whether another owner of a partition may lack something that this node holds."""
        return self._is_all_owed or any(
            (partition, node) not in self._asked for node in self._owed.of(partition)
        )

    def compare_now(self, partitions: Iterable[PartitionId]) -> None:
        """Compare these with all their other owners, as somebody asks for it."""
        rows, owed = self._document().rows, {*self._owed.pairs()}
        for partition in partitions:
            others = self._others(rows[partition])
            self._asked.update(dict.fromkeys((partition, node) for node in others))
            self._owed.owe_all(partition, others)
        for pair in owed:
            self._asked.pop(pair, None)
        self._woken.set()

    @property
    def is_done(self) -> bool:
        """Nobody may lack anything that this node knows of."""
        return not (self._is_all_owed or self._owed)

    @property
    def waiting(self) -> Sequence[tuple[PartitionId, NodeId]]:
        """The pairs still to be compared; empty until a requested comparison begins."""
        return self._owed.pairs()

    @property
    def story(self) -> str:
        """Who may lack a write, in one line for people; "" when nobody does that this node knows of."""
        pairs = [pair for pair in self._owed.pairs() if pair not in self._asked]
        if not (pairs or self._is_all_owed):
            return ""
        others = ", ".join(sorted({node for _, node in pairs})) or "the other owners"
        partitions = len({partition for partition, _ in pairs})
        subject = "1 partition waits" if partitions == 1 else f"{partitions or 'its'} partitions wait"
        reasons = sorted({self.held_back[pair] for pair in pairs if pair in self.held_back})
        why = f": {reasons[0]}" if reasons else ""
        return f"{subject} to be compared with {others}, who may lack a write{why}"

    @property
    def mended(self) -> int:
        """Objects that one of two owners lacked, since the start, as far as this node asked."""
        return self._comparisons.pulled + self._comparisons.pushed

    async def run(self) -> None:
        """Compare, until cancelled."""
        await self._topology.wait_formed()
        async with asyncio.TaskGroup() as self._walks:
            await self._run()

    async def _run(self) -> None:
        due = self._clock.monotonic() + self.every_s
        self.passed_at = self._clock.monotonic() if self.every_s else None
        pause_s = FIRST_PAUSE_S
        while True:
            self._woken.clear()
            is_due = self.every_s > 0 and self._clock.monotonic() >= due
            if is_due:
                due = self._clock.monotonic() + self.every_s
            was_done = self.is_done
            self._take_on()
            await self._round(is_due=is_due)
            self._note_pass()
            if self.is_done:
                self._asked.clear()
                pause_s = FIRST_PAUSE_S
                if not was_done:
                    _log.info("compared with the other owners: %d objects moved since the start", self.mended)
                await self._sleep(due - self._clock.monotonic() if self.every_s else None)
            else:
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _sleep(self, pause_s: float | None) -> None:
        """Until something is to be done sooner."""
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(FIRST_PAUSE_S)  # who is seen up may need a moment, and others may follow

    def _note_state(self, node: NodeId, state: MemberState) -> None:
        if state is MemberState.UP:
            self._returned[node] = None
            self._woken.set()

    def _take_on(self) -> None:
        """Owe what was asked for, and to nobody who owns a partition no more."""
        rows = self._document().rows
        if self._is_all_owed:
            self._is_all_owed = False
            for number, row in enumerate(rows):
                if self._node in row.whole:
                    self._owed.owe_all(PartitionId(number), self._owed_to(row))
        for partition in self._owed.partitions():
            row = rows[partition]
            self._owed.keep_only(partition, self._owed_to(row) if self._node in row.whole else ())

    def _document(self) -> Topology:
        topology = self._topology.current
        assert topology is not None, "a formed cluster has a topology"
        return topology

    def _others(self, row: Row) -> list[NodeId]:
        return [node for node in row.whole if node != self._node]

    def _owed_to(self, row: Row) -> list[NodeId]:
        """Also a joiner, which may miss writes of the joint: it is compared once it has its place."""
        return [node for node in row.nodes if node != self._node]

    async def _round(self, *, is_due: bool) -> None:
        """One comparison with every other owner that seems up."""
        returned, self._returned = self._returned, {}
        document = self._document()
        for peer in sorted(member.id for member in document.members if member.id != self._node):
            if (state := self._liveness.state(peer)) is not MemberState.UP:
                self.held_back.update(((each, peer), f"{peer} is {state}") for each in self._owed.to(peer))
                continue
            wanted = [each for each in self._owed.to(peer) if peer in document.rows[each].whole]
            if self._node < peer and (is_due or peer in returned):
                wanted = [PartitionId(n) for n, row in enumerate(document.rows) if self._is_shared(row, peer)]
            wanted = [each for each in wanted if (each, peer) not in self._beside]
            if not wanted or self._hints_go_first(peer):
                continue
            for first in range(0, len(wanted), ROOTS_AT_ONCE):
                await self._compare(peer, wanted[first : first + ROOTS_AT_ONCE])

    def _note_pass(self) -> None:
        """A pair that could not be compared, for whatever reason, keeps `passed_at` where it is.

        Of two owners the one that asks every round counts.  A pair that is new has until the next round.
        """
        if self.passed_at is None:
            return
        waited_s = [
            self._comparisons.equal_s_ago(PartitionId(number), other)
            for number, row in enumerate(self._document().rows)
            if self._node in row.whole
            for other in row.whole
            if self._node < other
        ]
        known_s = [each for each in waited_s if each is not None]
        if len(known_s) == len(waited_s):
            passed_at = self._clock.monotonic() - max(known_s, default=0.0)
            self.passed_at = max(self.passed_at, passed_at)

    def _is_shared(self, row: Row, peer: NodeId) -> bool:
        return self._node in row.whole and peer in row.whole

    def _hints_go_first(self, peer: NodeId) -> bool:
        """What hints are about to bring need not be compared."""
        if not self._hints.counts().get(peer):
            self._waited.pop(peer, None)
            return False
        self._waited[peer] = self._waited.get(peer, 0) + 1
        return self._waited[peer] <= PATIENCE

    async def _compare(self, peer: NodeId, partitions: Sequence[PartitionId]) -> None:
        """Compare these with one other owner, and mend what differs."""
        began, document = self._owed.stamp, self._document()
        rows = {partition: document.rows[partition] for partition in partitions}

        def equal(partition: PartitionId) -> None:
            self._mark_compared(partition, rows[partition], peer, began)

        def unequal(partition: PartitionId, why: str) -> None:
            sometimes("owners cannot be compared yet")
            self.held_back[partition, peer] = why
            _log.debug("partition %d is compared with %s later: %s", partition, peer, why)

        async def mend(partition: PartitionId, row: Row) -> None:
            assert self._walks is not None, "rounds are a part of `run`"
            walk = self._walks.create_task(self._walk(partition, row, peer, equal, unequal))
            done, _ = await asyncio.wait([walk], timeout=LONG_S)
            if not done and len(self._beside) < self._options.at_once - 1:
                self._beside[partition, peer] = None
                raise Overloaded(f"it is being made equal, which takes more than {LONG_S:.0f} s")
            if (error := await walk) is not None:
                raise error

        await compare_with(
            peer,
            rows,
            exchange=self._exchange,
            at_once=self._options.at_once - len(self._beside),
            mend=mend,
            equal=equal,
            unequal=unequal,
        )

    async def _walk(
        self,
        partition: PartitionId,
        row: Row,
        peer: NodeId,
        equal: Callable[[PartitionId], None],
        unequal: Callable[[PartitionId, str], None],
    ) -> RingmillError | OSError | None:
        """Returns why two copies could not be made equal.  Tells how it ended if its round did not wait."""
        failure: RingmillError | OSError | None = None
        try:
            await self._exchange.mend(partition, row, peer)
        except (RingmillError, OSError) as error:
            failure = error
        if (partition, peer) in self._beside:
            del self._beside[partition, peer]
            if failure is None:
                equal(partition)
            else:
                unequal(partition, reason_of(failure))
        return failure

    def _mark_compared(self, partition: PartitionId, row: Row, peer: NodeId, began: int) -> None:
        self._comparisons.note_equal(partition, peer)
        self.held_back.pop((partition, peer), None)
        self._owed.mark_compared(partition, peer, self._others(row), began)
