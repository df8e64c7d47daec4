"""Heals the registers of a damaged range: what this owner had agreed to there is lost, and must not matter.

No ballot that this owner has ever agreed to counts above its ceiling.  Other owners first agree to
nothing up to there, enough of them that no change in which a lost agreement counts can still come about.
Then they tell what they have accepted; the highest of each register is put in place, and this owner agrees to
nothing up to its old ceiling either.  A register whose change had come about is held by one of them at least.

A disk that took the place of a lost one does not know the ceiling of that one.  But a round under the former
row in which the lost owner counts had a promise of one of those that are asked, who refuse its messages since
they know the new row: so the highest of their ceilings, as they first tell it, stands for the lost one.

Rules R2 (docs/protocol/registers.md) and H12.
"""

from __future__ import annotations

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable, WrongEpoch
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Part
from ringmill.node.replica.registers.register_messages import REGISTER_PAGE, AskRegisters, RegistersPage
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.stored_key import Copy, registers_prefix

__all__ = ["RegisterHealing"]

_CALL_TIMEOUT_S = 5.0


class RegisterHealing:
    def __init__(
        self,
        node: NodeId,
        *,
        registers: RegisterStore,
        remains: RemainsStore,
        topology: TopologyView,
        transport: Transport,
        loss: AcceptedLoss,
    ) -> None:
        self._node = node
        self._registers = registers
        self._remains = remains
        self._topology = topology
        self._transport = transport
        self._loss = loss
        self._bounds: dict[tuple[NodeId, Epoch], int] = {}
        """What another owner has agreed to under rows before this epoch counts no higher."""

    async def heal(self, part: Part) -> None:
        """Raises Unavailable when too few other owners answer, and what the engine raises."""
        assert part.partition is not None and part.row is not None and part.end is not None
        floor = lowest = self._registers.ceiling
        newest: dict[bytes, tuple[Ballot, bytes]] = {}
        failures: dict[NodeId, str] = {}
        others = [node for node in part.row.whole if node != self._node]
        self._loss.check_has_source(self._node, others)
        told: list[NodeId] = []
        for node in others:
            try:
                pages = await self._ask_all(node, part, floor)
            except RingmillError as error:
                failures[node] = f"{error.code}: {error.message}"
                continue
            told.append(node)
            lowest = max(lowest, self._bounds[node, part.row.row_epoch])
            for key, accepted, value in pages:
                if accepted > newest.get(key, (NO_BALLOT, b""))[0]:
                    newest[key] = accepted, value
        usual = sources_needed(part.row)
        if not self._loss.are_enough(told, others, usual):
            need = self._loss.sources_needed(others, usual)
            why = (
                "; ".join(f"{node}: {reason}" for node, reason in sorted(failures.items()))
                or "there are no more"
            )
            raise Unavailable(
                f"{need} other owners are needed, {len(told)} answered ({why})",
                detail={"missing": sorted(failures)},
            )
        await self._registers.raise_floor(lowest)
        lost = {key: told for key, told in newest.items() if part.start <= key < part.end}
        # A copy counts as accepted (rule R3).  Should it be lost in turn, the ceiling must not be below it.
        await self._registers.raise_ceiling(max((ballot.counter for ballot, _ in lost.values()), default=0))
        for key, (accepted, value) in sorted(lost.items()):
            await self._registers.put_healed(key, AcceptorState(accepted, accepted, value))
        await self._registers.wait_synced()
        sometimes("damaged registers are healed from other owners")

    async def _ask_all(self, node: NodeId, part: Part, floor: int) -> list[tuple[bytes, Ballot, bytes]]:
        """All registers of the partition as another owner has accepted them, by stored key.

        Raises what the calls raise, WrongEpoch, ProtocolMismatch.
        """
        topology = self._topology.topology()
        assert part.partition is not None and part.row is not None
        prefix = registers_prefix(Copy(part.partition, part.row.copy_epoch_of(self._node)))
        found: list[tuple[bytes, Ballot, bytes]] = []
        start = b""
        while True:
            request = AskRegisters(topology.epoch, part.partition, floor, start)
            body = await self._transport.call(
                node, REGISTER_PAGE, request.encode(), timeout_s=_CALL_TIMEOUT_S, priority=Priority.REPAIR
            )
            page = RegistersPage.decode(body)
            if page.row_epoch != part.row.row_epoch:
                raise WrongEpoch(f"{node} answered under row epoch {page.row_epoch}")
            self._bounds.setdefault((node, page.row_epoch), page.ceiling)
            await self._remains.add(part.partition, page.remains)  # a disk that is new knows none (rule R5)
            found += [(prefix + key, accepted, value) for key, accepted, value in page.items]
            if not page.covered_to:
                return found
            if page.covered_to <= start:
                raise ProtocolMismatch(f"{node} answered with a page that does not lead on")
            start = page.covered_to


def sources_needed(row: Row) -> int:
    """Each majority that this owner was part of has one of this number of other owners."""
    return row.size - (row.size // 2 + 1) + 1
