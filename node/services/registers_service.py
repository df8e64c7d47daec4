"""The API of registers: decodes, asks the room of requests, encodes.  It decides nothing.

The same methods answer unary gRPC calls and the operations of a session stream ("kv.cas", "kv.incr",
"kv.register"), with the same messages (proto/registers.proto).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ringmill.cluster.consensus.register import ABSENT, Cas, Change, Incr
from ringmill.cluster.consensus.remains import OWN_KEYSPACE
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch
from ringmill.cluster.ports import Handler, Incoming, Priority
from ringmill.cluster.wire.parsing import parsed, serialized
from ringmill.cluster.wire.stubs.registers_pb2 import (
    CasRequest,
    IncrRequest,
    ReadRegisterRequest,
    RegisterAnswer,
)
from ringmill.node.core import Core
from ringmill.node.requests.encoding.kv_codec import operation_of
from ringmill.node.requests.facade import Requests
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.node.services.access.own_keys import check_for_clients
from ringmill.node.services.behind_gate import behind_gate
from ringmill.node.services.table import Call, Service, Unary, unary

__all__ = ["RegistersService", "open_registers"]

CAS: Final = "kv.cas"
INCR: Final = "kv.incr"
READ: Final = "kv.register"
_MOST: Final = (1 << 63) - 1


def open_registers(core: Core, requests: Requests) -> RegistersService:
    """Answers session streams from now on, through the transport."""
    service = RegistersService(core, requests)

    def framed(
        kind: type[CasRequest] | type[IncrRequest] | type[ReadRegisterRequest],
        answer: Callable[..., Awaitable[RegisterAnswer]],
    ) -> Handler:
        async def handle(incoming: Incoming) -> bytes:
            message, left_s = parsed(kind, incoming.body), incoming.deadline - core.clock.boottime()
            return serialized(await answer(message, left_s))

        return handle

    core.serve(
        {
            CAS: core.gate.guard_call(framed(CasRequest, service.cas), Priority.WRITE),
            INCR: core.gate.guard_call(framed(IncrRequest, service.incr), Priority.WRITE),
            READ: core.gate.guard_call(framed(ReadRegisterRequest, service.read), Priority.READ),
        }
    )
    return service


class RegistersService:
    def __init__(self, core: Core, requests: Requests) -> None:
        self._core = core
        self._requests = requests

    def service(self) -> Service:
        """The unary methods."""

        async def cas(message: CasRequest, call: Call) -> RegisterAnswer:
            return await self.cas(message, call.left_s)

        async def incr(message: IncrRequest, call: Call) -> RegisterAnswer:
            return await self.incr(message, call.left_s)

        async def read(message: ReadRegisterRequest, call: Call) -> RegisterAnswer:
            return await self.read(message, call.left_s)

        def behind(name: str, method: Unary, priority: Priority) -> Unary:
            return behind_gate(self._core, name, method, priority)

        return Service(
            "ringmill.v1.Registers",
            {
                "Cas": behind(CAS, unary(CasRequest, cas, tells_clock=True), Priority.WRITE),
                "Incr": behind(INCR, unary(IncrRequest, incr, tells_clock=True), Priority.WRITE),
                "Read": behind(READ, unary(ReadRegisterRequest, read, tells_clock=True), Priority.READ),
            },
        )

    async def cas(self, message: CasRequest, left_s: float | None) -> RegisterAnswer:
        return await self._change(message, _cas_of(message), left_s)

    async def incr(self, message: IncrRequest, left_s: float | None) -> RegisterAnswer:
        if abs(message.by) > _MOST:
            raise InvalidArgument(f"by is {message.by}, at most {_MOST} either way is allowed")
        return await self._change(message, Incr(message.by), left_s)

    async def read(self, message: ReadRegisterRequest, left_s: float | None) -> RegisterAnswer:
        return _answer(await self._requests.read_register(_where(message, left_s)))

    async def _change(
        self, message: CasRequest | IncrRequest, change: Change, left_s: float | None
    ) -> RegisterAnswer:
        request = ChangeRequest(_where(message, left_s), change, operation_of(message), message.attempt)
        return _answer(await self._requests.change_register(request))


def _where(message: CasRequest | IncrRequest | ReadRegisterRequest, left_s: float | None) -> RegisterRead:
    check_for_clients(message.keyspace or OWN_KEYSPACE, message.key)
    return RegisterRead(
        message.keyspace, message.key, message.timeout_ms / 1000, Epoch(message.epoch), left_s
    )


def _cas_of(message: CasRequest) -> Cas:
    """Raises InvalidArgument."""
    becomes = message.WhichOneof("becomes")
    if becomes is None:
        raise InvalidArgument("a cas says neither what the register becomes nor that it is deleted")
    value = message.value if becomes == "value" else None
    match message.WhichOneof("expected"):
        case "expect_value":
            return Cas(message.expect_value, value)
        case "expect_absent":
            return Cas(ABSENT, value)
        case "expect_version":
            return Cas(None, value, message.expect_version)
    return Cas(None, value)


def _answer(result: RegisterResult) -> RegisterAnswer:
    return RegisterAnswer(
        version=result.version,
        value=result.value,
        number=result.number,
        epoch=result.epoch,
        hybrid_time=result.time,
    )
