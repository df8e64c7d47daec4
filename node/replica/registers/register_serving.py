"""The owner's side of a register: answers proposers, readers, and owners that heal.

Each message is checked against the row of its key before anything is touched (rule T5), and answered only
once the state that it tells of is on the disk (rule R1).  Those about journals that are forgotten are refused
(rule J29, docs/protocol/jobs.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from ringmill.cluster.consensus.acceptor import AcceptorState
from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.register_codec import decode_acceptor, decode_register
from ringmill.cluster.consensus.remains import NO_REMAINS, Remains, empty_register, is_own
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import Epoch
from ringmill.cluster.os_errors import error_text
from ringmill.cluster.overload.late_calls import check_in_time
from ringmill.cluster.ports import Clock, Handler, Incoming
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_messages import (
    ACCEPT,
    PREPARE,
    READ_REGISTER,
    REGISTER_PAGE,
    AskRegisters,
    RegisterAnswer,
    RegisterRequest,
    RegistersPage,
)
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.remains_store import RemainsStore
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.replica.stored_key import Copy, prefix_end, registers_prefix
from ringmill.node.storage.engine import Engine

__all__ = ["RegisterServing"]

_PAGE_BYTES: Final = 256 * 1024
_PAGE_ITEMS: Final = 1000


class RegisterServing:
    def __init__(
        self,
        *,
        routes: Routes,
        registers: RegisterStore,
        remains: RemainsStore,
        forgotten: ForgottenStore,
        engine: Engine,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._registers = registers
        self._remains = remains
        self._forgotten = forgotten
        self._engine = engine
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        return {
            PREPARE: self.prepare,
            ACCEPT: self.accept,
            READ_REGISTER: self.read,
            REGISTER_PAGE: self.page,
        }

    async def prepare(self, incoming: Incoming) -> bytes:
        request, route = await self._asked(incoming)
        key, ballot = route.place.register_key, request.ballot
        state, is_done = await self._registers.prepare(key, ballot, lambda: self._admit(incoming, route))
        if state.accepted == NO_BALLOT and not is_own(route.keyspace, route.key):
            self._registers.unused.add(route.place.copy)  # nothing may follow, as where a cas is refused
        return self._answer(route, state, is_done)

    async def accept(self, incoming: Incoming) -> bytes:
        request, route = await self._asked(incoming)
        if not request.value:
            raise ProtocolMismatch("an accept without a value")
        # What is no register could never be read or changed again.
        register = decode_register(request.value)
        if register.value is None and not is_own(route.keyspace, route.key):
            noted = self._registers.emptied if register.applied else self._registers.unused
            noted.add(route.place.copy)
        state, is_done = await self._registers.accept(
            route.place.register_key, request.ballot, request.value, lambda: self._admit(incoming, route)
        )
        counter = 0 if is_done else self._refused_counter(state)
        return RegisterAnswer(route.row.row_epoch, counter, state.accepted, b"").encode()

    def _admit(self, incoming: Incoming, route: Route) -> None:
        """At the moment of a promise: who asked still waits for it, and the row is the same."""
        check_in_time(incoming, self._clock)
        self._check_same(route)

    def _check_same(self, route: Route) -> None:
        self._routes.check_same(route)
        self._check_kept(route)

    def _check_kept(self, route: Route) -> None:
        if is_own(route.keyspace, route.key):
            self._forgotten.check(route.key)

    async def read(self, incoming: Incoming) -> bytes:
        request, route = await self._asked(incoming)
        state = await self._registers.read(route.place.register_key)
        self._check_same(route)  # a former owner drops its copy meanwhile, an owner what is forgotten
        return self._answer(route, state, is_done=True, tells_promise=bool(request.value))

    async def page(self, incoming: Incoming) -> bytes:
        """Raise the floor first: what is told here must not change by a lower ballot afterwards (rule R2)."""
        request = AskRegisters.decode(incoming.body)
        row = await self._routes.row_of(request.partition, request.epoch, sender=incoming.sender)
        await self._registers.raise_floor(request.floor)
        try:
            page = await self._read_page(request, self._routes.copy_of(request.partition, row), row.row_epoch)
        except OSError as error:
            raise CorruptData(f"registers cannot be read: {error_text(error)}") from error
        await self._registers.wait_synced()
        self._routes.check_row(request.partition, row.row_epoch)
        return page.encode()

    async def _read_page(self, request: AskRegisters, copy: Copy, row_epoch: Epoch) -> RegistersPage:
        prefix = registers_prefix(copy)
        ceiling = self._registers.ceiling  # messages of an older row are refused from here on (rule R2)
        items: list[tuple[bytes, Ballot, bytes]] = []
        size_bytes = 0
        async with aclosing(self._engine.scan(prefix + request.start, prefix_end(prefix))) as scan:
            async for key, encoded in scan:
                if items and (size_bytes + len(encoded) > _PAGE_BYTES or len(items) == _PAGE_ITEMS):
                    return RegistersPage(
                        row_epoch, ceiling, tuple(items), key[len(prefix) :], self._remains.of(copy.partition)
                    )
                state = decode_acceptor(encoded)
                items.append((key[len(prefix) :], state.accepted, state.value))
                size_bytes += len(encoded)
        # Behind the scan: what was removed before it may be missing above, and is then in the remains.
        return RegistersPage(row_epoch, ceiling, tuple(items), b"", self._remains.of(copy.partition))

    def _answer(
        self, route: Route, state: AcceptorState, is_done: bool, *, tells_promise: bool = False
    ) -> bytes:
        """What a refusal tells is only how high the next ballot has to be."""
        row_epoch = route.row.row_epoch
        if not is_done:
            return RegisterAnswer(row_epoch, self._refused_counter(state), state.accepted, b"").encode()
        of_cluster = is_own(route.keyspace, route.key)
        remains: Remains | None = NO_REMAINS if of_cluster else self._remains.of(route.partition)
        if remains != NO_REMAINS and empty_register(state) is None:
            remains = None
        promised = state.promised if tells_promise else None
        return RegisterAnswer(row_epoch, 0, state.accepted, state.value, remains, promised).encode()

    def _refused_counter(self, state: AcceptorState) -> int:
        return max(1, self._registers.floor, state.promised.counter)

    async def _asked(self, incoming: Incoming) -> tuple[RegisterRequest, Route]:
        request = RegisterRequest.decode(incoming.body)
        route = await self._routes.by_id(request.keyspace, request.key, request.epoch, sender=incoming.sender)
        self._check_kept(route)
        return request, route
