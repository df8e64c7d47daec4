"""Registers: values that change by compare-and-set, and counters that are exact.

A majority of the owners of a key agrees on each change, so operations on one register take effect one after
the other, in an order that everybody sees (linearizable).  A change gets its operation id before its first
send, as a write does (client/kv.py).  Promises: docs/guarantees.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from ringmill.client.arguments import (
    Key,
    Seconds,
    Value,
    checked_key,
    checked_name,
    checked_timeout_s,
    checked_value,
    checked_whole,
)
from ringmill.client.explanations import Explanation, explanation_by
from ringmill.client.kv_requests import read_message, read_options
from ringmill.client.operations import OperationName, OperationNames
from ringmill.client.routing.attempts import RegisterMessage, attempt_message
from ringmill.client.routing.links import Method
from ringmill.client.routing.router import Router, Target
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ports import Clock, Entropy
from ringmill.cluster.wire.stubs.registers_pb2 import (
    CasRequest,
    IncrRequest,
    ReadRegisterRequest,
    RegisterAnswer,
)

__all__ = ["AsyncRegisters", "RegisterValue", "registers_under_name"]

_CAS: Final = Method("/ringmill.v1.Registers/Cas", "kv.cas", RegisterAnswer, is_write=True)
_INCR: Final = Method("/ringmill.v1.Registers/Incr", "kv.incr", RegisterAnswer, is_write=True)
_READ: Final = Method("/ringmill.v1.Registers/Read", "kv.register", RegisterAnswer)
_MOST: Final = (1 << 63) - 1
_SHORTEST_LEASE_S: Final = 0.5
_OWNER_CHARACTERS: Final = 200

Change = TypeVar("Change", CasRequest, IncrRequest)


class _Unsaid:
    """The type of `_UNSAID`, which says that no expectation was given."""


_UNSAID: Final = _Unsaid()


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """What a register holds: `value` is None when it was never written, or is deleted.

    `version` grows with each change.  Of a register without a value it is 0, or what its partition remembers
    of registers that were removed (rule R5), so do not take 0 for "new": `expect_absent` asks for that.
    """

    value: bytes | None
    version: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the value as text if it is UTF-8."""
        shown = None if self.value is None else self.value.decode("utf-8", "backslashreplace")
        return {"value": shown, "version": self.version}


class AsyncRegisters:
    """The registers of a cluster, in its keyspace `registers` or another one of that kind.

    Keys are str (encoded as UTF-8) or bytes-like, values are bytes-like, times are seconds or a timedelta.
    Arguments of another type or outside their limits raise InvalidArgument before anything is sent.
    """

    def __init__(
        self,
        router: Router,
        operations: OperationNames,
        *,
        clock: Clock,
        entropy: Entropy,
        name: str = "registers",
    ) -> None:
        self.name = name
        self._router = router
        self._operations = operations
        self._clock = clock
        self._entropy = entropy

    def __repr__(self) -> str:
        return f"<registers {self.name}>"

    def keyspace(self, name: str) -> AsyncRegisters:
        """The registers of another keyspace of kind registers; requests to one that does not exist raise
        InvalidArgument."""
        name = checked_name("name", name)
        return AsyncRegisters(
            self._router, self._operations, clock=self._clock, entropy=self._entropy, name=name
        )

    async def get(self, key: Key, *, timeout: Seconds | None = None) -> RegisterValue:
        """What the register holds at some moment of this call.

        Raises QuorumNotReached, DeadlineExceeded, Unavailable, InvalidArgument.
        """
        request = ReadRegisterRequest(keyspace=self.name, key=checked_key(key))
        return _value_of(await self._ask(_READ, request, timeout))

    async def explain(self, key: Key, *, timeout: Seconds | None = None) -> Explanation:
        """Read a register, and tell how that went: who was asked, what each owner said, whether the read had
        to write.

        A read that fails is told in `error`.  Raises Unavailable, DeadlineExceeded, InvalidArgument.
        """
        options = read_options(timeout=timeout)
        request = read_message(self.name, checked_key(key), options)
        return await explanation_by(self._router, request, options.timeout_s or None)

    async def cas(
        self,
        key: Key,
        value: Value | None,
        *,
        expect: Value | _Unsaid | None = _UNSAID,
        expect_version: int | None = None,
        timeout: Seconds | None = None,
    ) -> int:
        """Set the register to `value`, or with None delete it, if it holds what is expected.

        `expect` is the present value, None for a register without one; `expect_version` is the version of a
        read.  One of them has to be given.  Returns the version that this change made.

        Raises Conflict when the register holds something else: `detail["current"]` is its value and
        `detail["version"]` its version.  A value of more than 4 KiB does not fit into the error of a unary
        call: there is a str in its place then, and `get` tells it.

        QuorumNotReached, DeadlineExceeded and Unavailable may have the outcome "unknown": then the change may
        have been made, or may still be.
        """
        request = CasRequest(keyspace=self.name, key=checked_key(key))
        if value is None:
            request.absent = True
        else:
            request.value = checked_value(value)
        if isinstance(expect, _Unsaid) == (expect_version is None):
            raise InvalidArgument("cas needs one of expect and expect_version", hint="expect=None: no value")
        if expect_version is not None:
            need = "a version as read"
            request.expect_version = checked_whole("expect_version", expect_version, 0, _MOST, need)
        elif expect is None:
            request.expect_absent = True
        elif not isinstance(expect, _Unsaid):
            request.expect_value = checked_value(expect)
        return int((await self._change(_CAS, request, timeout)).version)

    async def incr(self, key: Key, by: int = 1, *, timeout: Seconds | None = None) -> int:
        """Add to the number that the register holds, and return what it led to.

        A register without a value counts as 0.  An incr is applied once, however often it had to be sent.
        Raises InvalidArgument when the register holds no number or the number would exceed 2^63 - 1; else as
        `cas`.
        """
        checked_whole("by", by, -_MOST, _MOST, "a whole number of at most 2^63 - 1")
        request = IncrRequest(keyspace=self.name, key=checked_key(key), by=by)
        return int((await self._change(_INCR, request, timeout)).number)

    def lease(self, key: Key, *, duration: Seconds = 6.0, owner: str = "") -> AsyncLease:
        """A lease kept in this register, to be entered with `async with` (cluster/consensus/leases.py).

        `duration` is 0.5 s to 60 s: how long others wait for a holder that has vanished.  `owner` is shown to
        people who read the register.  Raises InvalidArgument.
        """
        data, duration_s = checked_key(key), checked_timeout_s(duration)
        if duration_s < _SHORTEST_LEASE_S:
            raise InvalidArgument(f"a lease of {duration_s:g} s; it lasts at least {_SHORTEST_LEASE_S:g} s")
        if not isinstance(owner, str) or len(owner) > _OWNER_CHARACTERS:
            raise InvalidArgument(f"owner must be text of at most {_OWNER_CHARACTERS} characters")
        return AsyncLease(
            data.decode("utf-8", "backslashreplace"),
            _OneRegister(self, data),
            owner=owner,
            duration_s=duration_s,
            clock=self._clock,
            entropy=self._entropy,
        )

    async def _change(
        self, method: Method[RegisterAnswer], request: Change, timeout: Seconds | None
    ) -> RegisterAnswer:
        try:
            return await self._change_once(method, request, timeout)
        except InvalidArgument as error:
            if not self._operations.retreat(error):
                raise
        return await self._change_once(method, request, timeout)

    async def _change_once(
        self, method: Method[RegisterAnswer], request: Change, timeout: Seconds | None
    ) -> RegisterAnswer:
        name, operation = self._operations.next(), request.operation
        operation.session, operation.sequence, operation.birth = name.session, name.sequence, name.birth
        if name.attempt:
            request.attempt = name.attempt
        return await self._ask(method, request, timeout)

    async def _ask(
        self, method: Method[RegisterAnswer], request: RegisterMessage, timeout: Seconds | None
    ) -> RegisterAnswer:
        timeout_s = None if timeout is None else checked_timeout_s(timeout)

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return attempt_message(request, epoch, timeout_ms, attempt)

        target = Target(self.name, request.key)
        answer = await self._router.ask(method, prepare, target=target, timeout_s=timeout_s)
        self._operations.observe(answer.hybrid_time)
        return answer


def registers_under_name(registers: AsyncRegisters, name: OperationName) -> AsyncRegisters:
    """The registers, with this name for the next change: sent once more it is the same change (rule V4)."""
    return AsyncRegisters(
        registers._router,
        registers._operations.named(name),
        clock=registers._clock,
        entropy=registers._entropy,
        name=registers.name,
    )


class _OneRegister:
    """A LeaseRegister."""

    def __init__(self, registers: AsyncRegisters, key: bytes) -> None:
        self._registers = registers
        self._key = key

    async def get(self, *, timeout: float) -> RegisterValue:
        return await self._registers.get(self._key, timeout=timeout)

    async def set(self, value: bytes, version: int, *, timeout: float) -> int:
        return await self._registers.cas(self._key, value, expect_version=version, timeout=timeout)


def _value_of(answer: RegisterAnswer) -> RegisterValue:
    return RegisterValue(answer.value if answer.HasField("value") else None, answer.version)
