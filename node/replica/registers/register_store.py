"""The acceptors of this node: what it has promised and accepted of each register that it owns.

A step reads the present state and applies the next one without an await between (rule V9), and it is answered
only once it is on the disk (rule R1).  No ballot is agreed to that counts above the ceiling, which is on the
disk before: so a node that has lost registers still knows how far its promises can have gone (rule R2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgpack

from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register_codec import decode_acceptor, encode_acceptor
from ringmill.cluster.consensus.remains import Remains, combined, empty_register, remains_of
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.node.contracts import ControlState
from ringmill.node.replica.stepping import change, fetch
from ringmill.node.replica.stored_key import Copy
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Commit, Engine
from ringmill.node.storage.storage_errors import CorruptBlock

__all__ = ["RegisterStore"]

_CONTROL: Final = "registers"
_BLOCK: Final = 1000
"""Counters reserved at a time, so that the ceiling is written once for all of them."""
_FARTHEST: Final = 1 << 40
"""Counters above the ceiling that are believed: all that a cluster makes in 3 years at 10,000 a second.  A
message with a wild one would else use up all counters, and with them all registers."""

Admit = Callable[[], object]
"""Raises when a step that has waited for the disk must not be taken any more."""


class RegisterStore:
    def __init__(self, engine: Engine, control: ControlState) -> None:
        self._engine = engine
        self._control = control
        self._last: Commit | None = None
        self._raising = asyncio.Lock()
        self.removed = 0
        """Registers, since the start."""
        self.emptied: set[Copy] = set()
        """Copies in which a register has lost its value since somebody emptied this set."""
        self.unused: set[Copy] = set()
        """Copies in which a register that nothing has changed yet was promised, or read behind removed ones,
        since somebody emptied this set."""
        self.ceiling, self.floor = _bounds(control.get(_CONTROL))

    async def prepare(self, key: bytes, ballot: Ballot, admit: Admit) -> tuple[AcceptorState, bool]:
        """The state afterwards, on the disk, and whether the promise was given.

        `admit` is called at the moment of the promise.  Raises what it raises; ProtocolMismatch for a ballot
        that no proposer can have come to; CorruptData, Overloaded, Unavailable, DiskFull.
        """

        def step(state: AcceptorState) -> AcceptorState | None:
            admit()
            return prepare(state, ballot, self.floor)

        return await self._step(key, ballot, step)

    async def accept(
        self, key: bytes, ballot: Ballot, value: bytes, admit: Admit
    ) -> tuple[AcceptorState, bool]:
        """The state afterwards, on the disk, and whether the value was accepted.  Raises as `prepare`."""

        def step(state: AcceptorState) -> AcceptorState | None:
            admit()
            return accept(state, ballot, value, self.floor)

        return await self._step(key, ballot, step)

    async def read(self, key: bytes) -> AcceptorState:
        """The present state, on the disk.  Raises CorruptData, Unavailable, DiskFull."""
        state = decode_acceptor(await fetch(self._engine, key))
        await self.wait_synced()
        return state

    async def wait_synced(self) -> None:
        """Return once everything that was agreed to before the call is durable."""
        if self._last is not None and not self._last.is_synced:
            await self._last.synced()

    async def put_healed(self, key: bytes, healed: AcceptorState, *, unless: Callable[[], bool]) -> None:
        """Put what other owners told of a register in place of what was lost here (rule R2).

        The ceiling has to be as high as its ballot before.  What is readable is written again, too: the
        damage may be marked once more.  Nothing is put when `unless` says so in the step itself, which may
        have waited for the disk (rule P6).
        """

        def step(encoded: bytes | None) -> None:
            if unless():
                return
            present = decode_acceptor(encoded)
            is_newer = healed.accepted.proposed > present.accepted.proposed
            newest = healed if is_newer else present
            self._put(key, newest._replace(promised=max(present.promised, healed.promised)))

        try:
            await change(self._engine, key, step)
        except CorruptBlock:  # a disk that cannot be read now tells nothing of what was promised
            raise
        except CorruptData:  # nobody has healed it before, and nobody else writes it
            await self._engine.wait_writable()
            if not unless():
                self._put(key, healed)

    async def drop_survivor(self, key: bytes, floor: int) -> bool:
        """Delete what survived damage of a register that no other owner knows (rules R2, R5).

        `floor`: enough other owners agree to nothing up to there, and neither may this one.  A register that
        somebody has healed and touched since stays.  Returns whether it was deleted.  Durable after
        `wait_synced`.  Raises what the engine raises.
        """

        def drop() -> bool:
            batch = Batch()
            batch.delete(key)
            self._last = self._engine.apply(batch, frees_space=True)
            return True

        def step(encoded: bytes | None) -> bool:
            is_old = encoded is not None and decode_acceptor(encoded).promised.counter <= floor
            return is_old and drop()

        try:
            return await change(self._engine, key, step, frees_space=True)
        except CorruptBlock:
            raise
        except CorruptData:
            await self._engine.wait_writable(frees_space=True)
            return drop()

    async def remove(self, key: bytes, floor: int, remains: Remains, admit: Admit) -> bool:
        """Remove a register that has no value, and has not been touched above `floor` (rule R5).

        Any other one is left as it is.  Returns whether it is removed.  Durable after `wait_synced`.  `admit`
        as in `prepare`.  Raises ProtocolMismatch unless the floor and what remains are kept here;
        CorruptData, Overloaded, Unavailable, DiskFull.
        """
        if floor > self.floor:
            raise ProtocolMismatch(f"registers are removed up to {floor}, the floor here is {self.floor}")

        def step(encoded: bytes | None) -> bool:
            admit()
            state = decode_acceptor(encoded)
            register = empty_register(state)
            if encoded is None or register is None or state.promised.counter > floor:
                return False
            if combined(remains, remains_of(register)) != remains:
                raise ProtocolMismatch("what would remain of a register is not kept here")
            batch = Batch()
            batch.delete(key)
            self._last = self._engine.apply(batch, frees_space=True)
            self.removed += 1
            return True

        return await change(self._engine, key, step, frees_space=True)

    async def drop_forgotten(self, keys: Sequence[bytes]) -> None:
        """Delete registers of journals that are forgotten, whatever they hold (rule J29).

        Nothing may be agreed to about them here any more.  Raises Overloaded, Unavailable, DiskFull.
        """
        await self._engine.wait_writable(frees_space=True)
        batch = Batch()
        for key in keys:
            batch.delete(key)
        self._last = self._engine.apply(batch, frees_space=True)
        self.removed += len(keys)

    async def raise_floor(self, floor: int) -> None:
        """Agree to no ballot that counts to `floor` or less from now on.  Durable on return.

        Raises ProtocolMismatch for one that no owner can need; Unavailable, Overloaded or DiskFull.
        """
        self._check_near(floor)
        async with self._raising:
            if floor > self.floor:
                await self._keep(max(self.ceiling, floor), floor)

    async def raise_ceiling(self, counter: int) -> None:
        """Have it durable that ballots up to `counter` may have been agreed to.

        Raises ProtocolMismatch for one that no proposer can have come to; Unavailable, Overloaded, DiskFull.
        """
        self._check_near(counter)
        async with self._raising:
            if counter > self.ceiling:
                await self._keep(counter + _BLOCK, self.floor)

    async def _keep(self, ceiling: int, floor: int) -> None:
        await self._control.put_synced(_CONTROL, msgpack.packb([ceiling, floor]))
        self.ceiling, self.floor = ceiling, floor

    async def _step(
        self, key: bytes, ballot: Ballot, step: Callable[[AcceptorState], AcceptorState | None]
    ) -> tuple[AcceptorState, bool]:
        await self.raise_ceiling(ballot.counter)

        def apply(encoded: bytes | None) -> tuple[AcceptorState, bool]:
            present = decode_acceptor(encoded)
            following = step(present)
            if following is None:
                return present, False
            self._put(key, following)
            return following, True

        outcome = await change(self._engine, key, apply)
        await self.wait_synced()
        return outcome

    def _check_near(self, counter: int) -> None:
        if counter > self.ceiling + _FARTHEST:
            raise ProtocolMismatch(f"a ballot counts to {counter}, far above all that this node has met")

    def _put(self, key: bytes, state: AcceptorState) -> None:
        batch = Batch()
        batch.put(key, encode_acceptor(state))
        self._last = self._engine.apply(batch)


def _bounds(kept: bytes | None) -> tuple[int, int]:
    """Raises CorruptData."""
    if kept is None:
        return 0, 0
    try:
        ceiling, floor = msgpack.unpackb(kept)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"the bounds of the registers do not decode: {error}") from error
    return int(ceiling), int(floor)
