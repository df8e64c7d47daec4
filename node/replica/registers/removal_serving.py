"""The owner's side of the removal of registers: it closes ballots, tells what it holds, and removes.

Rule R5: docs/protocol/registers.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringmill.cluster.consensus.register_codec import decode_acceptor
from ringmill.cluster.consensus.remains import empty_register
from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.ports import Handler, Incoming
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, millis
from ringmill.node.replica.purging.purge_serving import BEHIND, clock_complaint
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.registers.removal_messages import (
    CLOSE,
    REMOVE,
    AskClose,
    AskRemove,
    CloseAnswer,
    KeyState,
)
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stepping import fetch
from ringmill.node.replica.stored_key import Copy, prefix_end, registers_prefix
from ringmill.node.storage.engine import Engine

__all__ = ["RemovalServing"]


class RemovalServing:
    def __init__(
        self,
        *,
        routes: Routes,
        registers: RegisterStore,
        remains: RemainsStore,
        engine: Engine,
        hybrid: HybridClock,
        after_s: float,
    ) -> None:
        self._routes = routes
        self._registers = registers
        self._remains = remains
        self._engine = engine
        self._hybrid = hybrid
        self._after_s = after_s

    def handlers(self) -> Mapping[str, Handler]:
        return {CLOSE: self.close, REMOVE: self.remove}

    async def close(self, incoming: Incoming) -> bytes:
        """What is told as empty here stays so up to the floor: it is told after the floor is on the disk."""
        asked = AskClose.decode(incoming.body)
        copy = await self._copy(asked.partition, asked.epoch, asked.row_epoch, incoming)
        if why := self._complaint(asked, copy):
            return CloseAnswer(why).encode()
        await self._registers.raise_floor(asked.floor)
        await self._remains.add(asked.partition, asked.remains)
        states = [await self._state(registers_prefix(copy) + key) for key in asked.keys]
        await self._registers.wait_synced()
        if self._is_damaged(copy):
            return CloseAnswer("damaged meanwhile").encode()
        self._routes.check_row(asked.partition, asked.row_epoch)
        return CloseAnswer("", tuple(states)).encode()

    async def remove(self, incoming: Incoming) -> bytes:
        asked = AskRemove.decode(incoming.body)
        copy = await self._copy(asked.partition, asked.epoch, asked.row_epoch, incoming)
        remains, removed = self._remains.of(asked.partition), 0

        def admit() -> None:
            self._routes.check_row(asked.partition, asked.row_epoch)

        for key in asked.keys:
            stored_key = registers_prefix(copy) + key
            removed += await self._registers.remove(stored_key, asked.floor, remains, admit)
        await self._registers.wait_synced()
        if removed:
            sometimes("registers without a value are removed")
        return b""

    async def _state(self, key: bytes) -> KeyState:
        """Synced or not.  Raises CorruptData."""
        state = decode_acceptor(await fetch(self._engine, key))
        return KeyState(empty_register(state) is None, state.promised.counter)

    async def _copy(self, partition: PartitionId, epoch: Epoch, row_epoch: Epoch, incoming: Incoming) -> Copy:
        """Raises WrongEpoch when the owners of the partition are no longer those that were asked."""
        row = await self._routes.row_of(partition, epoch, sender=incoming.sender)
        if row.row_epoch != row_epoch:
            raise WrongEpoch(f"the owners of partition {partition} have changed")
        return self._routes.copy_of(partition, row)

    def _complaint(self, asked: AskClose, copy: Copy) -> str:
        """Why this owner takes no part; "" when it may."""
        if not self._after_s:
            return "deletes are never forgotten there (--purge-after off)"
        if why := clock_complaint(self._hybrid, self._after_s):
            return why
        if millis(asked.remains.time) > self._hybrid.wall_ms() - self._after_s * 1000 * BEHIND:
            return "the registers are too young by its clock"
        if self._is_damaged(copy):
            sometimes("a damaged owner takes no part in a removal of registers")
            return "damaged, or not filled yet"
        return ""

    def _is_damaged(self, copy: Copy) -> bool:
        prefix = registers_prefix(copy)
        return self._engine.may_lack(prefix, prefix_end(prefix))
