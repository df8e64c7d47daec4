"""Heals the registers of a damaged range: what this owner had agreed to there is lost, and must not matter.

No ballot that this owner has ever agreed to counts above its ceiling.  Other owners first agree to
nothing up to there, enough of them that no change in which a lost agreement counts can still come about.
Then they tell what they have accepted; the highest of each register is put in place, and this owner agrees to
nothing up to its old ceiling either.  A register whose change had come about is held by one of them at least.
It is told to each later round, but it is a copy: this owner may have promised a higher ballot than that of
the copy, so it does not count among those that have accepted it.
So what has survived here of a register that none of them tells of is deleted: the others may have removed it.

Registers are told and put in place a page at a time, and no faster than objects are healed.

A disk that took the place of a lost one does not know the ceiling of that one.  But a round under the former
row in which the lost owner counts had a promise of one of those that are asked, who refuse its messages since
they know the new row: so the highest of their ceilings, as they first tell it, stands for the lost one.

Rules R2 (docs/protocol/registers.md) and H12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import aclosing
from functools import partial
from typing import Final

from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState
from ringmill.cluster.errors import (
    DeadlineExceeded,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId
from ringmill.cluster.overload.crossing import Crossings
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.node.contracts import TopologyView
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Part
from ringmill.node.repair.healing import BYTES_PER_S, Reached
from ringmill.node.replica.registers.forgotten_serving import learn_forgotten
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_messages import REGISTER_PAGE, AskRegisters, RegistersPage
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.stored_key import Copy, parse_keyspace, registers_prefix
from ringmill.node.storage.engine import Engine

__all__ = ["RegisterHealing"]

_CALL_TIMEOUT_S: Final = 5.0
_SURVIVORS: Final = 256
"""Keys that are looked at in one go."""


class RegisterHealing:
    def __init__(
        self,
        node: NodeId,
        *,
        registers: RegisterStore,
        remains: RemainsStore,
        forgotten: ForgottenStore,
        engine: Engine,
        topology: TopologyView,
        transport: Transport,
        loss: AcceptedLoss,
        gate: Gate,
    ) -> None:
        self._node = node
        self._registers = registers
        self._remains = remains
        self._forgotten = forgotten
        self._topology = topology
        self._transport = transport
        self._loss = loss
        self._engine = engine
        self._gate = gate
        self._crossings = Crossings(_CALL_TIMEOUT_S)
        self._bounds: dict[tuple[NodeId, Epoch], int] = {}
        """What another owner has agreed to under rows before this epoch counts no higher."""

    async def heal(self, part: Part, reached: Reached, silent: set[NodeId]) -> None:
        """Owners that are silent in this round are not waited for again.

        Raises Unavailable when too few other owners answer, and what the engine raises."""
        assert part.partition is not None and part.row is not None and part.end is not None
        prefix = registers_prefix(Copy(part.partition, part.row.copy_epoch_of(self._node)))
        floor, failures = self._registers.ceiling, dict.fromkeys(silent, "silent")
        start = part.start
        while start < part.end:
            pages = await self._ask(part, start[len(prefix) :], floor, failures, silent)
            ends = (prefix + page.covered_to if page.covered_to else part.end for page in pages.values())
            stop = min(part.end, *ends) if pages else part.end
            lowest = max([floor, *(self._bounds[node, part.row.row_epoch] for node in pages)])
            await self._registers.raise_floor(lowest)
            known = _newest(pages.values(), prefix, start, stop)
            # A copy is told to later rounds.  Should it be lost, the ceiling must not be below it.
            highest = max((state.accepted.counter for state in known.values()), default=0)
            await self._registers.raise_ceiling(highest)
            for key, state in known.items():
                # Who told of it may have yet to hear that its keyspace was dropped (rule P6).
                is_gone = partial(self._is_gone, parse_keyspace(key[len(prefix) :]))
                await self._registers.put_healed(key, state, unless=is_gone)
            if len(pages) >= sources_needed(part.row):
                await self._drop_survivors(start, stop, floor, known)
            await self._registers.wait_synced()
            start = stop
            reached(start)
            size_bytes = sum(len(value) for page in pages.values() for _, _, value in page.items)
            await asyncio.sleep(size_bytes / BYTES_PER_S * self._gate.stretch)  # requests go first (rule O8)
        sometimes("damaged registers are healed from other owners")

    def _is_gone(self, keyspace: KeyspaceId) -> bool:
        return self._topology.serving_topology().has_dropped(keyspace)

    async def _drop_survivors(self, start: bytes, stop: bytes, floor: int, known: Collection[bytes]) -> None:
        """What survived of registers that no other owner has accepted anything of was removed since, or has
        never come about, and cannot any more: what knew of the removal may have been lost (rule R5).

        Only where enough owners were asked; by the word of rule H12 a survivor may be the last copy.
        """
        while start < stop:
            keys, end = list[bytes](), stop
            async with aclosing(self._engine.survivors(start, stop)) as scan:
                async for key, _ in scan:
                    if len(keys) == _SURVIVORS:
                        end = key
                        break
                    keys.append(key)
            for key in keys:
                if key not in known and await self._registers.drop_survivor(key, floor):
                    sometimes("a register that no other owner knows has survived damage")
            start = end

    async def _ask(
        self, part: Part, start: bytes, floor: int, failures: dict[NodeId, str], silent: set[NodeId]
    ) -> dict[NodeId, RegistersPage]:
        """A page from every other owner that can give one; one that could not is not asked again.

        Raises Unavailable when these are too few.
        """
        assert part.partition is not None and part.row is not None
        others = [node for node in part.row.whole if node != self._node]
        self._loss.check_has_source(self._node, others)
        pages: dict[NodeId, RegistersPage] = {}

        async def ask(node: NodeId) -> None:
            try:
                pages[node] = await self._page(node, part, start, floor)
            except RingmillError as error:
                failures[node] = f"{error.code}: {error.message}"
                if isinstance(error, Unavailable | DeadlineExceeded):
                    silent.add(node)

        await gather_all(ask(node) for node in others if node not in failures)
        usual = sources_needed(part.row)
        if not self._loss.are_enough(part.partition, pages, others, usual):
            need = self._loss.sources_needed(part.partition, others, usual)
            missing = [node for node in sorted(others) if node in failures]
            why = "; ".join(f"{node}: {failures[node]}" for node in missing) or "there are no more"
            raise Unavailable(
                f"{need} other owners are needed, {len(pages)} answered ({why})",
                detail={"missing": missing},
            )
        return pages

    async def _page(self, node: NodeId, part: Part, start: bytes, floor: int) -> RegistersPage:
        """Registers of the partition from a key on, as another owner has accepted them.

        Raises what the call raises, WrongEpoch, ProtocolMismatch.
        """
        assert part.partition is not None and part.row is not None
        request = AskRegisters(self._topology.serving_topology().epoch, part.partition, floor, start)
        with self._crossings.within(node) as timeout_s:
            body = await self._transport.call(
                node, REGISTER_PAGE, request.encode(), timeout_s=timeout_s, priority=Priority.REPAIR
            )
        page = RegistersPage.decode(body)
        if page.row_epoch != part.row.row_epoch:
            raise WrongEpoch(f"{node} answered under row epoch {page.row_epoch}")
        if page.covered_to and page.covered_to <= start:
            raise ProtocolMismatch(f"{node} answered with a page that does not lead on")
        self._bounds.setdefault((node, page.row_epoch), page.ceiling)
        await self._remains.add(part.partition, page.remains)  # a disk that is new knows none (rule R5)
        await learn_forgotten(self._transport, node, self._forgotten)  # nor what it refuses (rule J29)
        return page


def _newest(
    pages: Iterable[RegistersPage], prefix: bytes, start: bytes, stop: bytes
) -> dict[bytes, AcceptorState]:
    """What the pages tell of the registers in [start, stop), in key order, as copies of what is newest."""
    newest: dict[bytes, AcceptorState] = {}
    for page in pages:
        for key, accepted, value in page.items:
            stored_key = prefix + key
            is_newer = accepted.of_copy > newest.get(stored_key, UNTOUCHED).accepted
            if start <= stored_key < stop and is_newer:
                newest[stored_key] = AcceptorState(accepted.of_copy, accepted.of_copy, value)
    return dict(sorted(newest.items()))


def sources_needed(row: Row) -> int:
    """Each majority that this owner was part of has one of this number of other owners."""
    return row.size - (row.size // 2 + 1) + 1
