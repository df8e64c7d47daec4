"""Removes registers that were deleted, once all owners hold no value of them.

Each owner looks through its own registers now and then.  Those without a value that are old enough it removes
in two steps, many at a time: all owners close the ballots up to a floor, and tell what they hold; where none
of them holds a value all remove.  An owner that still holds one has missed the delete, so the register is
settled first, by a round that goes to all.

Rule R5: docs/protocol/registers.md; M3, by which nothing is removed in a joint: docs/protocol/moves.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from ringmill.cluster.consensus.register_codec import decode_acceptor
from ringmill.cluster.consensus.remains import (
    NO_REMAINS,
    OWN_PREFIX,
    Remains,
    combined,
    empty_register,
    holds_own,
    remains_of,
)
from ringmill.cluster.errors import RingmillError, Unavailable, reason_of
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.ports import Priority, Transport
from ringmill.cluster.ring.topology import Row, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, millis
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.removal_messages import (
    CLOSE,
    REMOVE,
    AskClose,
    AskRemove,
    CloseAnswer,
    KeyState,
)
from ringmill.node.replica.stored_key import Copy, parse_object_key, prefix_end, registers_prefix
from ringmill.node.storage.engine import Engine

__all__ = ["RegisterRemoval"]

CALL_TIMEOUT_S: Final = 5.0
SCAN_TURN: Final = 256
BATCH: Final = 256
FLOORS: Final = 3
"""How often a floor is raised within one try: an owner may have promised more than this one."""
MOST_SETTLED: Final = 32
"""Registers of one batch that are settled before the next try; each is a round."""
TURN_S: Final = 0.005
"""What SCAN_TURN registers take, about: the pause after them grows by that for each step of the stretch."""
UNUSED_S: Final = 600.0
"""After which registers are removed that hold no change of their own: each read of a key that is absent may
leave one where others were removed."""
_NEVER: Final = 1 << 62

_log = logging.getLogger(__name__)

FinishRegister = Callable[[str, bytes], Awaitable[None]]
"""Has all owners that can be reached hold what a register of a keyspace holds.  Raises RingmillError."""


class _Found(NamedTuple):
    """A register without a value: its key in the copy, how far it has promised, what would remain of it."""

    key: bytes
    promised: int
    remains: Remains


class RegisterRemoval:
    def __init__(
        self,
        node: NodeId,
        *,
        registers: RegisterStore,
        engine: Engine,
        liveness: LivenessView,
        transport: Transport,
        hybrid: HybridClock,
        options: PurgeOptions,
        gate: Gate,
        finish_register: FinishRegister,
    ) -> None:
        self._node = node
        self._finish_register = finish_register
        self._registers = registers
        self._engine = engine
        self._liveness = liveness
        self._transport = transport
        self._hybrid = hybrid
        self._options = options
        self._gate = gate
        self._due: dict[Copy, int] = {}  # when to look again, in ms since 1970
        self._waiting: set[Copy] = set()  # in which registers were found that could not be removed yet
        self._unread: dict[Copy, str] = {}  # which could not be looked through in the last round
        self.held_back: dict[PartitionId, str] = {}
        """Why registers of a partition were not removed at the last try."""

    @property
    def story(self) -> str:
        """Why deleted registers are not removed now, in one line for people; "" when nothing is known."""
        if not self.held_back:
            return ""
        number = len(self.held_back)
        subject = "1 partition keeps its" if number == 1 else f"{number} partitions keep their"
        return f"{subject} deleted registers: {min(self.held_back.values())}"

    async def round(self, document: Topology) -> None:
        """One pass over the copies that may hold something old enough; one that fails keeps no other
        waiting."""
        self._note_emptied()
        self._forget_former(document)
        self.held_back = {}
        before, self._unread = self._unread, {}
        for number, row in enumerate(document.rows):
            partition = PartitionId(number)
            copy = Copy(partition, row.copy_epoch_of(self._node))
            if row.is_joint or self._node not in row.nodes or self._due.get(copy, 0) > self._hybrid.wall_ms():
                continue
            if copy in self._waiting and self._is_held_back(partition, row):
                continue  # what was found waits, and is not looked for again
            await asyncio.sleep(0)  # a scan may never have to wait, and there are hundreds of new copies
            try:
                self._due[copy] = await self._pass(document, partition, row)
            except (RingmillError, OSError) as error:
                self.held_back[partition] = self._unread[copy] = reason_of(error)
        if fresh := [why for copy, why in self._unread.items() if copy not in before]:
            _log.warning("deleted registers of %d partitions are not removed: %s", len(fresh), fresh[0])

    def _forget_former(self, document: Topology) -> None:
        """Each move brings another copy, and what is known of the former ones is of no use."""
        rows = [(PartitionId(at), row) for at, row in enumerate(document.rows) if self._node in row.nodes]
        mine = {Copy(partition, row.copy_epoch_of(self._node)) for partition, row in rows}
        self._due = {copy: due_ms for copy, due_ms in self._due.items() if copy in mine}
        self._waiting &= mine

    def _note_emptied(self) -> None:
        after_s = self._options.after_s
        soon_s = min(after_s, UNUSED_S)
        for copies, age_s in ((self._registers.emptied, after_s), (self._registers.unused, soon_s)):
            due_ms = self._hybrid.wall_ms() + round(age_s * 1000)
            for copy in copies:
                self._due[copy] = min(self._due.get(copy, 0), due_ms)
            copies.clear()

    def _is_held_back(self, partition: PartitionId, row: Row) -> bool:
        """Whether registers of the partition have to wait as an owner is away; notes that."""
        away = [node for node in row.nodes if node != self._node and not self._seems_up(node)]
        if away:
            sometimes("an owner that is away holds back the removal of registers")
            self.held_back[partition] = f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} away"
        return bool(away)

    def _seems_up(self, node: NodeId) -> bool:
        return self._liveness.state(node) is MemberState.UP

    async def _pass(self, document: Topology, partition: PartitionId, row: Row) -> int:
        """Look through one copy.  Returns when to look again."""
        prefix = registers_prefix(Copy(partition, row.copy_epoch_of(self._node)))
        after_ms = round(self._options.after_s * 1000)
        due_ms, seen, is_whole = _NEVER, 0, True
        old: list[_Found] = []
        with_own = {each.id for each in document.keyspaces if holds_own(each)}
        async with aclosing(self._engine.scan(prefix, prefix_end(prefix))) as scan:
            async for key, encoded in scan:
                state, place = decode_acceptor(encoded), parse_object_key(key)
                register = empty_register(state)
                is_own = place.keyspace in with_own and place.key.startswith(OWN_PREFIX)
                if register is not None and not is_own:
                    remains = remains_of(register)
                    from_ms = millis(remains.time) + after_ms
                    if from_ms <= self._hybrid.wall_ms():
                        old.append(_Found(key[len(prefix) :], state.promised.counter, remains))
                    else:
                        due_ms = min(due_ms, from_ms)
                if len(old) == BATCH:
                    is_whole &= await self._remove(document, partition, row, old)
                    old = []
                seen += 1
                if seen % SCAN_TURN == 0:
                    await asyncio.sleep(TURN_S * (self._gate.stretch - 1.0))  # requests go first (rule O8)
        if old:
            is_whole &= await self._remove(document, partition, row, old)
        copy = Copy(partition, row.copy_epoch_of(self._node))
        if is_whole:
            self._waiting.discard(copy)
            return due_ms
        self._waiting.add(copy)
        return 0

    async def _remove(self, document: Topology, partition: PartitionId, row: Row, old: list[_Found]) -> bool:
        """Whether all of these are gone from all owners."""
        copy = Copy(partition, row.copy_epoch_of(self._node))
        if self._is_held_back(partition, row):
            return False
        try:
            floor, states = await self._close(document, partition, row, old)
            empty = [
                each.key
                for each, of_owners in zip(old, states, strict=True)
                if not any(state.holds_value or state.promised > floor for state in of_owners)
            ]
            if empty:
                request = AskRemove(document.epoch, partition, row.row_epoch, floor, tuple(empty))
                await gather_all(self._ask(node, REMOVE, request.encode()) for node in row.nodes)
            missed = [
                each.key
                for each, of_owners in zip(old, states, strict=True)
                if any(state.holds_value for state in of_owners)
            ]
            await self._settle_all(document, copy, missed)
        except (RingmillError, OSError) as error:
            self.held_back[partition] = reason_of(error)
            return False
        return len(empty) == len(old)

    async def _close(
        self, document: Topology, partition: PartitionId, row: Row, old: list[_Found]
    ) -> tuple[int, list[tuple[KeyState, ...]]]:
        """Close ballots at all owners.  Returns up to where, and what they hold of each register.

        Raises Unavailable when an owner takes no part, and what the calls raise.
        """
        floor = max(each.promised for each in old)
        remains = NO_REMAINS
        for each in old:
            remains = combined(remains, each.remains)
        keys = tuple(each.key for each in old)
        for _ in range(FLOORS):
            request = AskClose(document.epoch, partition, row.row_epoch, floor, remains, keys).encode()
            bodies = await gather_all(self._ask(node, CLOSE, request) for node in row.nodes)
            answers = [CloseAnswer.decode(body) for body in bodies]
            for node, answer in zip(row.nodes, answers, strict=True):
                if answer.why or len(answer.states) != len(keys):
                    raise Unavailable(f"{node}: {answer.why or 'it did not tell of all registers'}")
            states = list(zip(*(answer.states for answer in answers), strict=True))
            highest = max(state.promised for of_owners in states for state in of_owners)
            if highest <= floor:
                return floor, states
            floor = highest
        raise Unavailable("the registers are changing")

    async def _settle_all(self, document: Topology, copy: Copy, keys: Sequence[bytes]) -> None:
        """Raises what a round raises."""
        for key in keys[:MOST_SETTLED]:
            place = parse_object_key(registers_prefix(copy) + key)
            if not document.has_dropped(place.keyspace):
                sometimes("an owner has missed the delete of a register")
                await self._finish_register(document.keyspace(place.keyspace).name, place.key)

    async def _ask(self, node: NodeId, method: str, request: bytes) -> bytes:
        return await self._transport.call(
            node, method, request, timeout_s=CALL_TIMEOUT_S, priority=Priority.REPAIR
        )
